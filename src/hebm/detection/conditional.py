r"""Draws of the lower levels from the joint prior given the upper ones, and the conditional normaliser.

.. math:: p(z_b | z_a) = \frac{p_0(z_b | z_a)\, e^{-E(z_b, z_a)}}{Z(z_a)}, \qquad
    Z(z_a) = E_{p_0(z_b | z_a)}\, e^{-E(z_b, z_a)}

Base draws are weighted by exp(-E) and resampled by their weights (systematic resampling). Where too few weights count,
the draws are annealed from the base to the prior with the upper levels clamped, by a schedule that is chosen from the
prior's base draws alone, and resampled by the weights of the annealing. All noise is common to all items.
"""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hebm.detection.inference import require_count
from hebm.errors import ConfigError
from hebm.latents import Latents
from hebm.priors import Prior, base_of, weighted_draws_given
from hebm.randomness import CommonGenerator, named_generator
from hebm.samplers import (
    HMC,
    AnnealingSchedule,
    adaptive_temperatures,
    annealed_importance,
    free_mask,
    importance_log_normalizer,
)

__all__ = ["ConditionalDraws", "ConditionalOptions", "ConditionalSampler", "systematic_picks"]

LEAPFROG = HMC(0.2, 3)  # the pilot adapts the step size
PILOT_ITEMS, PILOT_COPIES = 16, 32


class ConditionalDraws(NamedTuple):
    """log Z(z_a) of every item, [B] nats in float64; R draws of all levels, item by item, [B * R, d_l] per level."""

    log_normalizer: Tensor
    latents: Latents


@dataclass(frozen=True)
class ConditionalOptions:
    """How the lower levels are drawn given the upper ones.

    Args:
        n_base: Base draws per item.
        n_kept: R, draws kept by resampling.
        pick: ``draws`` resamples; ``mode`` keeps the one base draw (or annealed one) of the highest density instead.
        min_ess_share: Share of the base draws that must count (their effective number), or the item is annealed.
        n_particles: Particles per item of the annealing.
        ess_share: Share that a change of its temperature keeps in the pilot.

    Raises:
        ConfigError: If an option is out of its range.
    """

    n_base: int
    n_kept: int
    pick: Literal["draws", "mode"] = "draws"
    min_ess_share: float = 0.1
    n_particles: int = 64
    ess_share: float = 0.9

    def __post_init__(self) -> None:
        require_count("n_base", self.n_base, least=2)
        require_count("n_kept", self.n_kept, least=1)
        require_count("n_particles", self.n_particles, least=2)
        if self.pick not in ("draws", "mode"):
            raise ConfigError(f"`pick` must be 'draws' or 'mode', but it is {self.pick!r}.")
        if not 0 <= self.min_ess_share <= 1 or not 0 < self.ess_share < 1:
            raise ConfigError(
                f"`min_ess_share` ({self.min_ess_share}) must lie in [0, 1] and `ess_share` ({self.ess_share}) between "
                "0 and 1."
            )


class ConditionalSampler:
    """Draws some levels from a prior given the others, with common noise.

    Args:
        prior: The prior.
        levels: The levels to draw (0 is the top).
        options: How.
        seed: Of all noise.

    Source: sampling importance resampling, Rubin (1987); annealing, Neal (2001), arXiv:physics/9803008.
    """

    def __init__(
        self, prior: Prior, levels: Collection[int], options: ConditionalOptions, *, seed: int
    ) -> None:
        self.prior, self.levels, self.options, self.seed = prior, levels, options, seed

    @torch.no_grad()
    def draw(self, latents: Latents, index: int = 0) -> ConditionalDraws:
        """Draw the levels for B items.

        Args:
            latents: All levels, top first, [B, d_l] each; what the drawn levels hold is not looked at.
            index: Another number gives other noise.

        Raises:
            UnsupportedError: If the base cannot draw these levels given the others.
            NonFiniteError: If a weight is not finite.
        """
        options = self.options
        draws, log_weights = self._base_draws(latents, options.n_base, "base", index)
        estimate = importance_log_normalizer(log_weights)
        log_z, kept = estimate.log_normalizer, self._keep(draws, log_weights, index)
        poor = (estimate.ess < options.min_ess_share * options.n_base).nonzero().squeeze(1)
        if len(poor):
            annealed = self._anneal(tuple(z[poor] for z in latents), index)
            log_z[poor] = annealed.log_normalizer
            n_kept = len(kept[0]) // len(log_z)
            rows = (poor[:, None] * n_kept + torch.arange(n_kept, device=poor.device)).flatten()
            for ours, theirs in zip(kept, annealed.latents, strict=True):
                ours[rows] = theirs
        return ConditionalDraws(log_z, kept)

    def _base_draws(self, latents: Latents, n: int, name: str, index: int) -> tuple[Latents, Tensor]:
        noise = CommonGenerator(named_generator(self.seed, "conditional", name, index), n)
        return weighted_draws_given(self.prior, latents, self.levels, n, generator=noise)

    def _anneal(self, latents: Latents, index: int) -> ConditionalDraws:
        n = self.options.n_particles
        start, _ = self._base_draws(latents, n, "start", index)
        noise = CommonGenerator(named_generator(self.seed, "conditional", "annealed", index), n)
        end = annealed_importance(
            base_of(self.prior).density(),
            self.prior.density(),
            start,
            self._schedule,
            LEAPFROG,
            generator=noise,
            free=self._free(start),
        )
        log_weights = end.log_weights.view(-1, n)
        log_z = importance_log_normalizer(log_weights).log_normalizer
        return ConditionalDraws(log_z, self._keep(end.latents, log_weights, index))

    @cached_property
    def _schedule(self) -> AnnealingSchedule:
        """Temperatures and steps for the upper levels of the base's own draws: the same for every image."""
        like = next(self.prior.parameters())  # type: ignore[attr-defined]
        generator = named_generator(self.seed, "conditional", "pilot", device=like.device)
        items = self.prior.sample_base(PILOT_ITEMS, like=like, generator=generator)
        start, _ = weighted_draws_given(self.prior, items, self.levels, PILOT_COPIES, generator=generator)
        return adaptive_temperatures(
            base_of(self.prior).density(),
            self.prior.density(),
            start,
            kernel=LEAPFROG,
            ess_share=self.options.ess_share,
            n_groups=PILOT_ITEMS,
            generator=generator,
            free=self._free(start),
        )

    def _free(self, latents: Latents) -> Latents | None:
        return free_mask(latents, [level for level in range(len(latents)) if level not in self.levels])

    def _keep(self, draws: Latents, log_weights: Tensor, index: int) -> Latents:
        n_items, n = log_weights.shape
        first = torch.arange(n_items, device=log_weights.device)[:, None] * n
        if self.options.pick == "mode":
            picks = self.prior.log_density(draws).view(n_items, n).argmax(1, keepdim=True)
        else:
            generator = named_generator(self.seed, "conditional", "resampling", index)
            offset = torch.rand((), generator=generator, dtype=torch.float64).item()
            picks = systematic_picks(log_weights, self.options.n_kept, offset)
        return tuple(z[(first + picks).flatten()] for z in draws)


def systematic_picks(log_weights: Tensor, n_kept: int, offset: float) -> Tensor:
    """Resample: indices [B, n_kept] of draws with log-weights [B, n]; one offset in [0, 1) for all items.

    A draw of normalised weight W is picked between floor and ceil of W n_kept times.
    """
    places = (torch.arange(n_kept, dtype=torch.float64, device=log_weights.device) + offset) / n_kept
    edges = log_weights.double().softmax(1).cumsum(1)
    picks = torch.searchsorted(edges, places.expand(len(edges), -1).contiguous(), right=True)
    return picks.clamp(max=log_weights.shape[1] - 1)
