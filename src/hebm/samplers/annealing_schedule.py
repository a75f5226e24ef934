r"""The temperatures of an annealing run, chosen once by a pilot and then fixed.

A schedule that looked at the particles it is used on would bias their weights; so the pilot moves particles of its
own, and the schedule that it returns is a constant for every run that follows.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.errors import ConfigError, NonFiniteError
from hebm.latents import Latents
from hebm.samplers.annealing_path import AnnealingPath, PathPoint
from hebm.samplers.base import Kernel
from hebm.samplers.langevin import LogDensity

__all__ = ["AnnealingSchedule", "adaptive_temperatures", "resample_rows"]

MAX_TEMPERATURES = 10_000


@dataclass(frozen=True)
class AnnealingSchedule:
    r"""Inverse temperatures :math:`0 = t_0 < t_1 < \dots < t_K = 1` and the step size of the kernel at each but t_0.

    Args:
        temperatures: t_0 to t_K, [K + 1].
        step_sizes: Step sizes at t_1 to t_K, [K].

    Raises:
        ConfigError: If the temperatures do not rise from 0 to 1, or the number of step sizes is not K.
    """

    temperatures: Tensor
    step_sizes: Tensor

    def __post_init__(self) -> None:
        t = self.temperatures
        if t.ndim != 1 or len(t) < 2 or t[0] != 0 or t[-1] != 1 or not (t.diff() > 0).all():
            raise ConfigError(
                f"temperatures that rise from 0 to 1 are expected, but they are {t.tolist()[:8]}; they are inverse "
                "temperatures, 0 is the base and 1 the target."
            )
        if self.step_sizes.shape != (len(t) - 1,) or not (self.step_sizes > 0).all():
            raise ConfigError(
                f"{len(t) - 1} positive step sizes are expected (one for each temperature but 0), but their shape "
                f"is {list(self.step_sizes.shape)} and the least is {self.step_sizes.min().item():g}."
            )

    def __len__(self) -> int:
        """K, the number of temperatures after 0."""
        return len(self.step_sizes)

    def intervals(self) -> list[tuple[float, float, float]]:
        """(t_{k-1}, t_k, step size at t_k) for k = 1 to K."""
        t = self.temperatures.tolist()
        return list(zip(t[:-1], t[1:], self.step_sizes.tolist(), strict=True))

    def refine(self, factor: int) -> "AnnealingSchedule":
        """Cut every interval into `factor` equal ones; the step sizes of the new temperatures are interpolated.

        Raises:
            ConfigError: If the factor is not positive.
        """
        if factor < 1:
            raise ConfigError(f"a factor of at least 1 is expected, but it is {factor}; 1 changes nothing.")
        share = torch.arange(1, factor + 1, dtype=torch.float64, device="cpu") / factor
        t, steps = self.temperatures.double().cpu(), self.step_sizes.double().cpu()
        finer_t = torch.lerp(t[:-1, None], t[1:, None], share)
        finer_steps = torch.lerp(torch.cat([steps[:1], steps[:-1]])[:, None], steps[:, None], share)
        return AnnealingSchedule(torch.cat([t[:1], finer_t.flatten()]), finer_steps.flatten())


def adaptive_temperatures(
    base: LogDensity,
    target: LogDensity,
    start: Latents,
    *,
    kernel: Kernel,
    ess_share: float = 0.98,
    refine: int = 1,
    n_moves: int = 3,
    initial_step_size: float = 0.2,
    target_acceptance: float = 0.8,
    n_groups: int = 1,
    generator: torch.Generator | None = None,
    free: Latents | None = None,
) -> AnnealingSchedule:
    r"""Choose temperatures and step sizes by a pilot run.

    The next temperature is as far as the conditional effective sample size of the pilot's particles allows,

    .. math:: \frac{(\sum_i W_i v_i)^2}{\sum_i W_i v_i^2} \geq \text{ess\_share}, \quad
        v_i = e^{-(t_{k+1} - t_k) E(z_i)},

    with normalised weights W; particles are resampled when half of their effective number is gone. The step size
    follows its acceptance, move by move. K grows as 1 / sqrt(1 / ess_share - 1).

    Args:
        base: Normalised log-density, [B] nats.
        target: log base - E, [B] nats.
        start: Exact draws from the base, for the pilot alone; a few hundred or more.
        kernel: How particles move; its step size is chosen here.
        ess_share: Share that a change of temperature keeps, below 1; 0.99 costs 1.4 times as much as 0.98.
        refine: Cut every interval into so many afterwards.
        n_moves: Moves at each temperature.
        initial_step_size: Where the search for the step size starts.
        target_acceptance: Mean acceptance that the step size aims at.
        n_groups: The particles are so many groups of consecutive rows, each with a normaliser of its own; a
            temperature must suit the worst.
        generator: Source of the noise; the global stream if None.
        free: Masks, 1 where a latent moves and 0 where it is clamped.

    Raises:
        ConfigError: If an option is out of its range.
        NonFiniteError: If a log-density is not finite, or the path needs too many temperatures.

    Source: Zhou, Johansen and Aston (2016), arXiv:1303.3123 (conditional ESS and adaptive temperatures).
    """
    if not (
        0 < ess_share < 1 and 0 < target_acceptance < 1 and n_moves > 0 and len(start[0]) % n_groups == 0
    ):
        raise ConfigError(
            f"`ess_share` ({ess_share}) and `target_acceptance` ({target_acceptance}) must lie between 0 and 1, "
            f"`n_moves` ({n_moves}) be positive, and the {len(start[0])} particles make {n_groups} equal groups."
        )
    path = AnnealingPath(base, target)
    point = path.evaluate(start)
    log_weights = point.log_ratio.new_zeros(n_groups, len(start[0]) // n_groups)
    temperatures, log_step = [0.0], math.log(initial_step_size)
    step_sizes: list[float] = []
    n_burn_in = 5 * n_moves  # the first temperature looks for its step size from far away
    while temperatures[-1] < 1:
        ratio = point.log_ratio.view_as(log_weights)
        t = _next_temperature(temperatures[-1], ratio, log_weights, ess_share)
        log_weights = log_weights + (t - temperatures[-1]) * ratio
        point, log_weights = _resample_if_poor(point, log_weights, generator)
        for _ in range(n_moves + (0 if step_sizes else n_burn_in)):
            step_size = math.exp(log_step)
            point, accepted = path.move(point, t, kernel, step_size=step_size, generator=generator, free=free)
            log_step += accepted.item() - target_acceptance
        temperatures.append(t)
        step_sizes.append(math.exp(log_step))
        _require_progress(temperatures)
    schedule = AnnealingSchedule(_float64(temperatures), _float64(step_sizes))
    return schedule.refine(refine)


def resample_rows(log_weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """Systematic resampling within each row of weights [G, P]: indices [G * P] of consecutive rows, sorted.

    Copies of one particle are neighbours, and a particle of weight W has between floor and ceil of W P of them.
    """
    n_groups, n = log_weights.shape
    edges = log_weights.softmax(1).cumsum(1)
    offsets = torch.rand(n_groups, 1, generator=generator, dtype=edges.dtype, device=edges.device)
    places = (torch.arange(n, dtype=edges.dtype, device=edges.device) + offsets) / n
    picks = torch.searchsorted(edges, places).clamp(max=n - 1)
    return (picks + n * torch.arange(n_groups, device=edges.device)[:, None]).flatten()


def _next_temperature(t: float, log_ratio: Tensor, log_weights: Tensor, ess_share: float) -> float:
    """The largest next temperature at which the worst group keeps its share, by bisection."""
    log_w = log_weights.log_softmax(1)

    def kept(step: float) -> float:
        first, second = (torch.logsumexp(log_w + k * step * log_ratio, 1) for k in (1, 2))
        return (2 * first - second).min().exp().item()

    low, high = 0.0, 1.0 - t
    if kept(high) >= ess_share:
        return 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if kept(middle) >= ess_share else (low, middle)
    return t + high


def _resample_if_poor(
    point: PathPoint, log_weights: Tensor, generator: torch.Generator | None
) -> tuple[PathPoint, Tensor]:
    """Resample the groups whose effective number has fallen below half."""
    effective = 1 / log_weights.softmax(1).square().sum(1)
    poor = effective < log_weights.shape[1] / 2
    if not poor.any():
        return point, log_weights
    stay = torch.arange(log_weights.numel(), device=log_weights.device).view_as(log_weights)
    picks = torch.where(poor[:, None], resample_rows(log_weights, generator).view_as(stay), stay)
    return point.rows(picks.flatten()), torch.where(poor[:, None], 0.0, log_weights)


def _float64(numbers: list[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64, device="cpu")


def _require_progress(temperatures: list[float]) -> None:
    if len(temperatures) > MAX_TEMPERATURES or not temperatures[-1] > temperatures[-2]:
        raise NonFiniteError(
            f"the path needs more than {len(temperatures) - 1} temperatures and is at t = {temperatures[-1]:.3g}: "
            "the energy varies too much under the base; lower `ess_share` or bound the energy (`prior.lipschitz`)."
        )
