r"""A generated set whose factors of variation are known: one figure on a black ground, at any size.

Eight factors on four levels, what a hierarchy is meant to tell apart:

=========  ======================================================  ============================
level      factors (number of values)                              what they are
=========  ======================================================  ============================
identity   shape (6)                                               the label
pose       size (4), angle (5), x (4), y (4)                       turned by at most 32 degrees
colour     colour (6)                                              brightness differs as well
texture    stroke (4), texture (4)                                 rim, and pattern inside it
=========  ======================================================  ============================

Every one of the 184,320 combinations is one image; a fixed shuffle puts 20,000 of them into ``train`` and 4,000
others into ``test``, so no image is in both. No shape has a symmetry that an angle could hide behind. A pixel is
the share of it that the figure covers, from the signed distance to the figure's edge.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hebm.data.reading import Decoded, ReadOptions
from hebm.errors import ImageShapeError
from hebm.randomness import named_generator

__all__ = ["FACTORS", "N_ITEMS", "Factor", "factor_values", "read_factors", "render"]

Values = NDArray[np.floating[Any]]
Points = tuple[Values, Values]


class Factor(NamedTuple):
    """A factor of variation: its name, its number of values, and the level of abstraction it belongs to."""

    name: str
    n_values: int
    level: str


FACTORS = (
    Factor("shape", 6, "identity"),
    Factor("size", 4, "pose"),
    Factor("angle", 5, "pose"),
    Factor("x", 4, "pose"),
    Factor("y", 4, "pose"),
    Factor("colour", 6, "colour"),
    Factor("stroke", 4, "texture"),
    Factor("texture", 4, "texture"),
)
N_ITEMS = {"train": 20_000, "test": 4_000}
_SIZES = (8, 128)
_DEFAULT_SIZE = 32
_CHUNK_PIXELS = 2**21

_SCALES = np.asarray([0.36, 0.44, 0.52, 0.6], np.float32)  # a figure is about 2 high; the image is 2 wide
_ANGLES = np.deg2rad(np.asarray([-32, -16, 0, 16, 32], np.float32))
_SHIFTS = np.asarray([-0.27, -0.09, 0.09, 0.27], np.float32)
_RIMS = np.asarray([0.05, 0.11, 0.17, 0.23], np.float32)  # of the figure
_PALETTE = np.asarray(  # grey values 0.39, 0.50, 0.62, 0.70, 0.89, 1
    [[0.25, 0.35, 1.0], [1.0, 0.3, 0.2], [0.95, 0.4, 0.85], [0.35, 0.95, 0.35], [1.0, 0.95, 0.3], [1, 1, 1]],
    np.float32,
)
_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)
_PATTERN_WAVES = 1.5  # per unit of the figure
_DARK, _LIGHT = 0.15, 0.6  # what is inside the rim, in shares of the colour


def read_factors(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Generate the items of a split, at the size and with the channels wanted; 32 x 32 in colour by default.

    Raises:
        ImageShapeError: If the size is not 8 to 128.
    """
    size = options.transform.size or _DEFAULT_SIZE
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise ImageShapeError(
            f"factors: images of {_SIZES[0]} to {_SIZES[1]} pixels can be generated, not of {size}; set data.size."
        )
    values = factor_values(options.selection.split)
    values = values[options.selection.of_split(len(values))]
    images = render(values, size=size, channels=options.transform.channels or 3)
    names = tuple(factor.name for factor in FACTORS)
    return Decoded(images, values[:, 0].copy(), factors=values, factor_names=names)


def factor_values(split: str) -> NDArray[np.int64]:
    """The factors of every item of a split, int64 [N, 8], from 0 up; columns as in :data:`FACTORS`."""
    cards = [factor.n_values for factor in FACTORS]
    order = torch.randperm(math.prod(cards), generator=named_generator(0, "factors", "order")).numpy()
    start = 0 if split == "train" else N_ITEMS["train"]
    chosen = order[start : start + N_ITEMS[split]]
    return np.stack(np.unravel_index(chosen, cards), axis=1).astype(np.int64)


def render(values: NDArray[np.int64], *, size: int, channels: int) -> NDArray[np.uint8]:
    """Draw items.

    Args:
        values: Their factors, int64 [N, 8].
        size: Side of the images in pixels.
        channels: 3, or 1 for the grey value of the colour.

    Returns:
        uint8 [N, channels, size, size].
    """
    images = np.empty((len(values), channels, size, size), np.uint8)
    rows = max(1, _CHUNK_PIXELS // size**2)
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        brightness = np.empty((len(part), size, size), np.float32)
        for shape in np.unique(part[:, 0]):
            of_shape = part[:, 0] == shape
            brightness[of_shape] = _brightness(_SHAPES[shape], part[of_shape], size)
        colours = _PALETTE[part[:, 5]] if channels == 3 else (_PALETTE @ _LUMA)[part[:, 5], None]
        images[start : start + rows] = np.rint(255 * colours[:, :, None, None] * brightness[:, None])
    return images


def _brightness(distance: Callable[[Points], Values], values: NDArray[np.int64], size: int) -> Values:
    """What share of its colour each pixel has, [N, S, S] in [0, 1]."""
    scale, angle = _SCALES[values[:, 1]][:, None, None], _ANGLES[values[:, 2]][:, None, None]
    centre_x, centre_y = (_SHIFTS[values[:, column]][:, None, None] for column in (3, 4))
    ticks = (2 * np.arange(size, dtype=np.float32) + 1) / size - 1
    across, down = ticks[None, None, :] - centre_x, ticks[None, :, None] - centre_y
    u = (np.cos(angle) * across + np.sin(angle) * down) / scale
    v = (np.cos(angle) * down - np.sin(angle) * across) / scale
    to_edge = distance((u, v))
    pixel = 2 / (size * scale)
    figure = _coverage(to_edge, pixel)
    inside = _coverage(to_edge + _RIMS[values[:, 6]][:, None, None], pixel)
    tone = _DARK + (_LIGHT - _DARK) * _pattern((u, v), values[:, 7])
    brightness: Values = figure - inside * (1 - tone)
    return brightness


def _coverage(distance: Values, pixel: Values) -> Values:
    """Share of a pixel on the inner side of an edge, whose signed distance is negative inside."""
    share: Values = np.clip(0.5 - distance / pixel, 0, 1)
    return share


def _pattern(points: Points, texture: NDArray[np.int64]) -> Values:
    """Plain, stripes across, stripes along, checks; in [0, 1] and in the figure's own coordinates."""
    u, v = (np.sin(2 * np.pi * _PATTERN_WAVES * axis) for axis in points)
    waves = np.stack([np.zeros_like(u), u, v, u * v])
    pattern: Values = (1 + waves[texture, np.arange(len(texture))]) / 2
    return pattern


def _box(points: Points, half_width: float, half_height: float, x: float = 0.0, y: float = 0.0) -> Values:
    """Distance to a rectangle centred at (x, y): exact inside and at its sides."""
    u, v = points
    distance: Values = np.maximum(abs(u - x) - half_width, abs(v - y) - half_height)
    return distance


def _ellipse(points: Points) -> Values:
    u, v = points
    distance: Values = 0.75 * (np.hypot(u / 0.6, v) - 1)
    return distance


def _triangle(points: Points) -> Values:
    u, v = points
    sides = (1.75 * abs(u) - 0.85 * (v + 1)) / math.hypot(1.75, 0.85)
    distance: Values = np.maximum(sides, v - 0.75)
    return distance


def _square(points: Points) -> Values:
    return _box(points, 0.8, 0.8)


def _plus(points: Points) -> Values:
    distance: Values = np.minimum(_box(points, 0.35, 1), _box(points, 1, 0.35))
    return distance


def _half_disc(points: Points) -> Values:
    u, v = points
    distance: Values = np.maximum(np.hypot(u, v - 0.45) - 1, v - 0.45)
    return distance


def _corner(points: Points) -> Values:
    distance: Values = np.minimum(_box(points, 0.3, 0.85, x=-0.4), _box(points, 0.7, 0.3, y=0.55))
    return distance


_SHAPES = (_ellipse, _triangle, _square, _plus, _half_disc, _corner)
