"""What a model shows: samples, reconstructions, each level redrawn, each unit or plane swept; as image tensors."""

from typing import Literal

import torch
from torch import Tensor

from hebm.errors import LatentShapeError
from hebm.evaluation.generate import latents_from_prior
from hebm.latents import Latents, unflatten_latents
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["HierarchyMode", "hierarchy_images", "partial_reconstructions", "plane_images", "traverse_images"]

HierarchyMode = Literal["conditional", "pasted"]


def _first_latents(model: JointModel, n: int, seed: int) -> Latents:
    blocks = list(latents_from_prior(model, n, seed=seed))
    return tuple(torch.cat(levels) for levels in zip(*blocks, strict=True))


@torch.no_grad()
def hierarchy_images(
    model: JointModel, level: int, *, n_items: int, n_draws: int, mode: HierarchyMode, seed: int
) -> Tensor:
    r"""One level redrawn, the others held, for several held items.

    ``conditional`` draws from p(z_l | the other levels) by a chain with those clamped. ``pasted`` takes z_l from
    other samples of the joint prior, as the reference code does: then the levels need not fit together.

    Args:
        model: The model.
        level: The level to redraw (0 is the top).
        n_items: Held items; each is a sample of the prior.
        n_draws: Redraws of each.
        mode: How the level is redrawn.
        seed: The user's seed.

    Returns:
        [n_items * (1 + n_draws), C, H, W] in [0, 1]: each item, then its redraws.
    """
    held = _first_latents(model, n_items, seed)
    repeated = tuple(z.repeat_interleave(n_draws, dim=0) for z in held)
    if mode == "conditional":
        generator = named_generator(seed, "hierarchy", level, device=model.device)
        redrawn = model.resample(repeated, [level], generator=generator)
    else:
        others = _first_latents(model, n_items + n_draws, seed)[level][n_items:]
        pasted = others.repeat(n_items, 1)
        redrawn = tuple(pasted if i == level else z for i, z in enumerate(repeated))
    images = model.decode(redrawn).reshape(n_items, n_draws, *model.image_shape)
    return torch.cat([model.decode(held)[:, None], images], dim=1).flatten(0, 1)


@torch.no_grad()
def traverse_images(model: JointModel, level: int, *, values: Tensor, seed: int, item: int = 0) -> Tensor:
    """Every unit of a level swept over values, all else held at one sample of the prior.

    Args:
        model: The model.
        level: The level (0 is the top).
        values: The values, [V]; the base prior has standard deviation 1.
        seed: The user's seed.
        item: Which sample is held.

    Returns:
        [units * V, C, H, W] in [0, 1]: one row of V images per unit.
    """
    held = tuple(z[item : item + 1] for z in _first_latents(model, item + 1, seed))
    n_units, n_values = held[level].shape[1], len(values)
    swept = held[level].repeat(n_units * n_values, 1)
    rows = torch.arange(n_units * n_values)
    swept[rows, rows // n_values] = values.to(swept).repeat(n_units)
    others = tuple(z.expand(n_units * n_values, -1) for z in held)
    return model.decode(tuple(swept if i == level else z for i, z in enumerate(others)))


@torch.no_grad()
def plane_images(model: JointModel, *, values: Tensor) -> Tensor:
    """The whole latent space of a model with two latents in all, as a square of images.

    Args:
        model: The model.
        values: The values that both latents take, [V], from low to high.

    Returns:
        [V * V, C, H, W] in [0, 1], row by row as a plot has them: the first latent (of the top level) grows to the
        right, the second upwards.

    Raises:
        LatentShapeError: If there are not two latents.
    """
    if sum(model.level_dims) != 2:
        raise LatentShapeError(
            f"a plane of images needs two latents in all, but the levels have {list(model.level_dims)}; sweep single "
            "units instead."
        )
    second, first = torch.meshgrid(values.flip(0), values, indexing="ij")
    flat = torch.stack([first, second], dim=-1).reshape(-1, 2)
    return model.decode(unflatten_latents(flat.to(next(model.parameters())), model.level_dims))


@torch.no_grad()
def partial_reconstructions(model: JointModel, x: Tensor, *, n_kept: int, seed: int) -> Tensor:
    """Reconstruct with the top levels inferred and the rest drawn from the conditional prior.

    Args:
        model: The model.
        x: Images, [B, C, H, W] in [0, 1].
        n_kept: How many of the top levels keep their posterior mean; all of them: the plain reconstruction.
        seed: The user's seed, for the levels that are drawn.

    Returns:
        [B, C, H, W] in [0, 1].
    """
    latents = model.encode(x.to(model.device)).mean
    redraw = range(n_kept, len(latents))
    if redraw:
        generator = named_generator(seed, "reconstruct", n_kept, device=model.device)
        latents = model.resample(latents, redraw, generator=generator)
    return model.decode(latents)
