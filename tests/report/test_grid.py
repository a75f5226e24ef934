"""Grids: every pixel of every cell is where the formula says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hebm.errors import ImageShapeError
from hebm.report import image_grid, interleave_rows, save_png

GAP = 128


def test_an_asymmetric_image_lands_in_its_cell_unflipped() -> None:
    """Cell (1, 0) of a 2-column grid starts at row H scale + gap; each pixel becomes a square of side `scale`."""
    images = torch.zeros(3, 1, 2, 3)
    images[2, 0, 0, 2] = 1.0
    images[2, 0, 1, 0] = 0.2
    pixels = np.asarray(image_grid(images, n_columns=2, scale=2, gap=3))
    expected = np.full((2 * 4 + 3, 2 * 6 + 3), GAP)
    expected[:4, :6] = expected[:4, 9:] = expected[7:, :6] = 0
    expected[7:9, 4:6], expected[9:11, 0:2] = 255, 51
    np.testing.assert_array_equal(pixels, expected)


def test_colour_channels_keep_their_order() -> None:
    images = torch.tensor([1.0, 0.0, 0.4]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    picture = image_grid(images, n_columns=1, scale=1)
    assert picture.mode == "RGB"
    assert picture.getpixel((2, 2)) == (255, 0, 102)


@pytest.mark.parametrize(("side", "cell"), [(8, 64), (28, 56), (32, 64), (64, 64), (128, 128)])
def test_cells_are_enlarged_by_a_whole_number_to_at_most_64_pixels(side: int, cell: int) -> None:
    assert image_grid(torch.zeros(1, 1, side, side), n_columns=1).size == (cell, cell)


def test_interleaved_rows_put_each_original_above_its_reconstruction() -> None:
    originals = torch.arange(3.0).view(3, 1, 1, 1) / 10
    rows = interleave_rows(originals, originals + 0.5, n_columns=2)
    torch.testing.assert_close(rows.flatten(), torch.tensor([0.0, 0.1, 0.5, 0.6, 0.2, 0.5, 0.7, 0.5]))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 2, 4, 4), r"\[N, 1 or 3, H, W\].*got \(2, 2, 4, 4\)"),
        (torch.zeros(0, 1, 4, 4), "N > 0"),
        (torch.full((1, 1, 4, 4), -1.0), r"\[0, 1\]; got values from -1"),
        (torch.full((1, 1, 4, 4), torch.nan), "got values from nan"),
    ],
)
def test_wrong_images_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(ImageShapeError, match=message):
        image_grid(images, n_columns=2)


def test_a_saved_picture_reads_back_and_leaves_nothing_else(tmp_path: Path) -> None:
    images = torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(0))
    picture = image_grid(images, n_columns=2)
    save_png(picture, tmp_path / "new" / "grid.png")
    save_png(picture, tmp_path / "new" / "grid.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["grid.png"]
    with Image.open(tmp_path / "new" / "grid.png") as read:
        np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))


def test_a_failed_write_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "grid.png"
    path.write_bytes(b"old")

    def fail(source: object, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_png(image_grid(torch.zeros(1, 1, 2, 2), n_columns=1), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
