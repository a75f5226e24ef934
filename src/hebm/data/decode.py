"""Decode many encoded images (files or byte strings) straight into one array."""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from hebm.data.cache import CachedPixels, PixelCache
from hebm.data.pixels import Transform, check_square, is_grey, upright_size
from hebm.data.reading import OnError
from hebm.errors import DataError, HebmError, ImageShapeError

__all__ = ["EncodedImage", "decode_images"]

_CHUNK_ITEMS = 256
_SIZES_NAMED = 4


@dataclass(frozen=True)
class EncodedImage:
    """An image file, or the content of one, and the name it is known by."""

    name: str
    content: Path | bytes

    def __str__(self) -> str:
        return str(self.content) if isinstance(self.content, Path) else self.name

    def open(self) -> Image.Image:
        """Read the header; the pixels are decoded when asked for."""
        if isinstance(self.content, Path):
            return Image.open(self.content)
        return Image.open(io.BytesIO(self.content), formats=_likely_formats(self.content))


ItemSource = Callable[[], Iterable[EncodedImage]]
"""Starts a pass over the items; called a second time if the headers have to be read first."""


def decode_images(
    items: ItemSource,
    n_items: int,
    *,
    transform: Transform,
    on_error: OnError,
    cache: PixelCache,
    image_shape: tuple[int, int, int] | None = None,
    threads: bool = False,
) -> CachedPixels:
    """Decode N images into one array, in order.

    Args:
        items: Starts a pass over the N encoded images.
        n_items: N.
        transform: Size and channels wanted.
        on_error: ``"refuse"`` raises on an image that cannot be read, ``"skip"`` leaves it out.
        cache: Where the pixels go.
        image_shape: The shape [C, H, W] every image is known to have; found out from the headers if None.
        threads: Decode on several threads: of use for photographs, a burden for thumbnails.

    Returns:
        The images, the indices of the items they come from, and what was left out.

    Raises:
        DataError: If an image cannot be read and ``on_error`` is ``"refuse"``, or none can be read.
        ImageShapeError: If sizes are mixed, or not square, and no size is asked for.
    """
    known = cache.load()
    if known is not None:
        return known
    shape = _plan(items, transform, on_error, image_shape)
    transform = replace(transform, channels=shape[0])
    kept: list[int] = []
    skipped: list[str] = []
    with cache.allocate((n_items, *shape)) as images:
        for i, (item, pixels) in enumerate(_decode_all(items(), transform, shape, threads)):
            if isinstance(pixels, str):
                skipped.append(_refuse_or_skip(item, pixels, on_error))
            else:
                images[len(kept)] = pixels
                kept.append(i)
        if not kept:
            raise DataError(f"none of the {n_items} images can be read; the first: {skipped[0]}.")
        return cache.store(images, np.asarray(kept, dtype=np.int64), tuple(skipped))


def _plan(
    items: ItemSource, transform: Transform, on_error: OnError, known: tuple[int, int, int] | None
) -> tuple[int, int, int]:
    """Settle the shape [C, H, W] of every image before the first is decoded."""
    if known is not None:
        return transform.channels or known[0], transform.size or known[1], transform.size or known[2]
    if transform.size is not None and transform.channels is not None:
        return transform.channels, transform.size, transform.size
    sizes, all_grey = _scan_headers(items(), on_error)
    channels = transform.channels or (1 if all_grey else 3)
    if transform.size is not None:
        return channels, transform.size, transform.size
    if len(sizes) > 1:
        examples = [f"{item} is {h}x{w}" for (h, w), item in islice(sizes.items(), _SIZES_NAMED)]
        raise ImageShapeError(
            f"images of one size are expected, but there are {len(sizes)} sizes (height x width): "
            f"{'; '.join(examples)}; choose one with `--set data.size=64`."
        )
    (height, width), item = next(iter(sizes.items()))
    check_square(height, width, where=str(item), fix="crop and resize with `--set data.size=64`")
    return channels, height, width


def _scan_headers(
    items: Iterable[EncodedImage], on_error: OnError
) -> tuple[dict[tuple[int, int], EncodedImage], bool]:
    """Find one item of every size [H, W], and whether all are grey, without decoding a pixel."""
    sizes: dict[tuple[int, int], EncodedImage] = {}
    all_grey = True
    reason = ""
    for item in items:
        try:
            with item.open() as image:
                sizes.setdefault(upright_size(image), item)
                all_grey = all_grey and is_grey(image)
        except Exception as error:  # Pillow's format plugins raise almost anything on a damaged file
            reason = _refuse_or_skip(item, _reason(item, error), on_error)
    if not sizes:
        raise DataError(f"none of the images can be read; the last: {reason}.")
    return sizes, all_grey


def _decode_all(
    items: Iterable[EncodedImage], transform: Transform, shape: tuple[int, int, int], threads: bool
) -> Iterator[tuple[EncodedImage, NDArray[np.uint8] | str]]:
    def decode(item: EncodedImage) -> NDArray[np.uint8] | str:
        return _decode(item, transform, shape)

    if not threads:
        yield from ((item, decode(item)) for item in items)
        return
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        remaining = iter(items)
        while chunk := list(islice(remaining, _CHUNK_ITEMS)):
            yield from zip(chunk, pool.map(decode, chunk), strict=True)


def _decode(item: EncodedImage, transform: Transform, shape: tuple[int, int, int]) -> NDArray[np.uint8] | str:
    """Give an item's pixels, or the reason why there are none."""
    try:
        with item.open() as image:
            pixels = transform(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's format plugins raise almost anything on a damaged file
        return _reason(item, error)
    return pixels if pixels.shape == shape else f"its shape is {list(pixels.shape)}, not {list(shape)}"


def _likely_formats(content: bytes) -> tuple[str, ...] | None:
    """Guess the format from the first bytes: to ask every plugin takes longer than to decode a thumbnail."""
    for start, name in ((b"\x89PNG", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"RIFF", "WEBP")):
        if content.startswith(start):
            return (name,)
    return None


def _refuse_or_skip(item: EncodedImage, reason: str, on_error: OnError) -> str:
    if on_error == "refuse":
        raise DataError(
            f"{item} cannot be read: {reason}; repair or remove it, or leave such images out with "
            "`--set data.on_error=skip`."
        )
    return f"{item.name}: {reason}"


def _reason(item: EncodedImage, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    n_bytes = item.content.stat().st_size if isinstance(item.content, Path) else len(item.content)
    if n_bytes == 0:
        return "it is empty"
    if isinstance(error, UnidentifiedImageError):
        return "it is not an image of a known format"
    return str(error) if isinstance(error, OSError | HebmError) else f"{type(error).__name__}: {error}"
