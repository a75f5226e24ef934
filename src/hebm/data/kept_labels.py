"""Only the images of some labels, such as the digits 0, 1 and 2; their order and their labels stay as they are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hebm.data.image_set import ImageSet
from hebm.data.load import load_images
from hebm.data.reading import OnError
from hebm.errors import DataError

__all__ = ["keep_labels", "load_with_labels"]


def keep_labels(images: ImageSet, labels: Sequence[int], limit: int | None = None) -> ImageSet:
    """Leave out the images of all other labels.

    Args:
        images: A set with labels.
        labels: The labels to keep.
        limit: At most so many of the images kept, the first ones.

    Raises:
        DataError: If no label is named, the set has none, or one has no image in it.
    """
    if images.labels is None:
        raise DataError(
            f"the set '{images.name}' has no labels to choose images by; set data.labels=null, or choose a set that "
            "has."
        )
    if not labels:
        raise DataError("no label is kept, so no image is; name some, such as `--set data.labels=[0,1,2]`.")
    if missing := [label for label in labels if label not in images.labels]:
        there = ", ".join(map(str, np.unique(images.labels)))
        raise DataError(
            f"the label {missing[0]} has no image in the split '{images.split}' of {images.name}, only {there} have; "
            "correct data.labels."
        )
    return images.subset(np.flatnonzero(np.isin(images.labels, labels))[:limit])


def load_with_labels(
    name: str,
    split: str,
    labels: Sequence[int],
    *,
    path: Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    on_error: OnError = "refuse",
    limit: int | None = None,
    holdout: float = 0.1,
    seed: int = 0,
    root: Path | None = None,
    download: bool = True,
) -> ImageSet:
    """Load the images of one split that have one of some labels.

    Args:
        name: A set with labels.
        split: As in :func:`~hebm.data.load_images`, like everything below but the limit.
        labels: The labels to keep.
        path: Its file or folder.
        size: Width and height.
        channels: 1 or 3.
        on_error: What to do with an image file that cannot be read.
        limit: At most so many of the images kept, the first ones.
        holdout: Share of the items in ``test`` where a set has no test split of its own, whatever their labels.
        seed: Chooses the held-out items.
        root: Folder with one folder per set.
        download: Whether missing files may be fetched.

    Raises:
        DataError: As in :func:`keep_labels`, or if the images cannot be read.
        MissingDataError: If files are missing.
    """
    images = load_images(
        name,
        split,
        path=path,
        size=size,
        channels=channels,
        on_error=on_error,
        holdout=holdout,
        seed=seed,
        root=root,
        download=download,
    )
    return keep_labels(images, labels, limit)
