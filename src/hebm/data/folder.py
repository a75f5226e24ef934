"""Folders of image files, and CelebA's aligned faces, which are one.

* Images are found in all sub-folders and sorted by relative path; hidden files are passed over.
* If all of them lie in two or more sub-folders, the first folder of the path is the class: labels
  0, 1, ... in the order of the sorted folder names.
* If there are the sub-folders `train` and `test`, they are the splits; otherwise a share is held out.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hebm.data.cache import PixelCache
from hebm.data.decode import EncodedImage, decode_images
from hebm.data.reading import Decoded, ReadOptions, corrupt_file_is_data_error
from hebm.errors import DataError

__all__ = [
    "CELEBA_CROP",
    "CELEBA_FOLDER",
    "CELEBA_PARTITION",
    "find_celeba",
    "find_folder",
    "read_celeba",
    "read_folder",
]

CELEBA_FOLDER = "img_align_celeba"
CELEBA_PARTITION = "list_eval_partition.txt"
_N_SAMPLED, _PHOTOGRAPH_BYTES = 64, 6000
_CELEBA_SPLITS = {"train": "0", "valid": "1", "test": "2"}
CELEBA_CROP, _CELEBA_SIZE = 148, 64
_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}
)


def find_folder(path: Path, split: str) -> Sequence[Path]:
    """Take the folder itself."""
    return (path,) if path.is_dir() else ()


def read_folder(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Decode the images of a folder.

    Raises:
        DataError: If there is no image, or one cannot be read.
        ImageShapeError: If sizes are mixed, or not square, and no size is asked for.
    """
    root, select = files[0], options.selection.held_out
    has_splits = (root / "train").is_dir() and (root / "test").is_dir()
    if has_splits and options.selection.split != "all":
        root, select = root / options.selection.split, options.selection.of_split
    names = _image_names(root)
    labels = None if root == files[0] and has_splits else _folder_labels(names)
    return _decode(root, names, labels, select(len(names)), options)


def find_celeba(folder: Path, split: str) -> Sequence[Path]:
    """Find the folder of aligned faces and, if it is there, the list that gives the split."""
    faces, partition = folder / CELEBA_FOLDER, folder / CELEBA_PARTITION
    if not faces.is_dir() or (split == "valid" and not partition.is_file()):
        return ()
    return (faces, partition) if partition.is_file() else (faces,)


def read_celeba(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Decode CelebA's aligned faces: centre crop 148, resized to 64 unless another size is asked for.

    Raises:
        DataError: If a file is missing or cannot be read.
    """
    size = options.transform.size or _CELEBA_SIZE
    channels = options.transform.channels or 3
    options = replace(
        options, transform=replace(options.transform, size=size, channels=channels, crop=CELEBA_CROP)
    )
    select = options.selection.held_out
    if len(files) == 1 or options.selection.split == "all":
        names = _image_names(files[0])
    else:
        names, select = _partition(files[1], options.selection.split), options.selection.of_split
    return _decode(files[0], names, None, select(len(names)), options)


def _decode(
    root: Path,
    names: Sequence[str],
    labels: NDArray[np.int64] | None,
    chosen: NDArray[np.int64],
    options: ReadOptions,
) -> Decoded:
    items = [EncodedImage(names[i], root / names[i]) for i in chosen]
    decoded = decode_images(
        lambda: items,
        len(items),
        transform=options.transform,
        on_error=options.on_error,
        cache=PixelCache(options.cache_folder, _key(items, options), options.cache_above_bytes),
        threads=_are_photographs(items),
    )
    kept = chosen[decoded.kept]
    return Decoded(
        decoded.images,
        None if labels is None else labels[kept],
        tuple(names[i] for i in kept),
        decoded.skipped,
    )


def _are_photographs(items: Sequence[EncodedImage]) -> bool:
    """Whether the first files are so large, on average, that threads gain more than handing the items over costs."""
    files = [item.content for item in items[:_N_SAMPLED] if isinstance(item.content, Path)]
    sizes = [file.stat().st_size for file in files if file.is_file()]
    return sum(sizes) > _PHOTOGRAPH_BYTES * len(sizes)


def _image_names(root: Path) -> list[str]:
    """List the image files below a folder, as sorted relative paths; links to folders are followed once."""
    names: list[str] = []
    others: Counter[str] = Counter()
    seen: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        folders[:] = [] if os.path.realpath(place) in seen else [f for f in folders if not f.startswith(".")]
        if os.path.realpath(place) in seen:
            continue
        seen.add(os.path.realpath(place))
        for file in files:
            if file.startswith("."):
                continue
            if Path(file).suffix.lower() in _SUFFIXES:
                names.append((Path(place) / file).relative_to(root).as_posix())
            else:
                others[Path(file).suffix or file] += 1
    if not names:
        raise DataError(
            f"{root} holds no image; files ending in {', '.join(sorted(_SUFFIXES))} are expected, but there "
            f"is {', '.join(f'{n} x {suffix}' for suffix, n in others.most_common(3)) or 'no file'}."
        )
    return sorted(names)


def _folder_labels(names: Sequence[str]) -> NDArray[np.int64] | None:
    firsts = [name.partition("/")[0] if "/" in name else "" for name in names]
    classes = sorted(set(firsts))
    if "" in classes or len(classes) < 2:
        return None
    return np.searchsorted(classes, firsts).astype(np.int64)


def _partition(path: Path, split: str) -> list[str]:
    with corrupt_file_is_data_error(path):
        rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
        names = [name for name, part in rows if part == _CELEBA_SPLITS[split]]
    if not names:
        raise DataError(f"{path} lists no file of the split '{split}'; replace it by the official list.")
    return names


def _key(items: Sequence[EncodedImage], options: ReadOptions) -> str:
    digest = hashlib.sha256(repr((options.transform, options.on_error)).encode())
    for item in items:
        assert isinstance(item.content, Path)
        try:
            about = item.content.stat()
            digest.update(repr((item.name, about.st_size, about.st_mtime_ns)).encode())
        except OSError:
            digest.update(repr((item.name, "missing")).encode())
    return digest.hexdigest()
