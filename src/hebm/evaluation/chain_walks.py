"""Chains as walks: positions after given numbers of moves, whatever moves them.

Positions are flat latents z, [B, D]; a sampler that moves in white coordinates converts at its ends.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hebm.errors import NonFiniteError, UnsupportedError
from hebm.latents import flatten_latents, unflatten_latents
from hebm.models import JointModel, PriorSampler
from hebm.priors import GaussianPrior, RecoveryPrior
from hebm.samplers import (
    IndependenceChains,
    LogDensity,
    ParallelTempering,
    ShortRunLangevin,
    WhitenedChains,
    evaluate_state,
)

__all__ = [
    "ChainSampler",
    "Chart",
    "DivergedError",
    "KernelChains",
    "Noise",
    "SegmentChains",
    "chart_of",
    "own_chains",
]

Noise = Callable[[], torch.Generator]
"""Makes the generator of a walk, in its first state."""


class DivergedError(NonFiniteError):
    """Chains left the finite numbers; ``n_moves`` says at which move."""

    def __init__(self, n_moves: int) -> None:
        super().__init__(f"the chains are not finite after {n_moves} moves; lower the step size.")
        self.n_moves = n_moves


class ChainSampler(Protocol):
    """Chains that are looked at after given numbers of moves."""

    @property
    def is_exact(self) -> bool:
        """Whether the stationary law is the target, step size or not."""
        ...

    @property
    def evaluations_per_move(self) -> int:
        """Evaluations of the target's gradient per chain and move."""
        ...

    @property
    def can_continue(self) -> bool:
        """Whether a longer chain is a shorter one continued; otherwise each length is a run from the start."""
        ...

    @property
    def tuned(self) -> dict[str, Any]:
        """Step sizes and the like, for the result file."""
        ...

    def walk(self, start: Tensor, moves: Sequence[int], noise: Noise) -> Iterator[tuple[Tensor, float]]:
        """Positions [B, D] after each number of moves (rising), and the mean acceptance since the one before.

        Raises:
            DivergedError: If a chain left the finite numbers.
        """
        ...


@dataclass(frozen=True)
class Chart:
    """The target where chains move: white coordinates where the base has them, the latents themselves elsewhere.

    Args:
        target: Log-density up to a constant, [B] nats.
        untilted: The same without the energy.
        to_state: Flat latents to the state.
        from_state: And back.
    """

    target: LogDensity
    untilted: LogDensity
    to_state: Callable[[Tensor], Tensor]
    from_state: Callable[[Tensor], Tensor]


def chart_of(model: JointModel) -> Chart:
    """The chart of a prior that has an energy."""
    density: Any = model.prior.density()
    white_noise = GaussianPrior(model.level_dims).density()
    try:
        white = density.whitened()
    except (AttributeError, UnsupportedError):
        return Chart(density, getattr(density, "base", white_noise), _same, _same)

    def on_flat(convert: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
        return lambda flat: flatten_latents(convert(unflatten_latents(flat, model.level_dims)))

    return Chart(white, white_noise, on_flat(white.to_white), on_flat(white.from_white))


def _same(flat: Tensor) -> Tensor:
    return flat


def own_chains(model: JointModel) -> "SegmentChains":
    """The chains of a model's own sampler, as samples are drawn with."""
    n_levels = len(model.prior.sigmas) if isinstance(model.prior, RecoveryPrior) else 1
    return SegmentChains(
        model.sampler,
        model,
        is_exact=False,
        evaluations_per_move=n_levels,
        can_continue=isinstance(model.sampler, ShortRunLangevin | WhitenedChains | IndependenceChains),
    )


@dataclass(frozen=True)
class KernelChains:
    """Chains of a kernel with fixed step sizes.

    Args:
        kernel: A kernel, or parallel tempering.
        chart: Where it moves.
        is_exact: See :class:`ChainSampler`.
        evaluations_per_move: See there.
        tuned: See there.
        step_size: Another step size than the kernel's own, such as one per replica.
    """

    kernel: Any
    chart: Chart
    is_exact: bool
    evaluations_per_move: int
    tuned: dict[str, Any]
    step_size: Tensor | None = None
    can_continue: bool = True

    def walk(self, start: Tensor, moves: Sequence[int], noise: Noise) -> Iterator[tuple[Tensor, float]]:
        """Positions and acceptance (see :class:`ChainSampler`)."""
        generator, at, target = noise(), 0, self.chart.target
        try:
            begin = self.kernel.start if isinstance(self.kernel, ParallelTempering) else evaluate_state
            state = begin(target, (self.chart.to_state(start),))
            for wanted in moves:
                accepted, n_moves = 0.0, wanted - at
                while at < wanted:
                    at += 1
                    state, info = self.kernel.step(
                        target, state, step_size=self.step_size, generator=generator
                    )
                    accepted += info.acceptance.mean().item()
                yield self.chart.from_state(state.latents[0]), accepted / n_moves if n_moves else math.nan
        except NonFiniteError as error:
            raise DivergedError(at) from error


@dataclass(frozen=True)
class SegmentChains:
    """Chains of a model's own sampler, run in segments; the acceptance is the share of chains that moved.

    Args:
        sampler: What moves them.
        model: Whose prior they move on.
        is_exact: See :class:`ChainSampler`.
        evaluations_per_move: See there.
        can_continue: See there; False for a sampler that tunes itself on the way, or follows a schedule.
    """

    sampler: PriorSampler
    model: JointModel
    is_exact: bool
    evaluations_per_move: int = 1
    can_continue: bool = True

    @property
    def tuned(self) -> dict[str, Any]:
        """Nothing is tuned beforehand."""
        return {}

    def walk(self, start: Tensor, moves: Sequence[int], noise: Noise) -> Iterator[tuple[Tensor, float]]:
        """Positions and acceptance (see :class:`ChainSampler`)."""
        density = self.model.prior.density()
        generator, at, flat = noise(), 0, start
        for wanted in moves:
            if not self.can_continue:
                generator, at, flat = noise(), 0, start
            n_moves = wanted - at
            accepted = 0.0
            while at < wanted:
                n = 1 if self.can_continue else wanted
                moved = self._moved(density, flat, n, generator, at + n)
                accepted += (moved != flat).any(1).double().mean().item()
                flat, at = moved, at + n
            yield flat, accepted / n_moves if n_moves and self.can_continue else math.nan

    def _moved(self, density: Any, flat: Tensor, n: int, generator: torch.Generator, at: int) -> Tensor:
        levels = unflatten_latents(flat, self.model.level_dims)
        try:
            return flatten_latents(self.sampler(density, levels, n_steps=n, generator=generator).latents)
        except NonFiniteError as error:
            raise DivergedError(at) from error
