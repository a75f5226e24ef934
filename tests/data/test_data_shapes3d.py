"""3DShapes is read as it lies in its file: pixels, factors as codes, a held-out share for testing."""

import sys
from pathlib import Path

import numpy as np
import pytest

from hebm.data import load_images
from hebm.errors import DataError, MissingDataError, MissingDependencyError

VALUES = np.stack(
    np.meshgrid([0.0, 0.1, 0.9], [0.5], [0.2, 0.3], [0.75, 1.25], [0, 1, 2, 3], [-30.0, 30.0]), -1
)
VALUES = VALUES.reshape(-1, 6)
IMAGES = np.random.default_rng(0).integers(0, 256, (len(VALUES), 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file in the official form."""
    h5py = pytest.importorskip("h5py")
    (tmp_path / "shapes3d").mkdir()
    with h5py.File(tmp_path / "shapes3d" / "3dshapes.h5", "w") as file:
        file["images"], file["labels"] = IMAGES, VALUES
    return tmp_path


def test_images_and_factors_are_read_exactly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels first, factor values in their order from 0 up, the label is the shape; also piece by piece."""
    monkeypatch.setattr("hebm.data.shapes3d._CHUNK_ITEMS", 7)
    whole = load_images("shapes3d", "all", root=folder)
    np.testing.assert_array_equal(whole.images, IMAGES.transpose(0, 3, 1, 2))
    assert whole.factors is not None
    assert whole.factor_names == ("floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation")
    for codes, values in zip(whole.factors.T, VALUES.T, strict=True):
        np.testing.assert_array_equal(np.unique(values)[codes], values)
    np.testing.assert_array_equal(whole.labels, VALUES[:, 4])
    splits = [load_images("shapes3d", split, root=folder, holdout=0.25) for split in ("train", "test")]
    assert [len(split) for split in splits] == [72, 24]
    for split in splits:
        assert split.factors is not None
        for image, factors in zip(split.images, split.factors, strict=True):
            (index,) = np.flatnonzero((whole.factors == factors).all(1))
            np.testing.assert_array_equal(image, whole.images[index])


def test_what_is_missing_or_damaged_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file, its contents, and the library that reads it."""
    with pytest.raises(MissingDataError, match=r"3dshapes\.h5"):
        load_images("shapes3d", root=tmp_path / "nowhere")
    path = folder / "shapes3d" / "3dshapes.h5"
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        file["images"] = IMAGES[:3]
    with pytest.raises(DataError, match="no data set 'labels'"):
        load_images("shapes3d", root=folder)
    with h5py.File(path, "a") as file:
        file["labels"] = VALUES[:3, :5]
    with pytest.raises(DataError, match=r"\[3, 6\].*\[3, 5\]"):
        load_images("shapes3d", root=folder)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"3dshapes\.h5 cannot be read"):
        load_images("shapes3d", root=folder)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match="pip install h5py"):
        load_images("shapes3d", root=folder)
