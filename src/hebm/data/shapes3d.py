"""3DShapes: 480,000 rendered images of 64 x 64 with six known factors, one HDF5 file.

Reading it needs ``h5py``, which is no dependency of this library.

Source: Burgess and Kim (2018), "3D Shapes Dataset", https://github.com/google-deepmind/3d-shapes
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from hebm.data.reading import Decoded, ReadOptions, corrupt_file_is_data_error
from hebm.errors import DataError, MissingDependencyError

__all__ = ["SHAPES3D_FACTORS", "SHAPES3D_FILE", "find_shapes3d", "read_shapes3d"]

SHAPES3D_FILE = "3dshapes.h5"
SHAPES3D_FACTORS = ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
_SHAPE = SHAPES3D_FACTORS.index("shape")
_CHUNK_ITEMS = 4096


def find_shapes3d(folder: Path, split: str) -> Sequence[Path]:
    """Find the one file that holds everything."""
    path = folder / SHAPES3D_FILE
    return (path,) if path.is_file() else ()


def read_shapes3d(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Read the images of a split with their factors as codes from 0 up; the label is the shape.

    Raises:
        MissingDependencyError: If ``h5py`` is not installed.
        DataError: If the file is damaged or holds something else.
    """
    try:
        h5py = import_module("h5py")
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {files[0]} needs h5py; install it: pip install h5py"
        ) from error
    with corrupt_file_is_data_error(files[0]), h5py.File(files[0], "r") as file:
        if missing := {"images", "labels"} - set(file):
            raise DataError(
                f"{files[0]} has no data set {min(missing)!r}; take the official {SHAPES3D_FILE}."
            )
        values = np.asarray(file["labels"])
        if values.ndim != 2 or values.shape != (len(file["images"]), len(SHAPES3D_FACTORS)):
            raise DataError(
                f"{files[0]}: labels of shape [{len(file['images'])}, {len(SHAPES3D_FACTORS)}] are expected, but "
                f"theirs is {list(values.shape)}; take the official {SHAPES3D_FILE}."
            )
        chosen = options.selection.held_out(len(values))
        images = np.empty((len(chosen), *file["images"].shape[1:]), np.uint8)
        for start in range(0, len(values), _CHUNK_ITEMS):  # one pass: chosen rows are in order
            rows = slice(*np.searchsorted(chosen, [start, start + _CHUNK_ITEMS]))
            if rows.start < rows.stop:
                images[rows] = file["images"][start : start + _CHUNK_ITEMS][chosen[rows] - start]
    codes = [np.unique(column, return_inverse=True)[1] for column in values.T]
    factors = np.stack(codes, axis=1)[chosen].astype(np.int64)
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return Decoded(pixels, factors[:, _SHAPE].copy(), factors=factors, factor_names=SHAPES3D_FACTORS)
