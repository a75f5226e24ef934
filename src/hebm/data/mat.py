"""SVHN's cropped digits: MATLAB v5 files with `X` [32, 32, 3, N] and `y` [N, 1], where the label 10 means 0.

Source: NETZER et al., "Reading digits in natural images with unsupervised feature learning" (2011), format 2.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from hebm.data.reading import Decoded, ReadOptions, corrupt_file_is_data_error
from hebm.errors import DataError

__all__ = ["SVHN_FILES", "find_svhn", "read_svhn"]

SVHN_FILES = {split: (f"{split}_32x32.mat",) for split in ("train", "test", "extra")}


def find_svhn(folder: Path, split: str) -> Sequence[Path]:
    """Find the one file of a split."""
    return [folder / name for name in SVHN_FILES.get(split, ()) if (folder / name).is_file()]


def read_svhn(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Read images and labels; axes become [N, C, H, W].

    Raises:
        DataError: If the file is damaged or holds other arrays.
    """
    path = files[0]
    with corrupt_file_is_data_error(path):
        content = loadmat(path, variable_names=["X", "y"])
        images, labels = content["X"], content["y"].reshape(-1)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[2:] != (3, len(labels)):
        raise DataError(
            f"{path}: X of type uint8 and shape [H, W, 3, {len(labels)}], one image per label in y, is "
            f"expected, but X is {images.dtype} of shape {list(images.shape)}; replace it."
        )
    chosen = options.selection.of_split(len(labels))
    pixels = np.ascontiguousarray(images[..., : len(chosen)].transpose(3, 2, 0, 1))
    return Decoded(pixels, labels[chosen].astype(np.int64) % 10)
