r"""The attack within an L∞ ball: the change of at most r per pixel that moves the posterior furthest.

.. math:: \max_{|d|_\infty \le r} \; SKL_S\big(q(\cdot|x + d),\, q(\cdot|x)\big),
    \qquad 0 \le x + d \le 1

.. math:: d \leftarrow \Pi\big(d + \eta_t\, \mathrm{sign} \nabla_d SKL_S\big), \qquad
    \eta_t = r (1 - t / T), \quad d_0 \sim U[-r, r]

Π puts the pixels back into the ball and into [0, 1]. At d = 0 the gradient vanishes, so every run starts from a
random change; of several the best is kept.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.attacks.divergence import Encode, require_finite_divergence, require_levels, symmetric_kl, take_rows
from hebm.attacks.latent_attack import require_pixels
from hebm.errors import ConfigError
from hebm.randomness import CommonGenerator, standard_normal
from hebm.samplers import value_and_grad

__all__ = ["LinfAttack", "LinfAttacked"]


class LinfAttacked(NamedTuple):
    """Attacked images [B, C, H, W] in [0, 1], their divergence [B], and that of every restart [B, R], in nats."""

    images: Tensor
    divergence: Tensor
    restarts: Tensor


@dataclass(frozen=True)
class LinfAttack:
    """Projected sign ascent from several random starts; of all points visited the best is kept.

    Args:
        radius: r, in units of the pixels' range.
        n_steps: T, steps of every start.
        n_restarts: Random starts per image.

    Raises:
        ConfigError: If one of them is not positive.

    Source: the attack of Kuzina et al. (2022), arXiv:2203.09940 (radii 0.1 and 0.2, 50 steps, 10 restarts), which
        takes plain gradient steps; the sign steps are those of Madry et al. (2018), arXiv:1706.06083.
    """

    radius: float
    n_steps: int = 50
    n_restarts: int = 10

    def __post_init__(self) -> None:
        if not self.radius > 0 or self.n_steps < 1 or self.n_restarts < 1:
            raise ConfigError(
                f"an attack of radius {self.radius}, {self.n_steps} steps and {self.n_restarts} restarts was asked "
                "for; all must be positive."
            )

    def __call__(
        self, encode: Encode, x: Tensor, *, levels: Collection[int], generator: torch.Generator
    ) -> LinfAttacked:
        """Attack every image; the starts are common to all, so that an image's result does not depend on the others.

        Gradients are asked for the pixels alone: parameters get no ``.grad``, and none of their settings is changed.

        Args:
            encode: The encoder, e.g. ``model.encode``.
            x: Images in [0, 1], [B, C, H, W].
            levels: The attacked levels, 0 is the top.
            generator: Source of the random starts.

        Raises:
            ImageShapeError: If the images are not in [0, 1].
            LatentShapeError: If a level does not exist, or none is given.
            NonFiniteError: If the divergence is not finite.
        """
        require_pixels(x)
        with torch.no_grad():
            clean = encode(x)
        require_levels(clean, levels)
        rows = torch.arange(len(x), device=x.device).repeat_interleave(self.n_restarts)
        origin, reference = x.detach()[rows], take_rows(clean, rows)
        noise = standard_normal(origin, CommonGenerator(generator, self.n_restarts))
        uniform = 2 * torch.special.ndtr(noise) - 1
        moving = (origin + self.radius * uniform).clamp(0, 1)
        best, value = moving, moving.new_full(moving.shape[:1], -torch.inf)
        for step in range(self.n_steps + 1):
            divergence, (grad,) = value_and_grad(
                lambda images: symmetric_kl(encode(images[0]), reference, levels), (moving,)
            )
            require_finite_divergence(divergence)
            wins = divergence > value
            best, value = torch.where(wins[:, None, None, None], moving, best), value.maximum(divergence)
            moved = moving + self.radius * (1 - step / self.n_steps) * grad.sign()
            moving = moved.clamp(origin - self.radius, origin + self.radius).clamp(0, 1)
        return _best_restart(best, value, self.n_restarts)


def _best_restart(images: Tensor, value: Tensor, n_restarts: int) -> LinfAttacked:
    restarts = value.reshape(-1, n_restarts)
    best = restarts.argmax(1)
    rows = torch.arange(len(restarts), device=best.device) * n_restarts + best
    return LinfAttacked(images[rows], value[rows], restarts)
