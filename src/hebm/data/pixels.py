r"""From any Pillow image to uint8 [C, H, W].

In this order: the EXIF orientation is applied; 16-bit greyscale v becomes round(v / 257), scaled and not
clipped; transparency is laid over white; the channels are converted (luma for grey); the centre square is
cropped and resized with Pillow's antialiased bicubic filter. Of an animation or a multi-page file the first
picture counts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from hebm.errors import ImageShapeError

__all__ = ["Transform", "check_square", "conform", "is_grey", "upright_size"]

_DEEP_GREY_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_GREY_MODES = _DEEP_GREY_MODES | {"1", "L", "LA", "La"}


@dataclass(frozen=True)
class Transform:
    """Size and channels of the images wanted.

    Args:
        size: Side of the square that the centre of each image is resized to; unchanged if None.
        channels: 1 (grey) or 3 (RGB); as the image is if None.
        crop: Side of a centre crop made first; the largest square if None.
    """

    size: int | None = None
    channels: int | None = None
    crop: int | None = None

    def __call__(self, image: Image.Image) -> NDArray[np.uint8]:
        """Convert one image to uint8 [C, H, W]."""
        channels = self.channels or (1 if is_grey(image) else 3)
        flat = _flatten(_to_eight_bits(ImageOps.exif_transpose(image)))
        mode = "L" if channels == 1 else "RGB"
        flat = flat if flat.mode == mode else flat.convert(mode)
        if self.size is not None:
            flat = _resize(flat, self.size, self.crop)
        pixels = np.asarray(flat)
        return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def is_grey(image: Image.Image) -> bool:
    """Say whether an image has one channel, transparency aside."""
    return image.mode in _GREY_MODES


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width after the EXIF orientation is applied, from the header alone."""
    exif = Image.Exif()
    if image.format == "PNG":  # whose getexif() may decode the pixels
        exif.load(image.info.get("exif", b""))
    else:
        exif = image.getexif()
    width, height = image.size
    return (width, height) if exif.get(ExifTags.Base.Orientation) in {5, 6, 7, 8} else (height, width)


def check_square(height: int, width: int, *, where: str, fix: str) -> None:
    """Refuse images that are not square.

    Raises:
        ImageShapeError: With the given fix.
    """
    if height != width:
        raise ImageShapeError(
            f"{where}: square images are expected, but these are {height}x{width} (height x width); {fix}."
        )


def conform(images: NDArray[np.uint8], transform: Transform, *, where: str) -> NDArray[np.uint8]:
    """Bring an array of images [N, C, H, W] to the size and channels wanted.

    Raises:
        ImageShapeError: If the images are not square.
    """
    n_items, channels, height, width = images.shape
    check_square(height, width, where=where, fix="crop or pad them to a square first")
    shape = (transform.channels or channels, transform.size or height, transform.size or width)
    if shape == (channels, height, width):
        return images
    out = np.empty((n_items, *shape), dtype=np.uint8)
    for i, pixels in enumerate(images):
        array = pixels[0] if channels == 1 else pixels.transpose(1, 2, 0)
        out[i] = Transform(shape[1], shape[0])(Image.fromarray(np.ascontiguousarray(array)))
    return out


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode not in _DEEP_GREY_MODES:
        return image
    values = np.asarray(image).astype(np.float64)
    high = 1.0 if image.mode == "F" else 65535.0
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= high):
        raise ImageShapeError(f"grey values from 0 to {high:g} are expected in a {image.mode} image.")
    return Image.fromarray(np.rint(values * (255.0 / high)).astype(np.uint8))


def _flatten(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    over = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")


def _resize(image: Image.Image, size: int, crop: int | None) -> Image.Image:
    side = min(crop or max(image.size), *image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.BICUBIC)
