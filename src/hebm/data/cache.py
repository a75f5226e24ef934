"""Where decoded pixels go: memory, or a file that is mapped and found again by the next run."""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from hebm.errors import DataError

__all__ = ["CachedPixels", "PixelCache"]

_LOGGER = logging.getLogger("hebm")


@dataclass(frozen=True)
class CachedPixels:
    """Decoded images, which of the items they are, and what was left out."""

    images: NDArray[np.uint8]
    kept: NDArray[np.int64]
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class PixelCache:
    """One place in the cache folder, `KEY.npy` beside `KEY.json`.

    Args:
        folder: The cache folder; None keeps everything in memory.
        key: Hash of everything that decides the pixels.
        above_bytes: Arrays up to this size stay in memory.
    """

    folder: Path | None
    key: str
    above_bytes: int

    def load(self) -> CachedPixels | None:
        """Map what an earlier run decoded, or None."""
        if self.folder is None or not self._json.is_file():
            return None
        try:
            about = json.loads(self._json.read_text())
            images = np.load(self._npy, mmap_mode="c")  # private pages: a stray write never reaches the file
            kept = np.asarray(about["kept"], dtype=np.int64)
            return CachedPixels(images[: len(kept)], kept, tuple(about["skipped"]))
        except (OSError, ValueError, KeyError):  # left by a crash or another version: decode again
            return None

    @contextmanager
    def allocate(self, shape: tuple[int, ...]) -> Iterator[NDArray[np.uint8]]:
        """Lend an array to decode into; a file that was not stored by then is removed."""
        n_bytes = int(np.prod(shape, dtype=np.int64))
        if n_bytes <= self.above_bytes or not self._prepare(n_bytes):
            yield np.empty(shape, dtype=np.uint8)
            return
        assert self.folder is not None
        with NamedTemporaryFile(dir=self.folder, suffix=".partial", delete=False) as file:
            partial = Path(file.name)
        try:
            yield open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        finally:
            partial.unlink(missing_ok=True)

    def store(
        self, images: NDArray[np.uint8], kept: NDArray[np.int64], skipped: tuple[str, ...]
    ) -> CachedPixels:
        """Keep decoded images: moved into place if they are in a file, as they are if in memory."""
        if not isinstance(images, np.memmap):
            return CachedPixels(images[: len(kept)], kept, skipped)
        images.flush()
        os.replace(str(images.filename), self._npy)
        about = self._npy.with_suffix(".json.partial")
        about.write_text(json.dumps({"kept": kept.tolist(), "skipped": list(skipped)}))
        os.replace(about, self._json)
        stored = self.load()
        assert stored is not None
        return stored

    @property
    def _npy(self) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.key}.npy"

    @property
    def _json(self) -> Path:
        return self._npy.with_suffix(".json")

    def _prepare(self, n_bytes: int) -> bool:
        if self.folder is None:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free_bytes = shutil.disk_usage(self.folder).free
        except OSError:
            free_bytes = -1
        if free_bytes < 0 or not os.access(self.folder, os.W_OK):
            _LOGGER.warning(
                "%s cannot be written to: the decoded images are held in memory instead", self.folder
            )
            return False
        if free_bytes < n_bytes:  # else the mapped file would end the process with a bus error
            raise DataError(
                f"{n_bytes / 2**30:.1f} GiB of decoded images do not fit on the disk of {self.folder} "
                f"({free_bytes / 2**30:.1f} GiB free); make room, or set HEBM_DATA to another folder."
            )
        return True
