"""Typed errors of the package. Each message names the cause and what to do about it."""


class FitmeError(Exception):
    """Base of every error that the package raises on purpose."""


class InputError(FitmeError):
    """An image, video or other input of the user cannot be used."""


class NoFaceError(InputError):
    """No usable face was found in the input."""


class ModelFileError(FitmeError):
    """A model, weight or checkpoint file is missing, truncated or of another layout."""


class StoreError(FitmeError):
    """A session's store cannot be read or written."""


class ConfigError(FitmeError):
    """A configuration file holds an unknown key or a value out of range."""


class BackendError(FitmeError):
    """A library of the system, or an optional backend that was asked for (nvdiffrast, insightface), is not there."""
