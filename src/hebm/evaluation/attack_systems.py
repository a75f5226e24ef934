"""What suite ``attack`` shows to the two systems, and what they take it for: the encoder alone, and with its defence.

The inputs that belong to one original share a block: the original and its attacked images under every L∞ attack, and,
where it has a target, the target and its attacked images under every latent attack. A block depends on the seed, its
place and its own images alone, whatever the number of originals.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.attacks import HMCDefence, posterior_density
from hebm.distributions import DiagonalNormal
from hebm.latents import Latents
from hebm.models import JointModel, LatentPosterior
from hebm.randomness import CommonGenerator, named_generator

__all__ = ["Answers", "Chains", "Inputs", "ask_defended", "ask_encoder"]


@dataclass(frozen=True)
class Inputs:
    """Images in [0, 1].

    Args:
        original: [N, C, H, W].
        linf: A of them per original, [N, A, C, H, W].
        target: [P, C, H, W], P <= N.
        latent: B attacked images of each of the first P originals, [P, B, C, H, W].
    """

    original: Tensor
    linf: Tensor
    target: Tensor
    latent: Tensor

    def blocks(self) -> Iterator[Tensor]:
        """The inputs that belong to one original: it, its L∞ ones, and if it has a target, that and its latent ones."""
        for i in range(len(self.original)):
            parts = [self.original[i : i + 1], self.linf[i]]
            if i < len(self.target):
                parts += [self.target[i : i + 1], self.latent[i]]
            yield torch.cat(parts)


class Answers(NamedTuple):
    """Posteriors and reconstructions of all inputs, laid out like :class:`Inputs`.

    ``posterior_original`` [N, d_l] and ``posterior_linf`` [N * A, d_l] per level; ``images`` are reconstructions.
    """

    posterior_original: LatentPosterior
    posterior_linf: LatentPosterior
    images: Inputs


class Chains(NamedTuple):
    """Mean acceptance of every chain of the defence, and the step size of every block."""

    acceptance: Tensor
    step_sizes: list[float]


@torch.no_grad()
def ask_encoder(model: JointModel, inputs: Inputs) -> Answers:
    """What the encoder alone takes the inputs for."""
    return _answers(model, inputs, [model.encode(block) for block in inputs.blocks()])


@torch.no_grad()
def ask_defended(
    model: JointModel, inputs: Inputs, defence: HMCDefence, scale: Latents, *, seed: int
) -> tuple[Answers, Chains]:
    """What the defended system takes the inputs for; the inputs of one original share noise and step size.

    Args:
        model: The model.
        inputs: What it is shown.
        defence: The chains.
        scale: Units in which they move, [d_l] per level.
        seed: Of their noise.

    Raises:
        NonFiniteError: If the density is not finite where a chain starts.
    """
    posteriors, acceptance, step_sizes = [], [], []
    for i, block in enumerate(inputs.blocks()):
        noise = CommonGenerator(named_generator(seed, "attack", "defence", i), n_copies=1)
        start = model.encode(block).sample(noise)
        defended = defence(posterior_density(model, block), start, scale=scale, generator=noise)
        posteriors.append(defended.posterior)
        acceptance.append(defended.acceptance)
        step_sizes.append(defended.step_size)
    return _answers(model, inputs, posteriors), Chains(torch.cat(acceptance), step_sizes)


def _answers(model: JointModel, inputs: Inputs, posteriors: list[LatentPosterior]) -> Answers:
    n_linf, n_pairs = inputs.linf.shape[1], len(inputs.target)
    pictures = [model.decode(posterior.mean) for posterior in posteriors]
    paired = pictures[:n_pairs]
    return Answers(
        _joined(posteriors, slice(0, 1)),
        _joined(posteriors, slice(1, 1 + n_linf)),
        Inputs(
            original=torch.cat([images[:1] for images in pictures]),
            linf=torch.stack([images[1 : 1 + n_linf] for images in pictures]),
            target=torch.cat([images[1 + n_linf : 2 + n_linf] for images in paired]),
            latent=torch.stack([images[2 + n_linf :] for images in paired]),
        ),
    )


def _joined(posteriors: list[LatentPosterior], rows: slice) -> LatentPosterior:
    """The same rows of all blocks, one after another."""
    levels = zip(*posteriors, strict=True)
    return LatentPosterior(
        tuple(
            DiagonalNormal(
                torch.cat([q.mean[rows] for q in level]),
                torch.cat([q.scale.expand_as(q.mean)[rows] for q in level]),
            )
            for level in levels
        )
    )
