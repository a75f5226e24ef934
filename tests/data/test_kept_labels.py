"""`data.labels`: only the images of some labels, in their order, with their labels as they are."""

from pathlib import Path

import numpy as np
import pytest
from data_files import pictures, write_idx

from hebm.build import build_images
from hebm.config import load_config
from hebm.data import ImageSet, keep_labels, load_images
from hebm.errors import ConfigError, DataError

LABELS = np.array([3, 0, 1, 0, 2, 1, 0], np.int64)
IMAGES = ImageSet("mine", "train", pictures(7, 8, 8), LABELS)


def test_the_images_of_the_labels_stay_in_their_order() -> None:
    """Pixels and labels of all others are gone; the order of the labels asked for does not matter."""
    for asked in ((0, 1), (1, 0)):
        kept = keep_labels(IMAGES, asked)
        np.testing.assert_array_equal(kept.labels, [0, 1, 0, 1, 0])
        np.testing.assert_array_equal(kept.images, IMAGES.images[[1, 2, 3, 5, 6]])


def test_the_limit_counts_the_images_that_are_kept() -> None:
    """The first ones; more than there are is no error."""
    np.testing.assert_array_equal(keep_labels(IMAGES, [1, 2], 2).images, IMAGES.images[[2, 4]])
    assert len(keep_labels(IMAGES, [1, 2], 99)) == 3


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, [0, 7], "label 7 has no image in the split 'train' of mine, only 0, 1, 2, 3 have"),
        (IMAGES, [], "no label is kept, so no image is"),
        (ImageSet("bare", "train", pictures(2, 8, 8)), [0], "'bare' has no labels to choose images by"),
    ],
)
def test_what_cannot_be_kept_is_refused(images: ImageSet, labels: list[int], message: str) -> None:
    """A label that is not there, none at all, a set without labels."""
    with pytest.raises(DataError, match=message):
        keep_labels(images, labels)


def test_a_split_is_chosen_before_labels_are(tmp_path: Path) -> None:
    """So that no image changes sides: each side's labels are chosen within the split that there is without them."""
    labels = np.random.RandomState(1).randint(0, 4, 80).astype(np.uint8)
    write_idx(tmp_path / "mnist", "train", pictures(60, 28, 28), labels[:60])
    write_idx(tmp_path / "mnist", "test", pictures(20, 28, 28), labels[60:])
    for split, there in (("train", labels[:60]), ("test", labels[60:])):
        whole = load_images("mnist", split, root=tmp_path, download=False)
        kept = keep_labels(whole, [1, 3], limit=5)
        chosen = np.flatnonzero((there == 1) | (there == 3))[:5]
        np.testing.assert_array_equal(kept.images, whole.images[chosen])
        np.testing.assert_array_equal(kept.labels, there[chosen])


def test_held_out_items_do_not_depend_on_the_labels_kept(tmp_path: Path) -> None:
    """A set without a test split: share and seed choose among all items, then labels are chosen."""
    np.savez(tmp_path / "mine.npz", images=pictures(40, 8, 8), labels=np.arange(40) % 4)
    for split in ("train", "test"):
        asked = {"path": tmp_path / "mine.npz", "holdout": 0.3, "seed": 5}
        whole = load_images("array", split, **asked)
        config = load_config(
            "digits",
            [
                "data.name=array",
                f"data.path={asked['path']}",
                "data.holdout=0.3",
                "seed=5",
                "data.labels=[2]",
            ],
        )
        kept = build_images(config, split)
        np.testing.assert_array_equal(kept.images, whole.images[whole.labels == 2])


def test_a_configuration_with_labels_uses_no_others() -> None:
    """`data.labels` reaches both splits; null means all; scikit-learn's digits need no file."""
    config = load_config("digits", ["data.labels=[0, 1, 2]", "data.limit=50"])
    for split in ("train", "test"):
        images = build_images(config, split)
        assert len(images) == 50
        assert images.labels is not None
        assert set(images.labels) == {0, 1, 2}
    assert len(build_images(load_config("digits", ["data.labels=null"]), "train")) == 1437


def test_labels_beside_held_out_labels_or_an_empty_list_are_refused() -> None:
    """Before any image is read."""
    with pytest.raises(ConfigError, match="set one of them"):
        load_config("digits", ["data.labels=[0, 1]", "data.held_out_labels=[4]"])
    with pytest.raises(ConfigError, match=r"data\.labels"):
        load_config("digits", ["data.labels=[]"])
