"""Latents and images for delivery: item i depends on the seed and i alone, not on how many are asked for.

Items are made in blocks of fixed size, each with a generator of its own; a batch size never enters.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from hebm.latents import Latents
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["BLOCK", "images_from_prior", "latents_from_prior", "reconstructions"]

BLOCK = 200


def _blocks(model: JointModel, n: int, seed: int, n_steps: int | None) -> Iterator[tuple[Latents, int]]:
    """Whole blocks of latents, and how many items of each are asked for."""
    for block in range(-(-n // BLOCK)):
        generator = named_generator(seed, "sample", block, device=model.device)
        latents = model.sample_prior(BLOCK, n_steps=n_steps, generator=generator)
        yield latents, min(BLOCK, n - block * BLOCK)


def latents_from_prior(
    model: JointModel, n: int, *, seed: int, n_steps: int | None = None
) -> Iterator[Latents]:
    """Draw n items from the prior, block by block.

    Args:
        model: The model, on its device.
        n: Number of items.
        seed: The user's seed.
        n_steps: Another number of chain steps than the model's; 0 draws from the base.

    Yields:
        Latents of at most :data:`BLOCK` items, top level first.
    """
    for latents, n_wanted in _blocks(model, n, seed, n_steps):
        yield tuple(z[:n_wanted] for z in latents)


@torch.no_grad()
def images_from_prior(
    model: JointModel, n: int, *, seed: int, n_steps: int | None = None
) -> Iterator[Tensor]:
    """Generate n images block by block: decoded :func:`latents_from_prior`, [b, C, H, W] in [0, 1].

    Whole blocks are decoded, so that no rounding depends on n.
    """
    for latents, n_wanted in _blocks(model, n, seed, n_steps):
        yield model.decode(latents)[:n_wanted]


def reconstructions(model: JointModel, batches: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Images beside their reconstructions from posterior means, batch by batch, in [0, 1]."""
    for x in batches:
        with torch.no_grad():
            yield x, model.decode(model.encode(x.to(model.device)).mean).to(x.device)
