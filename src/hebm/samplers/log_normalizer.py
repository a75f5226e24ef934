r"""Brackets of log Z = log E_base[exp(-E(z))]: bidirectional Monte Carlo, for one prior or many clamped items.

1. A pilot chooses temperatures and step sizes; they are fixed from here on.
2. Forward annealing from fresh draws of the base gives the lower bound.
3. A second, independent forward run is resampled by its weights and equilibrated at t = 1; these near-exact draws
   from the target are annealed back to the base and give the upper bound.

Both bounds hold *in expectation*. Forward weights that miss a mode give a lower bound that is too low, which is
still a bound. The upper bound is only as good as the near-exact draws: where no forward particle finds a mode of
the target, the reverse run does not start there either, **both** sides lack the mode's mass and agree on a number
that is too low. A narrow bracket therefore shows that the schedule is fine enough, not that every mode was found; run
with other seeds and more particles to see whether the number stays.
A ``lower`` above ``upper`` by more than their errors means the same thing (draws that are not from the target), or
too few effective weights; it is returned as it is.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.errors import ConfigError, LatentShapeError
from hebm.latents import Latents, check_latents, level_indices
from hebm.samplers.annealing import (
    AnnealingResult,
    annealed_importance,
    importance_log_normalizer,
    reverse_annealing,
)
from hebm.samplers.annealing_path import AnnealingPath
from hebm.samplers.annealing_schedule import AnnealingSchedule, adaptive_temperatures, resample_rows
from hebm.samplers.base import Kernel
from hebm.samplers.langevin import LogDensity
from hebm.samplers.long_run import free_mask

__all__ = ["LogNormalizer", "bracket_conditional_log_normalizer", "bracket_log_normalizer"]

N_BLOCKS = 32  # copies of one particle are neighbours, so blocks of reverse weights are nearly independent


class LogNormalizer(NamedTuple):
    """A bracket of log Z, in nats; every field but ``n_temperatures`` is a scalar, or [B] for clamped items.

    ``lower`` and ``upper`` have the standard errors ``lower_se`` and ``upper_se``; ``ess`` and ``reverse_ess`` are
    the effective numbers of weights on the two sides; ``acceptance`` is the mean over moves and temperatures.
    """

    lower: Tensor
    upper: Tensor
    lower_se: Tensor
    upper_se: Tensor
    ess: Tensor
    reverse_ess: Tensor
    acceptance: Tensor
    n_temperatures: int

    @property
    def width(self) -> Tensor:
        """upper - lower, nats; negative if they have crossed."""
        return self.upper - self.lower

    @property
    def estimate(self) -> Tensor:
        """The middle of the bracket, nats."""
        return (self.lower + self.upper) / 2


def bracket_log_normalizer(
    base: LogDensity,
    target: LogDensity,
    sample_base: Callable[[int], Latents],
    *,
    kernel: Kernel,
    n_particles: int = 4096,
    n_pilot: int = 512,
    ess_share: float = 0.98,
    refine: int = 4,
    n_moves: int = 1,
    n_equilibrate: int = 50,
    initial_step_size: float = 0.2,
    target_acceptance: float = 0.8,
    generator: torch.Generator | None = None,
) -> LogNormalizer:
    r"""Bracket log Z of one target.

    Args:
        base: Normalised log-density, [B] nats.
        target: log base - E, [B] nats.
        sample_base: n exact draws from the base, top level first; new ones at each call.
        kernel: How particles move, e.g. ``HMC``; it must be reversible, and its step size is chosen by the pilot.
        n_particles: Particles of each of the three runs; memory grows with it, time too.
        n_pilot: Particles of the pilot.
        ess_share: See :func:`~hebm.samplers.annealing_schedule.adaptive_temperatures`.
        refine: See there.
        n_moves: Moves at each temperature of the three runs.
        n_equilibrate: Moves at t = 1 before the reverse run.
        initial_step_size: Where the pilot's search for the step size starts.
        target_acceptance: Mean acceptance that the step size aims at.
        generator: Source of the noise, on the latents' device; the global stream if None.

    Raises:
        NonFiniteError: If a log-density or weight is not finite.
        ConfigError: If an option is out of its range.

    Source: Grosse, Ghahramani and Adams (2015), arXiv:1511.02543; Grosse, Ancha and Roy (2016), arXiv:1606.02275.
    """
    schedule = adaptive_temperatures(
        base,
        target,
        sample_base(n_pilot),
        kernel=kernel,
        ess_share=ess_share,
        refine=refine,
        initial_step_size=initial_step_size,
        target_acceptance=target_acceptance,
        generator=generator,
    )
    bracket = _Bracket(base, target, kernel, schedule, n_moves, n_equilibrate, generator)
    whole = bracket.measure(lambda: sample_base(n_particles), n_groups=1)
    return LogNormalizer._make((*(part.squeeze(0) for part in whole[:-1]), len(schedule)))


def bracket_conditional_log_normalizer(
    base: LogDensity,
    target: LogDensity,
    latents: Latents,
    free_levels: Collection[int],
    sample_free: Callable[[Latents], Latents],
    *,
    kernel: Kernel,
    n_particles: int = 128,
    n_pilot: int = 64,
    ess_share: float = 0.98,
    refine: int = 2,
    n_moves: int = 1,
    n_equilibrate: int = 50,
    initial_step_size: float = 0.2,
    target_acceptance: float = 0.8,
    max_rows: int = 32_768,
    generator: torch.Generator | None = None,
) -> LogNormalizer:
    r"""Bracket log Z(held levels) of every item, the expectation of exp(-E) over the base's free levels.

    .. math:: \log Z(z_{held}) = \log \mathbb E_{p_0(z_{free} \mid z_{held})} \exp(-E(z_{free}, z_{held}))

    Items and particles move together as one flat batch [B * n_particles, D], in chunks of at most ``max_rows`` rows.
    All items share one schedule, chosen by the worst of the pilot's items (evenly spaced ones if ``n_pilot`` particles
    of all are more than ``max_rows``): an item that is worse still has a wider bracket, not a wrong one.

    Args:
        base: Log-density of the base, [B] nats; normalised over the free levels up to a term of the held ones, so
            log p(free, held) will do for log p(free | held): both ends of the path contain the difference.
        target: log base - E, [B] nats.
        latents: B items, top level first; held levels are kept bit by bit, what the free ones hold is not looked at.
        free_levels: Levels that are integrated out (0 is the top).
        sample_free: From latents of n items to latents of n items whose free levels are exact draws from
            p(free | held); what it returns for held levels is not looked at.
        kernel: See :func:`bracket_log_normalizer`.
        n_particles: Particles per item and run.
        n_pilot: Particles per item of the pilot.
        ess_share: See :func:`~hebm.samplers.annealing_schedule.adaptive_temperatures`.
        refine: See there.
        n_moves: Moves at each temperature.
        n_equilibrate: Moves at t = 1 before the reverse run.
        initial_step_size: Where the pilot's search for the step size starts.
        target_acceptance: Mean acceptance that the step size aims at.
        max_rows: Bound on the rows of one batch, and so on the memory.
        generator: Source of the noise; the global stream if None.

    Returns:
        A bracket per item, fields [B].

    Raises:
        NonFiniteError: If a log-density or weight is not finite.
        LatentShapeError: If a free level does not exist, there is none, or the drawn latents have other shapes.
        ConfigError: If an option is out of its range.
    """
    if max_rows < max(n_particles, n_pilot):
        raise ConfigError(
            f"`max_rows` ({max_rows}) must hold the {max(n_particles, n_pilot)} particles of one item."
        )
    held_levels = _held_levels(latents, free_levels)
    free = free_mask(latents, held_levels)
    items = torch.arange(len(latents[0]), device=latents[0].device)
    start = partial(_draws_given, latents, held_levels, sample_free)
    n_pilot_items = min(len(items), max_rows // n_pilot)
    schedule = adaptive_temperatures(
        base,
        target,
        start(items[:n_pilot_items] * len(items) // n_pilot_items, n_pilot),
        kernel=kernel,
        ess_share=ess_share,
        refine=refine,
        initial_step_size=initial_step_size,
        target_acceptance=target_acceptance,
        n_groups=n_pilot_items,
        generator=generator,
        free=free,
    )
    bracket = _Bracket(base, target, kernel, schedule, n_moves, n_equilibrate, generator, free)
    chunks = torch.split(items, max_rows // n_particles)
    brackets = [bracket.measure(partial(start, chunk, n_particles), len(chunk)) for chunk in chunks]
    parts = (torch.cat(columns) for columns in zip(*(chunk[:-1] for chunk in brackets), strict=True))
    return LogNormalizer._make((*parts, len(schedule)))


def _draws_given(
    latents: Latents,
    held_levels: Collection[int],
    sample_free: Callable[[Latents], Latents],
    items: Tensor,
    n: int,
) -> Latents:
    """n draws of each of some items, one after the other; held levels are the items' own."""
    given = tuple(z[items].repeat_interleave(n, 0) for z in latents)
    drawn = sample_free(given)
    check_latents(drawn, [z.shape[1] for z in latents])
    return tuple(given[level] if level in held_levels else z for level, z in enumerate(drawn))


class _Bracket(NamedTuple):
    """Steps 2 and 3 on a fixed schedule."""

    base: LogDensity
    target: LogDensity
    kernel: Kernel
    schedule: AnnealingSchedule
    n_moves: int
    n_equilibrate: int
    generator: torch.Generator | None
    free: Latents | None = None

    def measure(self, start: Callable[[], Latents], n_groups: int) -> LogNormalizer:
        """Brackets [n_groups] of as many groups of consecutive rows."""
        forward = self._run(annealed_importance, start())
        other = self._run(annealed_importance, start())
        picks = resample_rows(other.log_weights.view(n_groups, -1), self.generator)
        near_exact = self._equilibrate(tuple(z[picks] for z in other.latents))
        backward = self._run(reverse_annealing, near_exact)
        lower = importance_log_normalizer(forward.log_weights.view(n_groups, -1))
        inverse = importance_log_normalizer(backward.log_weights.view(n_groups, -1), n_blocks=N_BLOCKS)
        accepted = torch.stack([forward.acceptance, backward.acceptance]).mean()
        return LogNormalizer(
            lower=lower.log_normalizer,
            upper=-inverse.log_normalizer,
            lower_se=lower.se,
            upper_se=inverse.se,
            ess=lower.ess,
            reverse_ess=inverse.ess,
            acceptance=accepted.expand(n_groups),
            n_temperatures=len(self.schedule),
        )

    def _run(self, anneal: Callable[..., AnnealingResult], start: Latents) -> AnnealingResult:
        return anneal(
            self.base,
            self.target,
            start,
            self.schedule,
            self.kernel,
            n_moves=self.n_moves,
            generator=self.generator,
            free=self.free,
        )

    def _equilibrate(self, latents: Latents) -> Latents:
        if self.n_equilibrate == 0:
            return latents
        path = AnnealingPath(self.base, self.target)
        point, _ = path.move(
            path.evaluate(latents),
            1.0,
            self.kernel,
            step_size=self.schedule.intervals()[-1][-1],
            n_moves=self.n_equilibrate,
            generator=self.generator,
            free=self.free,
        )
        return point.latents


def _held_levels(latents: Latents, free_levels: Collection[int]) -> list[int]:
    """The other levels."""
    level_indices([z.shape[1] for z in latents], free_levels)  # checks that they exist
    if not free_levels:
        raise LatentShapeError("at least one free level is expected; with all held, log Z is -E(z).")
    return [level for level in range(len(latents)) if level not in free_levels]
