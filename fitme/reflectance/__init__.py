"""Facial reflectance in UV: generator, its training data and its weights."""

from fitme.reflectance.generator import GeneratorConfig, ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.weights import load_default_generator, load_generator, save_generator

__all__ = [
    "GeneratorConfig",
    "ReflectanceGenerator",
    "ReflectanceMaps",
    "load_default_generator",
    "load_generator",
    "save_generator",
]
