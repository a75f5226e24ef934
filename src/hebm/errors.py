"""Exception types: each says what was expected, what came, and what to do.

Every type is also the built-in one a caller would expect to catch. The command line turns
:class:`RequestError` (the request was wrong, nothing was done) into exit status 2 and every other
:class:`HebmError` into exit status 1.
"""

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergenceError",
    "HebmError",
    "ImageShapeError",
    "LatentShapeError",
    "MissingDataError",
    "MissingDependencyError",
    "NonFiniteError",
    "RequestError",
    "RunDirectoryError",
    "UnsupportedError",
]


class HebmError(Exception):
    """Base class of every error this library raises on purpose."""


class RequestError(HebmError):
    """The request was wrong: a bad flag, config or file. Nothing has been written."""


class ConfigError(RequestError, ValueError):
    """A configuration key or value is wrong."""


class LatentShapeError(HebmError, ValueError):
    """Latents do not have the level shapes that were expected."""


class ImageShapeError(RequestError, ValueError):
    """Images do not have the shape or range that was expected."""


class DataError(RequestError, ValueError):
    """An image set is corrupt, empty or of an unknown format."""


class MissingDataError(DataError, FileNotFoundError):
    """An image set's files are not there; the message says which to put where."""


class MissingDependencyError(RequestError, ImportError):
    """An optional library is not installed; the message says how to install it."""


class RunDirectoryError(RequestError, ValueError):
    """A run directory is missing, not empty, or not a run."""


class CheckpointError(RequestError, ValueError):
    """A checkpoint is truncated, altered, or of an unknown version."""


class NonFiniteError(HebmError, ArithmeticError):
    """A quantity became infinite or not a number; the message names it."""


class DivergenceError(HebmError, ArithmeticError):
    """Training diverged again and again, in spite of rolling back with a lower rate."""


class UnsupportedError(HebmError, NotImplementedError):
    """There is no exact way to do this; the message says what does it instead."""
