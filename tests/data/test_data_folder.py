"""Folders of images: order, labels, splits, orientation, depth, damaged files, and the mapped file."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from data_files import as_pillow, pictures, png, write_parquet, write_pngs
from PIL import Image

from hebm.data import load_images
from hebm.errors import DataError, ImageShapeError


def _load(folder: Path, split: str = "all", **arguments: object):
    return load_images("folder", split, path=folder, root=folder.parent / "root", **arguments)  # type: ignore[arg-type]


def test_items_are_sorted_by_relative_path(tmp_path: Path) -> None:
    """Sub-folders are searched, hidden files passed over, pixels exact."""
    images = pictures(4, 6, 6, 3)
    write_pngs(tmp_path / "set", images, ["b.png", "a/z.png", "a/b/c.png", "c.png"])
    (tmp_path / "set" / "._b.png").write_bytes(b"resource fork")
    (tmp_path / "set" / "notes.txt").write_text("not an image")
    loaded = _load(tmp_path / "set")
    assert loaded.item_names == ("a/b/c.png", "a/z.png", "b.png", "c.png")
    np.testing.assert_array_equal(loaded.images, images[[2, 1, 0, 3]])
    assert loaded.labels is None


def test_sub_folders_become_labels_only_if_all_images_lie_in_them(tmp_path: Path) -> None:
    """Labels count the sorted folder names, and stay with their images under a split."""
    images = np.repeat(np.arange(12, dtype=np.uint8), 16).reshape(12, 1, 4, 4)
    classes = ["dog", "ant", "cat"]
    write_pngs(tmp_path / "set", images, [f"{classes[i % 3]}/{i:02d}.png" for i in range(12)])
    expected = np.asarray([2, 0, 1])
    for split in ("all", "train", "test"):
        loaded = _load(tmp_path / "set", split, holdout=0.4)
        np.testing.assert_array_equal(loaded.labels, expected[loaded.images[:, 0, 0, 0] % 3])
    write_pngs(tmp_path / "set", images[:1], ["loose.png"])
    assert _load(tmp_path / "set").labels is None


def test_held_out_splits_are_disjoint_complete_and_fixed_by_the_seed(tmp_path: Path) -> None:
    """test + train = all; the same seed gives the same split, another seed another."""
    write_pngs(tmp_path / "set", pictures(20, 4, 4))
    names = {
        split: _load(tmp_path / "set", split, holdout=0.25).item_names for split in ("train", "test", "all")
    }
    assert len(names["test"]) == 5
    assert tuple(sorted(names["train"] + names["test"])) == names["all"]
    assert names["test"] == _load(tmp_path / "set", "test", holdout=0.25).item_names
    assert names["test"] != _load(tmp_path / "set", "test", holdout=0.25, seed=1).item_names
    assert _load(tmp_path / "set", "test", holdout=0.25, limit=2).item_names == names["test"][:2]
    with pytest.raises(DataError, match=r"held-out share of 0\.0 of 20 images"):
        _load(tmp_path / "set", "test", holdout=0.0)


def test_folders_called_train_and_test_are_the_splits(tmp_path: Path) -> None:
    """They are not taken for classes, and nothing of one is in the other."""
    images = pictures(5, 4, 4)
    write_pngs(
        tmp_path / "set", images, ["train/a.png", "train/b.png", "train/c.png", "test/a.png", "test/b.png"]
    )
    np.testing.assert_array_equal(_load(tmp_path / "set", "train").images, images[:3])
    np.testing.assert_array_equal(_load(tmp_path / "set", "test").images, images[3:])
    assert len(_load(tmp_path / "set", "all")) == 5
    assert _load(tmp_path / "set", "all").labels is None


def test_a_photograph_is_cropped_to_its_centre_and_resized(tmp_path: Path) -> None:
    """Wide and tall images give the centre square; the size needed is not resampled."""
    wide, tall = pictures(1, 8, 12, 3)[0], pictures(1, 13, 8, 3, seed=1)[0]
    (tmp_path / "set").mkdir()
    as_pillow(wide).save(tmp_path / "set" / "a.png")
    as_pillow(tall).save(tmp_path / "set" / "b.png")
    exact = _load(tmp_path / "set", size=8)
    np.testing.assert_array_equal(exact.images[0], wide[:, :, 2:10])
    np.testing.assert_array_equal(exact.images[1], tall[:, 2:10, :])
    half = as_pillow(wide[:, :, 2:10]).resize((4, 4), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(
        _load(tmp_path / "set", size=4).images[0], np.asarray(half).transpose(2, 0, 1)
    )


@pytest.mark.parametrize(("size", "n_pools"), [(8, 0), (64, 1)])
def test_photographs_are_decoded_on_threads_and_thumbnails_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, n_pools: int
) -> None:
    """Random pixels hardly compress: 64 x 64 of them are a file of 12 kB. Order and pixels are the same."""
    pools: list[object] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, n_threads: int) -> None:
            super().__init__(n_threads)
            pools.append(self)

    monkeypatch.setattr("hebm.data.decode.ThreadPoolExecutor", Pool)
    images = pictures(12, size, size, 3)
    write_pngs(tmp_path / "set", images, [f"{i:02d}.png" for i in range(12)])
    np.testing.assert_array_equal(_load(tmp_path / "set").images, images)
    assert len(pools) == n_pools


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    """A checkerboard of single pixels becomes even grey, not black or white."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[None, None]
    write_pngs(tmp_path / "set", board)
    assert np.abs(_load(tmp_path / "set", size=8).images.astype(int) - 127).max() < 8


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_is_respected(tmp_path: Path, suffix: str) -> None:
    """Orientation 6 turns the stored picture by a quarter, clockwise; its header size is turned as well."""
    picture = pictures(1, 4, 8, 1)[0]
    picture[:, :, 4:] = 0
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / f"a.{suffix}"
    as_pillow(picture).save(path, exif=exif, quality=100)
    with Image.open(path) as stored:
        expected = np.rot90(np.asarray(stored), -1)
    np.testing.assert_array_equal(_load(tmp_path / "set", size=4).images[0, 0], expected[2:6])
    with pytest.raises(ImageShapeError, match="8x4"):
        _load(tmp_path / "set")


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    """v becomes round(v / 257): 0, 257, 32768, 65535 become 0, 1, 128, 255."""
    values = np.asarray([[0, 257], [32768, 65535]], dtype=np.uint16)
    (tmp_path / "set").mkdir()
    Image.fromarray(values).save(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "b.pgm").write_bytes(b"P5 2 2 65535\n" + values.astype(">u2").tobytes())
    loaded = _load(tmp_path / "set")
    np.testing.assert_array_equal(loaded.images, [[[[0, 1], [128, 255]]]] * 2)


def test_transparency_is_laid_over_white(tmp_path: Path) -> None:
    """Clear is white, half-clear black is middle grey, opaque is itself; a palette's clear entry too."""
    rgba = np.asarray([[[10, 20, 30, 0], [10, 20, 30, 255]], [[0, 0, 0, 128], [0, 0, 0, 255]]], np.uint8)
    (tmp_path / "set").mkdir()
    Image.fromarray(rgba).save(tmp_path / "set" / "a.png")
    palette = Image.fromarray(np.asarray([[0, 1], [1, 0]], np.uint8), "L").convert("P")
    palette.putpalette([200, 0, 0, 0, 0, 90])
    palette.save(tmp_path / "set" / "b.png", transparency=0)
    loaded = _load(tmp_path / "set")
    np.testing.assert_array_equal(loaded.images[0, :, 0], [[255, 10], [255, 20], [255, 30]])
    np.testing.assert_array_equal(loaded.images[0, 0, 1], [127, 0])
    np.testing.assert_array_equal(loaded.images[1, :, 0], [[255, 0], [255, 0], [255, 90]])


def test_one_colour_image_makes_the_folder_colour(tmp_path: Path) -> None:
    """Grey folders have one channel; grey images among colour ones get three equal channels."""
    grey, colour = pictures(2, 4, 4), pictures(1, 4, 4, 3)
    write_pngs(tmp_path / "set", grey)
    assert _load(tmp_path / "set").image_shape == (1, 4, 4)
    write_pngs(tmp_path / "set", colour, ["000a.png"])
    mixed = _load(tmp_path / "set")
    np.testing.assert_array_equal(mixed.images[0], np.repeat(grey[0], 3, axis=0))
    np.testing.assert_array_equal(mixed.images[1], colour[0])


def test_mixed_sizes_are_refused_with_one_file_of_each(tmp_path: Path) -> None:
    """The message names a file per size and the setting that helps; with a size they are fine."""
    write_pngs(tmp_path / "set", pictures(2, 8, 8), ["a.png", "b.png"])
    write_pngs(tmp_path / "set", pictures(1, 10, 10), ["c.png"])
    with pytest.raises(ImageShapeError, match=r"a\.png is 8x8; .*c\.png is 10x10; .*data\.size=64"):
        _load(tmp_path / "set")
    assert _load(tmp_path / "set", size=8).images.shape == (3, 1, 8, 8)


def test_images_that_are_not_square_are_refused_without_a_size(tmp_path: Path) -> None:
    """All of one size, but not square."""
    write_pngs(tmp_path / "set", pictures(2, 8, 10))
    with pytest.raises(ImageShapeError, match=r"000\.png: square images .* 8x10 .*data\.size=64"):
        _load(tmp_path / "set")


DAMAGE = {"empty": b"", "text": b"this is no image", "cut": None, "cut_jpeg": None}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("size", [None, 16])
def test_damaged_images_are_refused_or_left_out(
    tmp_path: Path, damage: str, size: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """refuse names file and fix; skip keeps the others in order, lists the file and warns once."""
    images = pictures(6, 16, 16, 3)
    write_pngs(tmp_path / "set", images)
    for name in ("001.png", "004.png"):
        content = DAMAGE[damage]
        if damage == "cut_jpeg":
            as_pillow(images[1]).save(tmp_path / "whole.jpg", quality=95)
            content = (tmp_path / "whole.jpg").read_bytes()[:-200]
        (tmp_path / "set" / name).write_bytes(png(images[1])[:-300] if content is None else content)
    with pytest.raises(DataError, match=r"001\.png cannot be read: .*--set data\.on_error=skip"):
        _load(tmp_path / "set", size=size)
    with caplog.at_level(logging.WARNING, logger="hebm"):
        loaded = _load(tmp_path / "set", size=size, on_error="skip")
    np.testing.assert_array_equal(loaded.images, images[[0, 2, 3, 5]])
    assert loaded.item_names == ("000.png", "002.png", "003.png", "005.png")
    assert [line.partition(":")[0] for line in loaded.skipped] == ["001.png", "004.png"]
    assert [r.getMessage().partition("; the first is 001.png")[0] for r in caplog.records] == [
        "folder: 2 images could not be read and are left out"
    ]


def test_damaged_parquet_rows_are_refused_or_left_out(tmp_path: Path) -> None:
    """A row is named by file and number; labels of the others stay theirs."""
    contents = [png(picture) for picture in pictures(6, 4, 4)]
    contents[4] = contents[4][:30]
    write_parquet(tmp_path / "set.parquet", contents, [0, 1, 2, 3, 4, 5])
    with pytest.raises(DataError, match=r"set\.parquet row 4 cannot be read"):
        load_images("parquet", "all", path=tmp_path / "set.parquet", root=tmp_path)
    kept = load_images("parquet", "all", path=tmp_path / "set.parquet", root=tmp_path, on_error="skip")
    np.testing.assert_array_equal(kept.labels, [0, 1, 2, 3, 5])
    assert kept.skipped[0].startswith("set.parquet row 4: ")


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    """No image at all, or none that can be read."""
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=r"holds no image.*no file"):
        _load(tmp_path / "set")
    (tmp_path / "set" / "photo.heic").write_bytes(b"0")
    with pytest.raises(DataError, match=r"1 x \.heic"):
        _load(tmp_path / "set")
    (tmp_path / "set" / "a.png").write_bytes(b"")
    for arguments in ({}, {"size": 4, "channels": 1}):
        with pytest.raises(DataError, match=r"none of the .*a\.png: it is empty"):
            _load(tmp_path / "set", on_error="skip", **arguments)


def test_large_sets_are_mapped_from_a_file_that_is_used_again(tmp_path: Path) -> None:
    """Beyond the threshold the pixels lie in root/cache, as in memory; the next run decodes nothing."""
    images = pictures(7, 8, 8, 3)
    write_pngs(tmp_path / "set", images)
    (tmp_path / "set" / "002.png").write_bytes(b"")
    cache = tmp_path / "root" / "cache"
    small = _load(tmp_path / "set", on_error="skip")
    assert not isinstance(small.images, np.memmap)
    assert not cache.exists()
    first = _load(tmp_path / "set", on_error="skip", cache_above_bytes=100)
    assert isinstance(first.images, np.memmap)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]
    stamp = next(cache.glob("*.npy")).stat().st_mtime_ns
    again = _load(tmp_path / "set", on_error="skip", cache_above_bytes=100)
    assert next(cache.glob("*.npy")).stat().st_mtime_ns == stamp
    for loaded in (first, again):
        np.testing.assert_array_equal(loaded.images, small.images)
        assert loaded.item_names == small.item_names
        assert loaded.skipped == small.skipped
        assert loaded.fingerprint == small.fingerprint


def test_a_changed_file_or_transform_is_decoded_afresh(tmp_path: Path) -> None:
    """The mapped file belongs to file sizes, times and transform."""
    write_pngs(tmp_path / "set", pictures(3, 8, 8))
    _load(tmp_path / "set", cache_above_bytes=0, size=5)
    assert _load(tmp_path / "set", cache_above_bytes=0).image_shape == (1, 8, 8)
    small = _load(tmp_path / "set", cache_above_bytes=0, size=4)
    np.testing.assert_array_equal(small.images, _load(tmp_path / "set", size=4).images)
    changed = pictures(1, 8, 8, seed=9)
    write_pngs(tmp_path / "set", changed)
    os.utime(tmp_path / "set" / "000.png", ns=(0, 0))
    np.testing.assert_array_equal(_load(tmp_path / "set", cache_above_bytes=0).images[0], changed[0])


def test_a_failed_run_leaves_no_file_in_the_cache(tmp_path: Path) -> None:
    """An unreadable image stops the run; the half-written array goes with it."""
    write_pngs(tmp_path / "set", pictures(3, 8, 8))
    (tmp_path / "set" / "002.png").write_bytes(png(pictures(1, 8, 8)[0])[:-40])
    with pytest.raises(DataError, match=r"002\.png"):
        _load(tmp_path / "set", cache_above_bytes=0)
    assert list((tmp_path / "root" / "cache").iterdir()) == []


def test_a_damaged_cache_is_decoded_afresh(tmp_path: Path) -> None:
    """A truncated array beside its notes is not an error."""
    images = pictures(3, 8, 8)
    write_pngs(tmp_path / "set", images)
    _load(tmp_path / "set", cache_above_bytes=0)
    npy = next((tmp_path / "root" / "cache").glob("*.npy"))
    npy.write_bytes(npy.read_bytes()[:90])
    np.testing.assert_array_equal(_load(tmp_path / "set", cache_above_bytes=0).images, images)
