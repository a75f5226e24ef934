"""A set of 8-bit images x in {0, ..., 255}^{N x C x H x W}, in memory or mapped from a file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hebm.errors import DataError, ImageShapeError

__all__ = ["ImageSet"]

_CHUNK_BYTES = 2**24


@dataclass(frozen=True)
class ImageSet:
    """Images with what is known about them.

    Args:
        name: The set's name, e.g. ``"fashion_mnist"``.
        split: The split's name, e.g. ``"train"``.
        images: uint8 [N, C, H, W], in memory or an ``np.memmap``.
        labels: int64 [N], or None.
        item_names: File names where items are files, or None.
        skipped: ``"file: reason"`` of the items left out under ``on_error="skip"``.
        factors: What generated each image, int64 [N, F], values from 0 up; None where that is not known.
        factor_names: Names of the F factors.

    Raises:
        ImageShapeError: If the images are not uint8 [N, C, H, W].
        DataError: If there are no images, or not one label, one name and one row of factors per image.
    """

    name: str
    split: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None
    item_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    factors: NDArray[np.int64] | None = None
    factor_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise ImageShapeError(
                f"{self.name}: uint8 images of shape [N, C, H, W] are expected, but these are "
                f"{self.images.dtype} of shape {list(self.images.shape)}; convert them first."
            )
        if len(self.images) == 0:
            raise DataError(f"{self.name}: the split '{self.split}' holds no image; choose more items.")
        of_items = {"labels": self.labels, "item names": self.item_names, "rows of factors": self.factors}
        for what, values in of_items.items():
            if values is not None and len(values) != len(self.images):
                raise DataError(
                    f"{self.name}: {len(self.images)} images came with {len(values)} {what}; give each one."
                )
        n_factors = 0 if self.factors is None else self.factors.shape[1]
        if n_factors != len(self.factor_names):
            raise DataError(
                f"{self.name}: {n_factors} factors came with {len(self.factor_names)} names; name each one."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    def subset(self, indices: Sequence[int] | NDArray[np.int64] | Tensor) -> "ImageSet":
        """Select items, in the order of the indices; the pixels are copied."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ImageSet(
            name=self.name,
            split=self.split,
            images=self.images[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            item_names=None if self.item_names is None else tuple(self.item_names[i] for i in chosen),
            skipped=self.skipped,
            factors=None if self.factors is None else self.factors[chosen],
            factor_names=self.factor_names,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over shape, pixels in [N, C, H, W] order and labels; names and factors do not enter."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        rows = max(1, _CHUNK_BYTES // max(1, self.images[0].nbytes))
        for start in range(0, len(self), rows):
            digest.update(np.ascontiguousarray(self.images[start : start + rows]).data)
        if self.labels is not None:
            digest.update(np.ascontiguousarray(self.labels, dtype="<i8").data)
        return digest.hexdigest()
