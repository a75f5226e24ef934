"""CIFAR-10's binary version: records of one label byte and 3072 pixel bytes, one channel after the other.

Source: KRIZHEVSKY, "The CIFAR-10 dataset", section "Binary version".
"""

import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hebm.data.reading import Decoded, ReadOptions, corrupt_file_is_data_error
from hebm.errors import DataError

__all__ = ["CIFAR10_ARCHIVE", "CIFAR10_FILES", "CIFAR10_FOLDER", "find_cifar_binary", "read_cifar_binary"]

CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
_SHAPE = (3, 32, 32)
_RECORD_BYTES = 1 + 3 * 32 * 32


def find_cifar_binary(folder: Path, split: str) -> Sequence[Path]:
    """Find the unpacked batches of a split, in order, or else the archive they come in."""
    for place in (folder / CIFAR10_FOLDER, folder):
        batches = [place / name for name in CIFAR10_FILES.get(split, ())]
        if batches and all(path.is_file() for path in batches):
            return batches
    archive = folder / CIFAR10_ARCHIVE
    return (archive,) if archive.is_file() else ()


def read_cifar_binary(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Read the batches of a split, from files or out of the archive, which is not unpacked on the disk.

    Raises:
        DataError: If a batch is damaged or missing from the archive.
    """
    if files[0].name != CIFAR10_ARCHIVE:
        return _decode(((str(path), path.read_bytes()) for path in files), options)
    wanted = CIFAR10_FILES[options.selection.split]
    with corrupt_file_is_data_error(files[0]), tarfile.open(files[0]) as archive:
        # One pass, front to back: to seek in a gzipped archive is to start again.
        found = {Path(m.name).name: _content(archive, m) for m in archive if Path(m.name).name in wanted}
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{files[0]}: {missing[0]} is missing from the archive; replace it by the official one."
        )
    return _decode(((f"{files[0]}: {name}", found[name]) for name in wanted), options)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _decode(batches: Iterable[tuple[str, bytes]], options: ReadOptions) -> Decoded:
    parts = []
    for where, content in batches:
        data = np.frombuffer(content, dtype=np.uint8)
        if data.size == 0 or data.size % _RECORD_BYTES or data[::_RECORD_BYTES].max() > 9:
            raise DataError(
                f"{where}: records of {_RECORD_BYTES} bytes, each starting with a label from 0 to 9, are "
                f"expected, but there are {data.size} bytes; it is truncated or damaged: replace it."
            )
        parts.append(data.reshape(-1, _RECORD_BYTES))
    records = np.concatenate(parts)
    chosen = options.selection.of_split(len(records))
    pixels = records[: len(chosen), 1:].reshape(-1, *_SHAPE)
    return Decoded(pixels, records[chosen, 0].astype(np.int64))
