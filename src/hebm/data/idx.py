"""IDX, the format of MNIST and its relatives: a big-endian header, then bytes; plain or gzipped.

Source: LECUN et al., "The MNIST database of handwritten digits", section "File formats".
"""

import gzip
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hebm.data.reading import Decoded, ReadOptions, corrupt_file_is_data_error
from hebm.errors import DataError

__all__ = ["IDX_FILES", "find_idx", "read_idx", "read_idx_array"]

IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_UNSIGNED_BYTE = 0x08


def find_idx(folder: Path, split: str) -> Sequence[Path]:
    """Find the images and labels of a split, gzipped or unpacked."""
    found = []
    for name in IDX_FILES.get(split, ()):
        candidates = (folder / name, folder / name.removesuffix(".gz"))
        found += [path for path in candidates if path.is_file()][:1]
    return found if len(found) == 2 else ()


def read_idx(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Read images [N, H, W] and labels [N].

    Raises:
        DataError: If a file is damaged, or the two do not belong together.
    """
    images, labels = read_idx_array(files[0], n_axes=3), read_idx_array(files[1], n_axes=1)
    if len(images) != len(labels):
        raise DataError(
            f"{files[0]} holds {len(images)} images, but {files[1]} holds {len(labels)} labels; "
            "replace both by fresh copies."
        )
    chosen = options.selection.of_split(len(images))
    return Decoded(images[chosen][:, None], labels[chosen].astype(np.int64))


def read_idx_array(path: Path, *, n_axes: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes.

    Raises:
        DataError: If it has another number of axes, or more or fewer bytes than its header says.
    """
    with corrupt_file_is_data_error(path):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, n_axes_found, *shape = struct.unpack_from(f">HBB{n_axes}I", data)
    if (zero, kind, n_axes_found) != (0, _UNSIGNED_BYTE, n_axes):
        raise DataError(
            f"{path}: an IDX file of unsigned bytes with {n_axes} axes is expected, but it starts with "
            f"{data[:4].hex()}; replace it by the official file."
        )
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * n_axes)
    if values.size != int(np.prod(shape, dtype=np.int64)):
        raise DataError(
            f"{path}: the header says {shape}, but {values.size} bytes follow; it is truncated or damaged: "
            "replace it by a fresh copy."
        )
    return values.reshape(shape)
