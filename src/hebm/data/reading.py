"""What every file format takes and gives."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hebm.data.pixels import Transform
from hebm.data.splits import Selection
from hebm.errors import DataError, HebmError

__all__ = ["Decoded", "Finder", "OnError", "ReadOptions", "Reader", "corrupt_file_is_data_error"]

OnError = Literal["refuse", "skip"]


@dataclass(frozen=True)
class Decoded:
    """What a reader found: uint8 [N, C, H, W] and what belongs to it."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    item_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    factors: NDArray[np.int64] | None = None
    factor_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReadOptions:
    """How to read a set.

    Args:
        selection: The items wanted.
        transform: Size and channels wanted; array formats leave it to the caller.
        on_error: What to do with an image that cannot be read.
        cache_folder: Where decoded images go if they are too many for memory.
        cache_above_bytes: How many bytes are too many.
    """

    selection: Selection
    transform: Transform = field(default_factory=Transform)
    on_error: OnError = "refuse"
    cache_folder: Path | None = None
    cache_above_bytes: int = 2**30


Finder = Callable[[Path, str], Sequence[Path]]
"""(folder, split) to the files of that split, none if any is missing."""

Reader = Callable[[Sequence[Path], ReadOptions], Decoded]


@contextmanager
def corrupt_file_is_data_error(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises on a broken file into a :class:`DataError` that names the file."""
    try:
        yield
    except HebmError:
        raise
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, NotImplementedError) as error:
        raise _data_error(path, error) from error
    except (zlib.error, MemoryError) as error:  # a damaged header can ask for absurd amounts
        raise _data_error(path, error) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in {"zipfile", "tarfile", "scipy", "pyarrow"}:
            raise
        raise _data_error(path, error) from error


def _data_error(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} cannot be read ({type(error).__name__}: {error}); it is truncated, damaged or of another "
        "format: replace it by a fresh copy."
    )
