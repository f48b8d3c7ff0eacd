"""Facial reflectance in UV: generator, its training data and its weights."""
