"""The anomaly protocol's split: disjoint, seeded afresh, with the published counts."""

import os
from pathlib import Path

import numpy as np
import pytest
from data_files import pictures, write_idx

from hebm.build import build_images
from hebm.config import load_config
from hebm.data import data_root, load_with_held_out_labels
from hebm.data.held_out_label import PROTOCOL_SPLITS, split_by_label
from hebm.errors import DataError

LABELS = np.random.RandomState(0).randint(0, 10, 1000).astype(np.int64)


def test_train_test_and_anomalies_are_disjoint_and_all_there() -> None:
    """Every image is in exactly one part."""
    split = split_by_label(LABELS, [3])
    parts = np.concatenate([split.train, split.test, split.anomalies])
    assert np.array_equal(np.sort(parts), np.arange(1000))


def test_anomalies_are_all_images_of_the_label_and_only_they() -> None:
    """Neither part of the normal images has the label."""
    split = split_by_label(LABELS, [3])
    assert np.array_equal(split.anomalies, np.flatnonzero(LABELS == 3))
    assert not (LABELS[np.concatenate([split.train, split.test])] == 3).any()


def test_training_has_the_first_four_fifths_of_the_published_permutation() -> None:
    """floor(0.8 M) normal images, in the order of RandomState(42), seeded for this call."""
    normal = np.flatnonzero(LABELS != 3)
    order = np.random.RandomState(42).permutation(len(normal))
    n_train = int(0.8 * len(normal))
    split = split_by_label(LABELS, [3])
    assert np.array_equal(split.train, normal[order[:n_train]])
    assert np.array_equal(split.test, normal[order[n_train:]])
    assert (len(split.train), len(split.test)) == (n_train, len(normal) - n_train)


def test_the_training_part_is_rounded_down() -> None:
    """0.8 of 7 is 5, as in the published code."""
    split = split_by_label(np.array([0] * 7 + [1]), [1])
    assert (len(split.train), len(split.test)) == (5, 2)


def test_a_second_call_gives_the_same_parts() -> None:
    """No random stream lives on: the leak of two published implementations."""
    first, second = split_by_label(LABELS, [3]), split_by_label(LABELS, [3])
    for part in PROTOCOL_SPLITS:
        assert np.array_equal(getattr(first, part), getattr(second, part))
    assert not set(first.train) & set(second.test)


def test_the_global_random_stream_is_left_alone() -> None:
    """NumPy's own stream does not move."""
    before = str(np.random.get_state())  # noqa: NPY002 - the very stream that must not move
    split_by_label(LABELS, [3])
    assert str(np.random.get_state()) == before  # noqa: NPY002


def test_a_second_label_is_held_out_of_the_training_part_of_the_first() -> None:
    """Pseudo-anomalies see neither the real anomalies nor the normal test images."""
    outer, inner = split_by_label(LABELS, [3]), split_by_label(LABELS, [3, 7])
    used = np.concatenate([inner.train, inner.test, inner.anomalies])
    assert np.array_equal(np.sort(used), np.sort(outer.train))
    assert (LABELS[inner.anomalies] == 7).all()
    assert not set(used) & set(outer.anomalies)
    assert not set(used) & set(outer.test)


@pytest.mark.parametrize(
    ("labels", "held_out", "message"),
    [
        (LABELS, [], "no label is held out"),
        (LABELS, [11], "label 11 cannot be held out .* labels 0, 1, 2"),
        (LABELS, [3, 3], "label 3 cannot be held out"),
        (np.zeros(5, dtype=np.int64), [0], "label 0 cannot be held out"),
    ],
)
def test_bad_labels_are_refused(labels: np.ndarray, held_out: list[int], message: str) -> None:
    """No label, an unknown one, the same twice, the only one."""
    with pytest.raises(DataError, match=message):
        split_by_label(labels, held_out)


def write_small_set(root: Path) -> np.ndarray:
    """A labelled set of 60 + 20 pictures; the training images first in the pool."""
    labels = np.random.RandomState(1).randint(0, 4, 80).astype(np.uint8)
    images = pictures(80, 28, 28)
    write_idx(root / "mnist", "train", images[:60], labels[:60])
    write_idx(root / "mnist", "test", images[60:], labels[60:])
    return labels.astype(np.int64)


def test_official_splits_are_pooled(tmp_path: Path) -> None:
    """Pixels and labels of all parts are those of the pool at the split's positions; limit takes the first."""
    labels = write_small_set(tmp_path)
    images, split = pictures(80, 28, 28), split_by_label(labels, [2])
    for part in PROTOCOL_SPLITS:
        chosen = getattr(split, part)
        loaded = load_with_held_out_labels("mnist", part, [2], root=tmp_path, download=False)
        np.testing.assert_array_equal(loaded.images, images[chosen])
        np.testing.assert_array_equal(loaded.labels, labels[chosen])
        few = load_with_held_out_labels("mnist", part, [2], root=tmp_path, download=False, limit=3)
        np.testing.assert_array_equal(few.images, images[chosen[:3]])


def test_another_split_or_a_set_without_labels_is_refused(tmp_path: Path) -> None:
    """The message names the splits of the protocol, or the missing labels."""
    with pytest.raises(DataError, match="splits train, test, anomalies, not 'extra'"):
        load_with_held_out_labels("svhn", "extra", [2], root=tmp_path, download=False)
    np.save(tmp_path / "images.npy", pictures(9, 8, 8))
    with pytest.raises(DataError, match="'array' has no labels"):
        load_with_held_out_labels("array", "train", [2], path=tmp_path / "images.npy")


def test_a_configuration_with_a_held_out_label_trains_without_it() -> None:
    """`data.held_out_labels` reaches the images; scikit-learn's digits need no file."""
    config = load_config("digits", ["data.held_out_labels=[4]"])
    parts = {name: build_images(config, name) for name in PROTOCOL_SPLITS}
    assert sum(map(len, parts.values())) == 1797
    for name, images in parts.items():
        assert images.labels is not None
        assert (images.labels == 4).all() if name == "anomalies" else (images.labels != 4).all(), name


@pytest.mark.skipif(
    "HEBM_DATA" not in os.environ or not (data_root() / "mnist").is_dir(), reason="needs MNIST"
)
@pytest.mark.parametrize(
    ("digit", "n_anomalous", "n_normal", "base_rate"),
    [(1, 7877, 12425, 0.388), (4, 6824, 12636, 0.351), (5, 6313, 12738, 0.331), (7, 7293, 12542, 0.368),
     (9, 6958, 12609, 0.356)],
)  # fmt: skip
def test_mnist_has_the_published_counts(
    digit: int, n_anomalous: int, n_normal: int, base_rate: float
) -> None:
    """The numbers of positives and negatives that the published split has."""
    config = load_config("mnist", [f"data.held_out_labels=[{digit}]", "data.download=false"])
    found = len(build_images(config, "anomalies")), len(build_images(config, "test"))
    assert found == (n_anomalous, n_normal)
    assert found[0] / sum(found) == pytest.approx(base_rate, abs=5e-4)
