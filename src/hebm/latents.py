"""Latents of all levels, **top level first**: ``latents[0]`` is the most abstract level, ``latents[-1]``
stands next to the data. A paper's z_l is ``latents[L - l]``.

A level is a matrix [B, d_l]; the *flat* state [B, sum of d_l] holds the levels side by side, top first.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from hebm.errors import LatentShapeError

__all__ = [
    "Latents",
    "check_latents",
    "flatten_latents",
    "kept_indices",
    "level_indices",
    "unflatten_latents",
]

Latents = tuple[Tensor, ...]


def flatten_latents(latents: Latents) -> Tensor:
    """Lay the levels side by side: [B, d_L], ..., [B, d_1] to [B, sum of d_l]."""
    return torch.cat(latents, dim=1)


def unflatten_latents(flat: Tensor, level_dims: Sequence[int]) -> Latents:
    """Split a flat state [B, sum of d_l] into levels, top first (the inverse of :func:`flatten_latents`).

    Raises:
        LatentShapeError: If the width is not the sum of the level dimensions.
    """
    if flat.ndim != 2 or flat.shape[1] != sum(level_dims):
        raise LatentShapeError(
            f"a flat state of {sum(level_dims)} latents per item is expected (levels {list(level_dims)}, "
            f"top first), but its shape is {list(flat.shape)}; pass [B, {sum(level_dims)}]."
        )
    return torch.split(flat, list(level_dims), dim=1)


def check_latents(latents: Latents, level_dims: Sequence[int]) -> None:
    """Check that the latents are one [B, d_l] matrix per level, top first.

    Raises:
        LatentShapeError: If the number of levels, a width or the batch sizes disagree.
    """
    shapes = [tuple(z.shape) for z in latents]
    widths_agree = [shape[1:] for shape in shapes] == [(d,) for d in level_dims]
    if not widths_agree or len({shape[0] for shape in shapes}) > 1:
        raise LatentShapeError(
            f"latents of {len(level_dims)} levels with {list(level_dims)} units (top first) are expected, "
            f"but the shapes are {shapes}; pass one [B, units] matrix per level, top level first."
        )


def level_indices(level_dims: Sequence[int], levels: Collection[int]) -> list[int]:
    """Columns of the flat state that belong to the given levels (0 is the top).

    Raises:
        LatentShapeError: If a level does not exist.
    """
    unknown = sorted(set(levels) - set(range(len(level_dims))))
    if unknown:
        raise LatentShapeError(
            f"levels {unknown} do not exist: this model has levels 0 (top) to {len(level_dims) - 1} (bottom)."
        )
    starts = [sum(level_dims[:level]) for level in range(len(level_dims))]
    return [
        start + i for level, start in enumerate(starts) if level in levels for i in range(level_dims[level])
    ]


def kept_indices(level_dims: Sequence[int], levels: Collection[int]) -> list[int]:
    """The same for levels that are kept while the others are integrated out: at least one is expected.

    Raises:
        LatentShapeError: If a level does not exist, or none is given.
    """
    if not levels:
        raise LatentShapeError("at least one level is expected (0 is the top), but none is given.")
    return level_indices(level_dims, levels)
