"""Only the images of some labels, such as the digits 0, 1 and 2; their order and their labels stay as they are."""

from collections.abc import Sequence

import numpy as np

from hebm.data.image_set import ImageSet
from hebm.errors import DataError

__all__ = ["keep_labels"]


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
