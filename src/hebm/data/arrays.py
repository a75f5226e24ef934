"""NumPy files: `.npy` with one array, `.npz` with `images` (or one array alone) and perhaps `labels`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hebm.data.reading import Decoded, ReadOptions, corrupt_file_is_data_error
from hebm.errors import DataError, ImageShapeError

__all__ = ["KMNIST_NPZ_FILES", "as_images", "find_array", "find_kmnist_npz", "read_array", "read_kmnist_npz"]

KMNIST_NPZ_FILES = {
    split: (f"kmnist-{split}-imgs.npz", f"kmnist-{split}-labels.npz") for split in ("train", "test")
}
_CHUNK_ITEMS = 1024


def find_array(folder: Path, split: str) -> Sequence[Path]:
    """Take the path itself: an array set is one file."""
    return (folder,) if folder.is_file() else ()


def read_array(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Read images of any layout that :func:`as_images` knows, and int64 labels if there are any.

    Raises:
        DataError: If the file is damaged or has no array called ``images``.
        ImageShapeError: If the array cannot be images.
    """
    path = files[0]
    with corrupt_file_is_data_error(path):
        images, labels = _from_npz(path) if path.suffix == ".npz" else (_from_npy(path), None)
    if images.ndim == 0 or len(images) == 0:
        raise DataError(f"{path} holds no image; choose another file.")
    if labels is not None and labels.shape != (len(images),):
        raise DataError(
            f"{path}: labels of shape [{len(images)}] are expected, but theirs is {list(labels.shape)}."
        )
    chosen = options.selection.held_out(len(images))
    whole = len(chosen) == len(images)
    pixels = as_images(images if whole else images[chosen], where=str(path))
    return Decoded(pixels, None if labels is None else labels[chosen].astype(np.int64))


def find_kmnist_npz(folder: Path, split: str) -> Sequence[Path]:
    """Find Kuzushiji-MNIST's official `.npz` files of a split."""
    found = [folder / name for name in KMNIST_NPZ_FILES.get(split, ()) if (folder / name).is_file()]
    return found if len(found) == 2 else ()


def read_kmnist_npz(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Read images and labels from two files of one array each.

    Raises:
        DataError: If a file is damaged or the two do not belong together.
    """
    arrays = []
    for path in files:
        with corrupt_file_is_data_error(path):
            arrays.append(_from_npz(path)[0])
    images, labels = arrays
    if labels.shape != (len(images),):
        raise DataError(f"{files[0]} and {files[1]} do not hold equally many items; take both afresh.")
    chosen = options.selection.of_split(len(images))
    return Decoded(as_images(images[chosen], where=str(files[0])), labels[chosen].astype(np.int64))


def as_images(array: NDArray[np.generic], *, where: str) -> NDArray[np.uint8]:
    """Bring [N, H, W], [N, H, W, C] or [N, C, H, W] with C 1 or 3 to uint8 [N, C, H, W].

    Floats in [0, 1] become round(255 x).

    Raises:
        ImageShapeError: If the shape, the type or the range is another.
    """
    ordered = _channels_first(array, where)
    if ordered.dtype == np.uint8:
        pixels: NDArray[np.uint8] = ordered.astype(np.uint8, order="C", copy=False)  # a memmap stays one
        return pixels
    if not np.issubdtype(ordered.dtype, np.floating):
        raise ImageShapeError(
            f"{where}: uint8 images, or floats in [0, 1], are expected, but they are {ordered.dtype}."
        )
    out = np.empty(ordered.shape, dtype=np.uint8)
    for start in range(0, len(ordered), _CHUNK_ITEMS):
        chunk = ordered[start : start + _CHUNK_ITEMS]
        if not (chunk.min() >= 0 and chunk.max() <= 1):  # NaN fails both
            raise ImageShapeError(
                f"{where}: floats in [0, 1] are expected, but they run from {chunk.min()} to {chunk.max()}; "
                "scale them, or store uint8."
            )
        out[start : start + _CHUNK_ITEMS] = np.rint(chunk * 255)
    return out


def _channels_first(array: NDArray[np.generic], where: str) -> NDArray[np.generic]:
    if array.ndim == 3:
        return array[:, None]
    first, last = (array.ndim == 4 and array.shape[axis] in (1, 3) for axis in (1, 3))
    if first == last:
        raise ImageShapeError(
            f"{where}: [N, H, W], [N, H, W, C] or [N, C, H, W] with C 1 or 3 is expected, but the shape is "
            f"{list(array.shape)}; reshape it."
        )
    return array if first else array.transpose(0, 3, 1, 2)


def _from_npy(path: Path) -> NDArray[np.generic]:
    array: NDArray[np.generic] = np.load(path, mmap_mode="c", allow_pickle=False)
    return array


def _from_npz(path: Path) -> tuple[NDArray[np.generic], NDArray[np.generic] | None]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return _images_of(path, archive), archive.get("labels")


def _images_of(path: Path, archive: np.lib.npyio.NpzFile) -> NDArray[np.generic]:
    names = [name for name in archive.files if name != "labels"]
    if "images" not in names and len(names) != 1:
        raise DataError(f"{path}: an array called 'images' is expected, but there are {names}; rename it.")
    images: NDArray[np.generic] = archive["images" if "images" in names else names[0]]
    return images
