r"""log Z of a prior as an interval: by plain importance weights where they are good, otherwise by annealing.

.. math:: \log Z = \log E_{p_0(z)} \exp(-E(z))
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hebm.config import LikelihoodConfig
from hebm.models import JointModel
from hebm.priors import Prior, base_of
from hebm.randomness import named_generator
from hebm.samplers import HMC, bracket_log_normalizer, importance_log_normalizer

__all__ = ["ERRORS", "Interval", "LogZ", "annealing_kernel", "interval_around", "measure_log_z"]

ERRORS = 2.0  # standard errors on either side
BLOCK = 10_000
LEAPFROG_STEP = 0.2  # where the pilot's search for the step size starts

Interval = tuple[float, float]


@dataclass(frozen=True)
class LogZ:
    """log Z in nats.

    Args:
        method: ``none`` (the prior is normalised), ``importance`` or ``annealed``.
        interval: From the lower bound to the upper, widened by two standard errors on either side.
        lower: Lower bound in expectation; the estimate itself if it comes from importance weights.
        upper: Upper bound in expectation, as good as the draws it starts from; the same.
        lower_se: Standard error of the lower bound.
        upper_se: Standard error of the upper bound.
        ess: Effective number of (forward) weights.
        n: Number of weights.
        n_temperatures: Temperatures of the annealing.
    """

    method: Literal["none", "importance", "annealed"]
    interval: Interval
    lower: float
    upper: float
    lower_se: float = 0.0
    upper_se: float = 0.0
    ess: float | None = None
    n: int = 0
    n_temperatures: int = 0

    def under(self, value: float) -> Interval:
        """The interval of value - log Z: the upper log Z gives the lower end."""
        return value - self.interval[1], value - self.interval[0]

    def to_json(self) -> dict[str, Any]:
        """All fields, but the interval."""
        return {key: value for key, value in asdict(self).items() if key != "interval"}


def measure_log_z(model: JointModel, settings: LikelihoodConfig, *, seed: int) -> LogZ:
    """log Z of a model's prior; exactly zero where it has no energy.

    Args:
        model: The model, on its device.
        settings: Numbers of draws and particles.
        seed: The user's seed.

    Raises:
        NonFiniteError: If a weight is not finite.
    """
    if model.prior.energy is None:
        return LogZ("none", (0.0, 0.0), 0.0, 0.0)
    like = next(model.parameters())
    return _by_importance(model.prior, like, settings, seed) or _by_annealing(
        model.prior, like, settings, seed
    )


def interval_around(lower: float, upper: float, lower_se: float, upper_se: float) -> Interval:
    """Two bounds with their errors as an interval; bounds that have crossed are put in order."""
    low, low_se, high, high_se = (
        (lower, lower_se, upper, upper_se) if lower <= upper else (upper, upper_se, lower, lower_se)
    )
    return low - ERRORS * low_se, high + ERRORS * high_se


def annealing_kernel(settings: LikelihoodConfig) -> HMC:
    """How particles move; a pilot adapts the step size."""
    return HMC(LEAPFROG_STEP, settings.n_leapfrog)


@torch.no_grad()
def _by_importance(prior: Prior, like: Tensor, settings: LikelihoodConfig, seed: int) -> LogZ | None:
    """The weights exp(-E) of base draws, in blocks with a generator each; None if too few of them count."""
    assert prior.energy is not None
    log_weights = []
    for block in range(-(-settings.n_base_draws // BLOCK)):
        generator = named_generator(seed, "log_z", block, device=like.device)
        draws = prior.sample_base(BLOCK, like=like, generator=generator)
        log_weights.append(-prior.energy(draws))
    weights = torch.cat(log_weights)[: settings.n_base_draws]
    estimate = importance_log_normalizer(weights)
    if estimate.ess.item() < settings.min_ess_share * len(weights):
        return None
    value, se = estimate.log_normalizer.item(), estimate.se.item()
    interval = interval_around(value, value, se, se)
    return LogZ("importance", interval, value, value, se, se, estimate.ess.item(), len(weights))


def _by_annealing(prior: Prior, like: Tensor, settings: LikelihoodConfig, seed: int) -> LogZ:
    generator = named_generator(seed, "log_z", "annealed", device=like.device)
    bracket = bracket_log_normalizer(
        base_of(prior).density(),
        prior.density(),
        lambda n: prior.sample_base(n, like=like, generator=generator),
        kernel=annealing_kernel(settings),
        n_particles=settings.n_particles,
        n_pilot=settings.n_pilot,
        ess_share=settings.ess_share,
        n_equilibrate=settings.n_equilibrate,
        generator=generator,
    )
    parts = (bracket.lower, bracket.upper, bracket.lower_se, bracket.upper_se)
    lower, upper, lower_se, upper_se = (part.item() for part in parts)
    return LogZ(
        "annealed",
        interval_around(lower, upper, lower_se, upper_se),
        lower,
        upper,
        lower_se,
        upper_se,
        ess=bracket.ess.item(),
        n=settings.n_particles,
        n_temperatures=bracket.n_temperatures,
    )
