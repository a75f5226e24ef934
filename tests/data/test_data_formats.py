"""Every format gives back the pixels and labels that were written, in order."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from data_files import as_pillow, idx_bytes, pictures, png, write_idx, write_parquet, write_pngs
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits

from hebm.data import load_images
from hebm.errors import DataError, ImageShapeError, MissingDataError

LABELS = np.asarray([3, 1, 4, 1, 5, 9], dtype=np.uint8)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_idx_files_are_read_exactly(tmp_path: Path, name: str, packed: bool) -> None:
    """Both splits, gzipped or unpacked, pixel for pixel."""
    for seed, split in enumerate(("train", "test")):
        images = pictures(6, 28, 28, seed=seed)
        write_idx(tmp_path / name, split, images, LABELS, packed=packed)
        loaded = load_images(name, split, root=tmp_path, download=False)
        np.testing.assert_array_equal(loaded.images, images)
        np.testing.assert_array_equal(loaded.labels, LABELS)
        assert loaded.labels is not None
        assert loaded.labels.dtype == np.int64
        assert loaded.image_shape == (1, 28, 28)


def test_kmnist_is_read_from_its_official_npz_files(tmp_path: Path) -> None:
    """The test split alone may be there; the message about the other one says so."""
    images = pictures(6, 28, 28)
    (tmp_path / "kmnist").mkdir()
    np.savez_compressed(tmp_path / "kmnist" / "kmnist-test-imgs.npz", images[:, 0])
    np.savez_compressed(tmp_path / "kmnist" / "kmnist-test-labels.npz", LABELS)
    loaded = load_images("kmnist", "test", root=tmp_path, download=False)
    np.testing.assert_array_equal(loaded.images, images)
    np.testing.assert_array_equal(loaded.labels, LABELS)
    with pytest.raises(MissingDataError, match=r"split 'train'.*only test is there.*kmnist-train-imgs\.npz"):
        load_images("kmnist", "train", root=tmp_path, download=False)


@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_svhn_axes_are_reordered_and_ten_means_zero(tmp_path: Path, split: str) -> None:
    """X is [H, W, C, N] and the label of the digit 0 is 10."""
    images = pictures(6, 32, 32, 3)
    (tmp_path / "svhn").mkdir()
    content = {"X": images.transpose(2, 3, 1, 0), "y": np.asarray([[10], [1], [9], [10], [2], [5]], np.uint8)}
    savemat(tmp_path / "svhn" / f"{split}_32x32.mat", content, do_compression=True)
    loaded = load_images("svhn", split, root=tmp_path, download=False)
    np.testing.assert_array_equal(loaded.images, images)
    np.testing.assert_array_equal(loaded.labels, [0, 1, 9, 0, 2, 5])


def _cifar_batches(root: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = pictures(12, 32, 32, 3), np.arange(12, dtype=np.uint8) % 10
    records = np.concatenate([labels[:, None], images.reshape(12, -1)], axis=1)
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for i in range(5):
        (folder / f"data_batch_{i + 1}.bin").write_bytes(records[2 * i : 2 * i + 2].tobytes())
    (folder / "test_batch.bin").write_bytes(records[10:].tobytes())
    return images, labels


@pytest.mark.parametrize("archived", [False, True])
def test_cifar10_batches_are_read_in_order(tmp_path: Path, archived: bool) -> None:
    """Planes red, green, blue; five batches in order; from a folder or straight from the archive."""
    source = tmp_path / ("elsewhere" if archived else "cifar10")
    images, labels = _cifar_batches(source)
    if archived:
        (tmp_path / "cifar10").mkdir()
        with tarfile.open(tmp_path / "cifar10" / "cifar-10-binary.tar.gz", "w:gz") as archive:
            for path in sorted((source / "cifar-10-batches-bin").iterdir(), reverse=True):
                archive.add(path, f"cifar-10-batches-bin/{path.name}")
    for split, part in (("train", slice(0, 10)), ("test", slice(10, 12))):
        loaded = load_images("cifar10", split, root=tmp_path, download=False)
        np.testing.assert_array_equal(loaded.images, images[part])
        np.testing.assert_array_equal(loaded.labels, labels[part])


@pytest.mark.parametrize("column", ["image", "img"])
def test_parquet_files_are_read_in_order(tmp_path: Path, column: str) -> None:
    """CIFAR-10 as parquet: two files of a split, row groups in order, the image column by either name."""
    images = pictures(11, 32, 32, 3)
    contents = [png(picture) for picture in images]
    folder = tmp_path / "cifar10"
    write_parquet(folder / "train-00000-of-00002.parquet", contents[:6], [0, 1, 2, 3, 4, 5], column=column)
    write_parquet(folder / "train-00001-of-00002.parquet", contents[6:9], [6, 7, 8], column=column)
    write_parquet(folder / "test-00000-of-00001.parquet", contents[9:], [9, 0], column=column)
    train = load_images("cifar10", "train", root=tmp_path, download=False)
    test = load_images("cifar10", "test", root=tmp_path, download=False)
    np.testing.assert_array_equal(train.images, images[:9])
    np.testing.assert_array_equal(test.images, images[9:])
    np.testing.assert_array_equal(train.labels, range(9))
    np.testing.assert_array_equal(test.labels, [9, 0])
    np.testing.assert_array_equal(load_images("cifar10", root=tmp_path, limit=7).images, images[:7])
    whole = load_images("parquet", "all", path=folder, root=tmp_path)
    np.testing.assert_array_equal(np.sort(whole.images.sum((1, 2, 3))), np.sort(images.sum((1, 2, 3))))


def test_parquet_labels_follow_the_held_out_items(tmp_path: Path) -> None:
    """Under a held-out split the label of an item is still its own; without a column there are none."""
    images = np.repeat(np.arange(20, dtype=np.uint8), 16).reshape(20, 1, 4, 4)
    write_parquet(tmp_path / "a.parquet", [png(p) for p in images], [int(i) + 100 for i in range(20)])
    write_parquet(tmp_path / "b.parquet", [png(p) for p in images], None)
    test = load_images("parquet", "test", path=tmp_path / "a.parquet", holdout=0.3, root=tmp_path)
    np.testing.assert_array_equal(test.labels, test.images[:, 0, 0, 0].astype(int) + 100)
    assert load_images("parquet", "test", path=tmp_path / "b.parquet", root=tmp_path).labels is None


def test_a_lone_train_file_keeps_its_held_out_share_out_of_train(tmp_path: Path) -> None:
    """`train-*` without `test-*`: the test split is not a part of the training split."""
    images = np.repeat(np.arange(20, dtype=np.uint8), 16).reshape(20, 1, 4, 4)
    write_parquet(tmp_path / "set" / "train-0.parquet", [png(p) for p in images], None)
    parts = [load_images("parquet", s, path=tmp_path / "set", root=tmp_path) for s in ("train", "test")]
    values = [set(part.images[:, 0, 0, 0].tolist()) for part in parts]
    assert not values[0] & values[1]
    assert values[0] | values[1] == set(range(20))


@pytest.mark.parametrize("layout", ["nhw", "nhwc", "nchw", "npz", "npz_alone", "float32"])
def test_arrays_of_every_layout_are_read_exactly(tmp_path: Path, layout: str) -> None:
    """[N, H, W], [N, H, W, C], [N, C, H, W], in .npy or .npz, as bytes or as x / 255."""
    images = pictures(6, 5, 5, 1 if layout == "nhw" else 3)
    path = tmp_path / ("set.npz" if layout.startswith("npz") else "set.npy")
    labels = None
    if layout == "npz":
        labels = LABELS
        np.savez(path, images=images, labels=labels, other=np.zeros(2))
    elif layout == "npz_alone":
        np.savez(path, images)
    else:
        array = {"nhw": images[:, 0], "nhwc": images.transpose(0, 2, 3, 1), "nchw": images}.get(layout)
        np.save(path, (images / 255).astype(np.float32) if array is None else array)
    loaded = load_images("array", "all", path=path, root=tmp_path)
    np.testing.assert_array_equal(loaded.images, images)
    assert (loaded.labels is None) == (labels is None)


def test_floats_go_to_the_nearest_level(tmp_path: Path) -> None:
    """x becomes round(255 x), in chunks: every item of a long array."""
    values = np.random.default_rng(0).random((1500, 2, 2))
    np.save(tmp_path / "set.npy", values)
    loaded = load_images("array", "all", path=tmp_path / "set.npy", root=tmp_path)
    assert np.abs(loaded.images[:, 0] - 255 * values).max() <= 0.5


def test_parquet_takes_every_image_format(tmp_path: Path) -> None:
    """Lossless WebP, PNG and BMP bytes come back exactly."""
    images = pictures(3, 8, 8, 3)
    contents = []
    for picture, kind in zip(images, ("WEBP", "PNG", "BMP"), strict=True):
        buffer = io.BytesIO()
        as_pillow(picture).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
        contents.append(buffer.getvalue())
    write_parquet(tmp_path / "set.parquet", contents, None)
    loaded = load_images("parquet", "all", path=tmp_path / "set.parquet", root=tmp_path)
    np.testing.assert_array_equal(loaded.images, images)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 4, 6), np.uint8), "4x6"),
        (np.zeros((2, 3, 4, 3), np.uint8), r"\[2, 3, 4, 3\]"),
        (np.zeros((2, 4, 4, 4), np.uint8), "C 1 or 3"),
        (np.zeros((2, 4, 4), np.int32), "int32"),
        (np.full((2, 4, 4), 2.0), r"from 2\.0 to 2\.0"),
        (np.full((2, 4, 4), np.nan), "nan"),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    """Not square, ambiguous, of another type, or out of range: the message has the shape or the range."""
    np.save(tmp_path / "set.npy", array)
    with pytest.raises(ImageShapeError, match=message):
        load_images("array", path=tmp_path / "set.npy", root=tmp_path)


def test_digits_need_no_file_and_split_evenly_by_class(tmp_path: Path) -> None:
    """1,437 + 360 disjoint items, every class in proportion, 16 becomes 255; the split ignores the seed."""
    train, test = (load_images("digits", split, root=tmp_path / "none") for split in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    assert train.images.max() == 255
    assert train.labels is not None
    assert test.labels is not None
    assert set(np.bincount(test.labels)) <= {35, 36, 37}
    everything = np.concatenate([train.images, test.images]).reshape(1797, -1)
    expected = np.floor(load_digits().data * 255 / 16 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(np.unique(everything, axis=0), np.unique(expected, axis=0))
    assert load_images("digits", "test", seed=7).fingerprint == test.fingerprint
    assert not (tmp_path / "none").exists()


def test_celeba_is_cropped_to_the_face_and_split_by_its_list(tmp_path: Path) -> None:
    """The centre 148x148 of 178x218, resized to 64; the list says which file is in which split."""
    faces = tmp_path / "celeba" / "img_align_celeba"
    faces.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (218, 178, 3), dtype=np.uint8)).save(faces / f"00000{i}.jpg")
    rows = [f"00000{i}.jpg {part}" for i, part in enumerate([0, 2, 0, 1, 2, 0])]
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("\n".join(rows) + "\n")
    train = load_images("celeba", "train", root=tmp_path)
    assert train.item_names == ("000000.jpg", "000002.jpg", "000005.jpg")
    assert load_images("celeba", "valid", root=tmp_path).item_names == ("000003.jpg",)
    assert load_images("celeba", "test", root=tmp_path).item_names == ("000001.jpg", "000004.jpg")
    with Image.open(faces / "000002.jpg") as face:
        crop = face.crop((15, 35, 163, 183)).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(train.images[1], np.asarray(crop).transpose(2, 0, 1))
    (faces / "000004.jpg").unlink()
    with pytest.raises(DataError, match=r"000004\.jpg cannot be read: there is no such file"):
        load_images("celeba", "test", root=tmp_path)
    (tmp_path / "celeba" / "list_eval_partition.txt").unlink()
    parts = [
        load_images("celeba", split, root=tmp_path, holdout=0.4).item_names for split in ("train", "test")
    ]
    assert sorted(parts[0] + parts[1]) == [f"00000{i}.jpg" for i in (0, 1, 2, 3, 5)]


def _cut(path: Path, share: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["idx_gz", "idx", "mat", "cifar", "tar", "parquet", "npz", "npy"])
def test_a_truncated_file_is_named(tmp_path: Path, kind: str) -> None:
    """Every format: a DataError with the file's name, no parser's own exception."""
    name, path = _write_one(tmp_path, kind)
    _cut(path)
    place = {"path": path} if name in {"parquet", "array"} else {}
    with pytest.raises(DataError, match=path.name):
        load_images(name, "train", root=tmp_path, download=False, **place)


def _write_one(root: Path, kind: str) -> tuple[str, Path]:
    images = pictures(40, 32, 32, 3)
    if kind.startswith("idx"):
        write_idx(root / "mnist", "train", images[:, :1], np.zeros(40, np.uint8), packed=kind == "idx_gz")
        return "mnist", next((root / "mnist").glob("train-images*"))
    if kind == "mat":
        (root / "svhn").mkdir()
        path = root / "svhn" / "train_32x32.mat"
        savemat(
            path, {"X": images.transpose(2, 3, 1, 0), "y": np.ones((40, 1), np.uint8)}, do_compression=True
        )
        return "svhn", path
    if kind in {"cifar", "tar"}:
        _cifar_batches(root / "cifar10")
        batches = root / "cifar10" / "cifar-10-batches-bin"
        if kind == "cifar":
            return "cifar10", batches / "data_batch_2.bin"
        with tarfile.open(root / "cifar10" / "cifar-10-binary.tar.gz", "w:gz") as archive:
            archive.add(batches)
        for batch in batches.iterdir():
            batch.unlink()
        return "cifar10", root / "cifar10" / "cifar-10-binary.tar.gz"
    path = root / f"set.{kind}"
    if kind == "parquet":
        write_parquet(path, [png(picture) for picture in images], None)
        return "parquet", path
    np.savez(path, images=images) if kind == "npz" else np.save(path, images)
    return "array", path


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """Three images and six labels; labels where images should be; pickled arrays; an unnamed npz."""
    write_idx(tmp_path / "mnist", "train", pictures(3, 28, 28), LABELS)
    with pytest.raises(DataError, match=r"3 images, but .* 6 labels"):
        load_images("mnist", root=tmp_path)
    write_idx(tmp_path / "mnist", "train", pictures(6, 28, 28), LABELS, packed=False)
    for path in (tmp_path / "mnist").glob("*.gz"):
        path.unlink()
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(idx_bytes(LABELS) + bytes(20))
    with pytest.raises(DataError, match="with 3 axes is expected"):
        load_images("mnist", root=tmp_path)
    np.save(tmp_path / "pickled.npy", np.asarray([{}, []], dtype=object))
    with pytest.raises(DataError, match=r"pickled\.npy cannot be read"):
        load_images("array", path=tmp_path / "pickled.npy", root=tmp_path)
    np.savez(tmp_path / "two.npz", a=LABELS, b=LABELS)
    with pytest.raises(DataError, match=r"'images' is expected, but there are \['a', 'b'\]"):
        load_images("array", path=tmp_path / "two.npz", root=tmp_path)


def test_known_sets_are_resized_and_converted_on_request(tmp_path: Path) -> None:
    """size and channels mean the same for arrays as for files; what already fits is left alone."""
    images = pictures(3, 28, 28)
    write_idx(tmp_path / "mnist", "train", images, LABELS[:3])
    loaded = load_images("mnist", root=tmp_path, size=14, channels=3)
    small = [as_pillow(p).resize((14, 14), Image.Resampling.BICUBIC) for p in images]
    expected = np.stack([np.stack([np.asarray(p)] * 3) for p in small])
    np.testing.assert_array_equal(loaded.images, expected)
    np.testing.assert_array_equal(load_images("mnist", root=tmp_path, size=28).images, images)


def test_grey_from_colour_is_luma(tmp_path: Path) -> None:
    """0.299 R + 0.587 G + 0.114 B to the nearest level, for arrays and files alike."""
    images = pictures(3, 8, 8, 3)
    np.save(tmp_path / "set.npy", images)
    write_pngs(tmp_path / "files", images)
    luma = (images * np.asarray([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True)
    for name, path in (("array", tmp_path / "set.npy"), ("folder", tmp_path / "files")):
        loaded = load_images(name, "all", path=path, channels=1, root=tmp_path)
        assert np.abs(loaded.images - luma).max() <= 0.51


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnsit"}, "did you mean 'mnist'"),
        ({"name": "mnist", "split": "extra"}, "has the splits train, test, not 'extra'"),
        ({"name": "digits", "size": 0}, "size has to be positive"),
        ({"name": "digits", "channels": 2}, "channels has to be 1 or 3"),
        ({"name": "digits", "limit": 0}, "limit has to be positive"),
        ({"name": "digits", "holdout": 1.0}, "holdout has to be"),
        ({"name": "digits", "on_error": "ignore"}, "'refuse' or 'skip'"),
        ({"name": "folder"}, r"data\.path"),
        ({"name": "folder", "path": Path("/no/such/folder")}, "there is no /no/such/folder"),
        ({"name": "array", "path": Path("/")}, "is not one"),
    ],
)
def test_a_wrong_request_says_what_is_right(arguments: dict[str, object], message: str) -> None:
    """Names, numbers and paths are checked before anything is read."""
    with pytest.raises(DataError, match=message):
        load_images(**arguments)  # type: ignore[arg-type]


def test_tiff_and_webp_and_jpeg_are_images_too(tmp_path: Path) -> None:
    """Lossless formats come back exactly, whatever the suffix's case."""
    images = pictures(2, 8, 8, 3)
    as_pillow(images[0]).save(tmp_path / "a.TIFF")
    as_pillow(images[1]).save(tmp_path / "b.webp", lossless=True)
    buffer = io.BytesIO()
    as_pillow(images[0]).save(buffer, "JPEG")
    (tmp_path / "c.JPG").write_bytes(buffer.getvalue())
    loaded = load_images("folder", "all", path=tmp_path, root=tmp_path)
    np.testing.assert_array_equal(loaded.images[:2], images)
    with Image.open(buffer) as jpeg:
        np.testing.assert_array_equal(loaded.images[2], np.asarray(jpeg).transpose(2, 0, 1))
