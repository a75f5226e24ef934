r"""The geometric path from a normalised base to a target, and the points that move along it.

.. math:: \log \pi_t(z) = (1 - t) \log p_0(z) + t \log \tilde p(z) = \log p_0(z) - t\,E(z), \quad t \in [0, 1]

t is an inverse temperature: 0 is the base, 1 the target. A point keeps the values and gradients of both ends, so a
change of t evaluates nothing, and a move evaluates only where it goes.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hebm.errors import ConfigError
from hebm.latents import Latents
from hebm.randomness import CommonGenerator, standard_normal
from hebm.samplers.base import ChainState, Kernel, evaluate_state
from hebm.samplers.langevin import LogDensity, value_and_grad

__all__ = ["AnnealingPath", "PathPoint"]

JITTER = 0.3


class PathPoint(NamedTuple):
    """Positions, and what both ends of the path say there."""

    latents: Latents
    base: ChainState
    target: ChainState

    @property
    def log_ratio(self) -> Tensor:
        """log target - log base = -E(z), [B] nats, in float64."""
        return self.target.log_density.double() - self.base.log_density.double()

    def state(self, t: float) -> ChainState:
        """What a kernel needs to know at t."""
        value = torch.lerp(self.base.log_density, self.target.log_density, t)
        ends = zip(self.base.grads, self.target.grads, strict=True)
        return ChainState(self.latents, value, tuple(torch.lerp(b, e, t) for b, e in ends))

    def rows(self, indices: Tensor) -> "PathPoint":
        """The points of the given rows."""
        latents = tuple(z[indices] for z in self.latents)
        ends = (
            ChainState(latents, end.log_density[indices], tuple(g[indices] for g in end.grads))
            for end in (self.base, self.target)
        )
        return PathPoint(latents, *ends)


class AnnealingPath:
    """All densities between a base and a target.

    Args:
        base: Normalised log-density of the base, [B] nats.
        target: log base - E, [B] nats.
    """

    def __init__(self, base: LogDensity, target: LogDensity) -> None:
        self.base = base
        self.target = target

    def evaluate(self, latents: Latents) -> PathPoint:
        """Both ends at given positions.

        Raises:
            NonFiniteError: If one of the two log-densities is not finite there.
        """
        base, target = evaluate_state(self.base, latents), evaluate_state(self.target, latents)
        return PathPoint(base.latents, base, target)

    def move(
        self,
        point: PathPoint,
        t: float,
        kernel: Kernel,
        *,
        step_size: float,
        n_moves: int = 1,
        generator: torch.Generator | CommonGenerator | None = None,
        free: Latents | None = None,
    ) -> tuple[PathPoint, Tensor]:
        r"""Move every point by a kernel that leaves :math:`\pi_t` as it is.

        Every chain and move draws its own step size, up to 30 % shorter or longer than the given one. The draw does
        not look at the chain, so the density and reversibility stay; and no trajectory of a fixed number of
        steps comes back to its start again and again, as it does on a Gaussian after a full period.

        Returns:
            The new points, and their mean acceptance, a scalar.

        Raises:
            ConfigError: If the number of moves is not positive.
        """
        if n_moves < 1:
            raise ConfigError(f"`n_moves` must be positive, but it is {n_moves}.")
        density, acceptance = _DensityAt(self, t), []
        for _ in range(n_moves):
            steps = step_size * _jitter(point.base.log_density, generator)
            state, info = kernel.step(
                density, point.state(t), step_size=steps, generator=generator, free=free
            )
            point = self._point_at(state.latents, point, density.last)
            acceptance.append(info.acceptance.mean())
        return point, torch.stack(acceptance).mean()

    def _point_at(self, latents: Latents, before: PathPoint, proposed: PathPoint | None) -> PathPoint:
        """The new point without a new evaluation: a chain stays where it was, or is at the last place asked for."""
        if proposed is None:
            return self.evaluate(latents)
        moved, stayed = _same_rows(latents, proposed.latents), _same_rows(latents, before.latents)
        if not (moved | stayed).all():  # a kernel whose last evaluation is not its proposal
            return self.evaluate(latents)
        ends = (
            ChainState(
                latents,
                torch.where(moved, new.log_density, old.log_density),
                tuple(torch.where(moved[:, None], g, h) for g, h in zip(new.grads, old.grads, strict=True)),
            )
            for old, new in ((before.base, proposed.base), (before.target, proposed.target))
        )
        return PathPoint(latents, *ends)


class _DensityAt:
    """log π_t as a kernel sees it; it remembers the parts of its last evaluation."""

    def __init__(self, path: AnnealingPath, t: float) -> None:
        self.path = path
        self.t = t
        self.last: PathPoint | None = None

    def __call__(self, latents: Latents) -> Tensor:
        return torch.lerp(self.path.base(latents), self.path.target(latents), self.t)

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        base = ChainState(latents, *value_and_grad(self.path.base, latents))
        target = ChainState(latents, *value_and_grad(self.path.target, latents))
        self.last = PathPoint(latents, base, target)
        state = self.last.state(self.t)
        return state.log_density, state.grads


def _jitter(like: Tensor, generator: torch.Generator | CommonGenerator | None) -> Tensor:
    if isinstance(generator, CommonGenerator):
        draws: Tensor = torch.special.ndtr(standard_normal(like, generator))
    else:
        draws = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)
    return 1 + JITTER * (2 * draws - 1)


def _same_rows(a: Latents, b: Latents) -> Tensor:
    return torch.stack([(x == y).all(1) for x, y in zip(a, b, strict=True)]).all(0)
