"""Images in rows and columns, enlarged by whole numbers so that every pixel stays a square."""

import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from hebm.errors import ImageShapeError
from hebm.files import write_atomically

__all__ = ["image_grid", "interleave_rows", "save_png"]

CELL = 64
"""Largest side of a cell in pixels, where the images are smaller than that."""
GAP_TONE = 0.5
RANGE_TOLERANCE = 1e-3


def image_grid(images: Tensor, *, n_columns: int, scale: int | None = None, gap: int = 2) -> Image.Image:
    """Lay images out row by row; the gap and the empty cells of the last row are mid-grey.

    Args:
        images: [N, C, H, W] in [0, 1], greyscale (C = 1) or colour (C = 3).
        n_columns: Images per row.
        scale: Pixels per pixel; by default the largest that keeps a cell within 64 pixels.
        gap: Pixels between neighbouring cells; there is no outer border.

    Returns:
        An 8-bit picture; cell (row, column) starts at row (H scale + gap), column (W scale + gap).

    Raises:
        ImageShapeError: If the images have another shape or range, or there are none.
    """
    _check(images)
    if n_columns < 1 or gap < 0 or (scale is not None and scale < 1):
        given = f"{n_columns}, {scale} and {gap}"
        raise ImageShapeError(f"n_columns and scale must be at least 1, gap at least 0; they are {given}.")
    n, channels, height, width = images.shape
    scale = scale or max(1, CELL // max(height, width))
    height, width, n_rows = height * scale, width * scale, -(-n // n_columns)
    size = n_rows * (height + gap) - gap, n_columns * (width + gap) - gap
    canvas = torch.full((channels, *size), GAP_TONE)
    pixels = images.detach().float().cpu().clamp(0, 1)
    enlarged = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    for i, image in enumerate(enlarged):
        top, left = i // n_columns * (height + gap), i % n_columns * (width + gap)
        canvas[:, top : top + height, left : left + width] = image
    levels = (canvas * 255).round().to(torch.uint8)
    return Image.fromarray((levels[0] if channels == 1 else levels.permute(1, 2, 0).contiguous()).numpy())


def interleave_rows(*sets: Tensor, n_columns: int) -> Tensor:
    """Order images so that a grid shows a row of each set in turn: originals above reconstructions.

    Args:
        sets: Each [N, C, H, W]; item i of every set belongs together.
        n_columns: Images per row of the grid.

    Returns:
        [len(sets) M, C, H, W], where M is N rounded up to whole rows; the items added are mid-grey.

    Raises:
        ImageShapeError: If the sets differ in shape.
    """
    if not sets or any(images.shape != sets[0].shape for images in sets):
        shapes = [tuple(images.shape) for images in sets]
        raise ImageShapeError(f"all sets must have the same shape; got {shapes}.")
    stacked = torch.stack(sets, 1)  # [N, sets, C, H, W]
    missing = -len(stacked) % n_columns
    filler = torch.full_like(stacked[:1], GAP_TONE).expand(missing, *stacked.shape[1:])
    rows = torch.cat([stacked, filler]).reshape(-1, n_columns, *stacked.shape[1:])
    return rows.transpose(1, 2).flatten(0, 2)


def save_png(image: Image.Image, path: str | Path) -> None:
    """Write a picture as PNG, whole or not at all; folders are made as needed."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    write_atomically(Path(path), buffer.getvalue())


def _check(images: Tensor) -> None:
    if images.ndim != 4 or len(images) == 0 or images.shape[1] not in (1, 3):
        raise ImageShapeError(f"images must be [N, 1 or 3, H, W] with N > 0; got {tuple(images.shape)}.")
    low, high = images.min().item(), images.max().item()
    if not (low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE):  # written so that NaN fails too
        raise ImageShapeError(f"images must be in [0, 1]; got values from {low:g} to {high:g}.")
