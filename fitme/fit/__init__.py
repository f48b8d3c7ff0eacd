"""Fitting shape, reflectance and light to keyframes: landmarks, inversion, tuning, incrementally."""
