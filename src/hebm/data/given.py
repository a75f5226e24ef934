"""Images that a user hands over, brought to a model's shape by the transform its training images went through."""

from pathlib import Path

import numpy as np

from hebm.data.arrays import read_array
from hebm.data.cache import PixelCache
from hebm.data.decode import EncodedImage, decode_images
from hebm.data.folder import CELEBA_CROP, read_folder
from hebm.data.image_set import ImageSet
from hebm.data.pixels import Transform, conform
from hebm.data.reading import Decoded, OnError, ReadOptions
from hebm.data.splits import Selection
from hebm.errors import DataError, MissingDataError

__all__ = ["read_given_images", "transform_of"]

_SHOWN = 5
_NO_CACHE = PixelCache(None, "", 0)


def transform_of(name: str, *, size: int, channels: int) -> Transform:
    """What the images of a set go through before they are trained on."""
    return Transform(size, channels, CELEBA_CROP if name == "celeba" else None)


def read_given_images(path: Path, transform: Transform, *, on_error: OnError = "refuse") -> ImageSet:
    """Read a folder of images, one image file, or an array.

    Args:
        path: A folder (sub-folders included), an image file, or a ``.npy`` or ``.npz`` file.
        transform: Size and channels wanted, both set.
        on_error: ``"refuse"`` raises if image files cannot be read, naming them; ``"skip"`` leaves them out and lists
            them in ``skipped``.

    Returns:
        The images; ``item_names`` are paths below the folder, or ``array.npz[7]``.

    Raises:
        MissingDataError: If there is no such path.
        DataError: If it holds no image, or an image cannot be read and ``on_error`` is ``"refuse"``.
        ImageShapeError: If an array cannot be images.
    """
    if not path.exists():
        raise MissingDataError(
            f"{path} does not exist; give a folder of images, an image file, or a .npy or .npz file."
        )
    decoded = _read(path, transform)
    if decoded.skipped and on_error == "refuse":
        more = "" if len(decoded.skipped) <= _SHOWN else f"; and {len(decoded.skipped) - _SHOWN} more"
        raise DataError(
            f"{len(decoded.skipped)} images in {path} cannot be read: {'; '.join(decoded.skipped[:_SHOWN])}{more}; "
            "repair or remove them, or leave them out with --on-error skip."
        )
    images = conform(decoded.images, transform, where=str(path))
    names = decoded.item_names or tuple(f"{path.name}[{i}]" for i in range(len(images)))
    return ImageSet(path.name, "all", images, None, names, decoded.skipped)


def _read(path: Path, transform: Transform) -> Decoded:
    options = ReadOptions(Selection("all"), transform, "skip")
    if path.is_dir():
        return read_folder((path.absolute(),), options)
    if path.suffix in (".npy", ".npz"):
        return read_array((path,), options)
    item = EncodedImage(path.name, path)
    decoded = decode_images(lambda: [item], 1, transform=transform, on_error="skip", cache=_NO_CACHE)
    return Decoded(np.asarray(decoded.images), None, (path.name,))
