"""Image sets, epochs and batches."""

from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import pictures

from hebm.data import ImageSet, ResidentImages, data_root, epoch_order, list_sources
from hebm.errors import DataError, ImageShapeError


def test_epoch_order_is_a_permutation_fixed_by_seed_and_epoch() -> None:
    """Every item once; the same numbers give the same order, another epoch or seed another."""
    order = epoch_order(100, seed=3, epoch=2)
    assert order.dtype == torch.int64
    assert torch.equal(order.sort().values, torch.arange(100))
    assert torch.equal(order, epoch_order(100, seed=3, epoch=2))
    assert not torch.equal(order, epoch_order(100, seed=3, epoch=1))
    assert not torch.equal(order, epoch_order(100, seed=4, epoch=2))


def test_epoch_order_leaves_the_global_stream_alone() -> None:
    """The next global draw is what it would have been."""
    before = torch.random.get_rng_state()
    epoch_order(100, seed=0, epoch=0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_batch_is_exactly_the_chosen_images_over_255() -> None:
    """All 256 levels, in the order of the indices, repeated ones too."""
    images = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    batch = ResidentImages(ImageSet("set", "train", images), "cpu").batch(torch.tensor([3, 0, 3]))
    assert batch.dtype == torch.float32
    np.testing.assert_array_equal(batch.numpy(), images[[3, 0, 3]].astype(np.float32) / np.float32(255))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_batch_is_the_same_on_a_gpu(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, resident or gathered from the host."""
    monkeypatch.setattr("hebm.data.batches._DEVICE_SHARE", share)
    image_set = ImageSet("set", "train", np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8))
    indices = torch.tensor([3, 0, 2])
    on_gpu = ResidentImages(image_set, "cuda").batch(indices)
    assert on_gpu.device.type == "cuda"
    assert torch.equal(on_gpu.cpu(), ResidentImages(image_set, "cpu").batch(indices))


def test_images_on_a_cpu_are_not_copied() -> None:
    """The tensor sees what is written to the array afterwards; read-only arrays raise no warning."""
    images = pictures(3, 4, 4)
    resident = ResidentImages(ImageSet("set", "train", images), "cpu")
    images[1] = 255
    assert torch.equal(resident.batch(torch.tensor([1])), torch.ones(1, 1, 4, 4))
    images.flags.writeable = False
    assert len(ResidentImages(ImageSet("set", "train", images), "cpu")) == 3


def test_mapped_images_give_the_same_batches(tmp_path: Path) -> None:
    """A memory-mapped set is gathered from its file."""
    images = pictures(5, 4, 4, 3)
    np.save(tmp_path / "set.npy", images)
    mapped = ImageSet("set", "train", np.load(tmp_path / "set.npy", mmap_mode="r"))
    batch = ResidentImages(mapped, "cpu").batch(torch.tensor([4, 1]))
    assert torch.equal(batch, torch.from_numpy(images)[[4, 1]] / 255)


def test_the_fingerprint_depends_on_content_alone() -> None:
    """Equal pixels, labels and shape give equal hashes, whatever name and memory layout."""
    images, labels = pictures(5, 4, 6, 3), np.arange(5)
    base = ImageSet("a", "train", images, labels)
    strided = np.ascontiguousarray(images.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    assert ImageSet("b", "test", strided, labels.copy()).fingerprint == base.fingerprint
    other = images.copy()
    other[4, 2, 3, 5] ^= 1
    different = [
        ImageSet("a", "train", other, labels),
        ImageSet("a", "train", images, labels[::-1]),
        ImageSet("a", "train", images),
        ImageSet("a", "train", images.reshape(5, 3, 6, 4), labels),
    ]
    assert len({base.fingerprint, *(image_set.fingerprint for image_set in different)}) == 5


def test_a_subset_keeps_images_labels_and_names_together() -> None:
    """In the order of the indices, given as a list, an array or a tensor."""
    images = pictures(4, 4, 4)
    whole = ImageSet("a", "train", images, np.arange(4), ("w", "x", "y", "z"), ("v: gone",))
    for indices in ([2, 0], np.asarray([2, 0]), torch.tensor([2, 0])):
        part = whole.subset(indices)
        np.testing.assert_array_equal(part.images, images[[2, 0]])
        np.testing.assert_array_equal(part.labels, [2, 0])
        assert part.item_names == ("y", "w")
        assert part.skipped == whole.skipped
        assert (part.name, part.split, len(part)) == ("a", "train", 2)


def test_an_image_set_checks_what_it_is_given() -> None:
    """Type, shape, number of labels and names, and that there is an image."""
    with pytest.raises(ImageShapeError, match="float64"):
        ImageSet("a", "train", np.zeros((2, 1, 4, 4)))  # type: ignore[arg-type]
    with pytest.raises(ImageShapeError, match=r"\[2, 4, 4\]"):
        ImageSet("a", "train", np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(DataError, match="2 images came with 3 labels"):
        ImageSet("a", "train", pictures(2, 4, 4), np.arange(3))
    with pytest.raises(DataError, match="holds no image"):
        ImageSet("a", "train", pictures(2, 4, 4)).subset([])


def test_the_list_of_sources_says_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HEBM_DATA is where sets are looked for; digits and `factors` are always there, others when files are."""
    monkeypatch.setenv("HEBM_DATA", str(tmp_path))
    assert data_root() == tmp_path
    (tmp_path / "svhn").mkdir()
    (tmp_path / "svhn" / "test_32x32.mat").touch()
    status = {source.name: source for source in list_sources()}
    assert [name for name, source in status.items() if source.present] == ["digits", "factors", "svhn"]
    assert status["svhn"].splits_present == ("test",)
    assert status["svhn"].folder == tmp_path / "svhn"
    assert status["cifar10"].downloadable
    assert not status["celeba"].downloadable
    assert "img_align_celeba/*.jpg" in status["celeba"].files
    assert status["folder"].folder is None
    monkeypatch.delenv("HEBM_DATA")
    assert data_root() == Path.home() / ".cache" / "hebm"
