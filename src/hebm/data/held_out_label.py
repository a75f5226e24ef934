"""Anomaly protocol: one label is held out of training, and all its images are the anomalies.

The official splits are pooled; the images of the held-out label c leave the pool, and the M normal ones that stay are
put into the order of a permutation with a fixed seed. Of these

* ``train`` is the first ⌊0.8 M⌋,
* ``test`` the rest,
* ``anomalies`` all images of c.

Every call seeds the permutation afresh: with a generator that lives on between the calls for training and for testing,
as in two published implementations, about 80 % of the normal test images have been seen in training.

Several labels are held out one within the other: of (4, 1) the 4 is held out of the pool and the 1 of what (4,) calls
``train``. So a choice can be made on pseudo-anomalies without a look at the real ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hebm.data.image_set import ImageSet
from hebm.data.load import load_images
from hebm.data.reading import OnError
from hebm.data.sources import find_source
from hebm.data.splits import HELD_OUT_SPLITS
from hebm.errors import DataError

__all__ = ["PROTOCOL_SPLITS", "ProtocolSplit", "load_with_held_out_labels", "split_by_label"]

PROTOCOL_SPLITS = ("train", "test", "anomalies")
_TRAIN_SHARE = 0.8
_SEED = 42


@dataclass(frozen=True)
class ProtocolSplit:
    """Positions in the pool, int64 each, disjoint: normal images to train on, normal ones to test on, anomalies."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    anomalies: NDArray[np.int64]


def split_by_label(labels: NDArray[np.int64], held_out: Sequence[int]) -> ProtocolSplit:
    """Split a pool by its labels.

    Args:
        labels: One per image of the pool, [N].
        held_out: The labels to hold out, each within the training part of those before it.

    Returns:
        The positions; a function of the arguments alone.

    Raises:
        DataError: If no label is held out, or one has no image, or too few images are left.

    Source: split of KUMAR et al. (2019), arXiv:1901.08508, and ZENATI et al. (2018), arXiv:1802.06222, as seen in their
    released code, with the seeding of YU et al. (2023), arXiv:2310.03218.
    """
    if not held_out:
        raise DataError("no label is held out; name one, such as `--set data.held_out_labels=[4]`.")
    pool = np.arange(len(labels), dtype=np.int64)
    for label in held_out:
        split = _split_once(pool, labels, label)
        pool = split.train
    return split


def _split_once(pool: NDArray[np.int64], labels: NDArray[np.int64], label: int) -> ProtocolSplit:
    is_anomaly = labels[pool] == label
    normal, anomalies = pool[~is_anomaly], pool[is_anomaly]
    n_train = int(_TRAIN_SHARE * len(normal))
    if len(anomalies) == 0 or n_train == 0:
        there = ", ".join(map(str, np.unique(labels[pool])))
        raise DataError(
            f"the label {label} cannot be held out of {len(pool)} images with the labels {there}; correct "
            "data.held_out_labels."
        )
    order = np.random.RandomState(_SEED).permutation(len(normal))  # the published one; NumPy keeps its stream
    return ProtocolSplit(normal[order[:n_train]], normal[order[n_train:]], anomalies)


def load_with_held_out_labels(
    name: str,
    split: str,
    held_out: Sequence[int],
    *,
    path: Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    on_error: OnError = "refuse",
    limit: int | None = None,
    root: Path | None = None,
    download: bool = True,
) -> ImageSet:
    """Load one split of the anomaly protocol.

    Args:
        name: A set with labels.
        split: One of ``PROTOCOL_SPLITS``.
        held_out: As in :func:`split_by_label`.
        path: As in :func:`~hebm.data.load_images`, like everything below.
        size: Width and height.
        channels: 1 or 3.
        on_error: What to do with an image file that cannot be read.
        limit: At most so many items, the first ones of the split.
        root: Folder with one folder per set.
        download: Whether missing files may be fetched.

    Returns:
        The images with their labels.

    Raises:
        DataError: If the set has no labels, or another split is asked for.
        MissingDataError: If files are missing.
    """
    if split not in PROTOCOL_SPLITS:
        raise DataError(
            f"with held-out labels, the set '{name}' has the splits {', '.join(PROTOCOL_SPLITS)}, not '{split}'; "
            "correct data.split, or set data.held_out_labels=[]."
        )
    official = "all" if find_source(name).splits == HELD_OUT_SPLITS else "train test"
    parts = [
        load_images(
            name,
            part,
            path=path,
            size=size,
            channels=channels,
            on_error=on_error,
            root=root,
            download=download,
        )
        for part in official.split()
    ]
    return _pooled(parts, split, held_out, limit)


def _pooled(parts: Sequence[ImageSet], split: str, held_out: Sequence[int], limit: int | None) -> ImageSet:
    labelled = [part.labels for part in parts if part.labels is not None]
    name = parts[0].name
    if len(labelled) < len(parts):
        raise DataError(f"the set '{name}' has no labels, so none can be held out; choose a set that has.")
    labels = np.concatenate(labelled)
    chosen: NDArray[np.int64] = getattr(split_by_label(labels, held_out), split)[:limit]
    images = np.concatenate([part.images for part in parts])[chosen]
    return ImageSet(name, split, images, labels[chosen])
