r"""What the chains say: the bias of short chains, whether they have converged, and what long ones do.

.. math::
    \text{bias} = \bar E_K - \bar E_\infty, \qquad \text{in sd: } \frac{\bar E_K - \bar E_\infty}{\mathrm{sd}_\infty(E)}

with :math:`\bar E_K` the mean energy of the run's own chains of K steps from base draws, and the index ∞ the second
half of the chains, from all starts, of the **reference**: the exact sampler with the least R-hat, over the chains of
all its starts together, where that is below 1.05. Without one there is no bias, only a provisional one.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.evaluation.chain_traces import Diagnostics, Trace, diagnose

__all__ = [
    "MAX_ENERGY_BIAS",
    "MAX_FD_RATIO",
    "MAX_RHAT",
    "RULE",
    "LongRun",
    "converged",
    "energy_bias",
    "long_run",
    "pick_reference",
]

MAX_RHAT = 1.05
MAX_ENERGY_BIAS = 0.25
MAX_FD_RATIO = 1.15
RULE = (
    f"true where an exact sampler has converged (R-hat below {MAX_RHAT} over the chains of all its starts), the mean "
    f"energy after K steps is within {MAX_ENERGY_BIAS} of its standard deviations of its long-run mean, and the "
    f"Fréchet distances after K and 10 K steps are within a factor of {MAX_FD_RATIO} of each other"
)


@dataclass(frozen=True)
class LongRun:
    """The second halves of an exact sampler's chains, all starts together.

    Args:
        mean: Mean energy, nats.
        sd: Standard deviation of the energy, nats.
        rhat: The greatest split R-hat, of the energy and of every latent.
        ess: The least bulk effective sample size, of the chains that were looked at.
    """

    mean: float
    sd: float
    rhat: float
    ess: float


def long_run(traces: Mapping[str, Trace], level_dims: tuple[int, ...]) -> LongRun | None:
    """Join the chains of one sampler over its starts; None if any start diverged or has too few draws."""
    parts = list(traces.values())
    if not parts or any(trace.diverged_at is not None or not len(trace.draws) for trace in parts):
        return None
    draws = torch.cat([trace.draws for trace in parts], dim=1)
    looked_at = torch.cat([trace.draw_energies[:, : trace.draws.shape[1]] for trace in parts], dim=1)
    found: Diagnostics | None = diagnose(draws, looked_at, level_dims)
    if found is None:
        return None
    energies: Tensor = torch.cat([trace.draw_energies for trace in parts], dim=1).double()
    return LongRun(energies.mean().item(), energies.std().item(), found.worst_rhat, found.worst_ess)


def pick_reference(candidates: Mapping[str, LongRun]) -> tuple[str | None, bool]:
    """The exact sampler with the least R-hat, and whether that is small enough."""
    if not candidates:
        return None, False
    name = min(candidates, key=lambda key: candidates[key].rhat)
    return name, candidates[name].rhat < MAX_RHAT


def energy_bias(mean: float, reference: LongRun) -> tuple[float, float]:
    """How far a mean energy lies above the long run's, in nats and in its standard deviations."""
    bias = mean - reference.mean
    return bias, bias / reference.sd if reference.sd > 0 else (
        0.0 if bias == 0 else math.copysign(math.inf, bias)
    )


def converged(
    *, is_certified: bool, bias_in_sd: float | None, fd_at_k: float | None, fd_at_10k: float | None
) -> tuple[bool, list[str]]:
    """Whether K steps have converged, by :data:`RULE`; and in words what speaks against it.

    Args:
        is_certified: Whether the long run itself has converged.
        bias_in_sd: Energy bias after K steps in long-run standard deviations; None if there is no long run.
        fd_at_k: Fréchet distance after K steps; None if the chains diverged before.
        fd_at_10k: The same after 10 K.
    """
    against = []
    if not is_certified:
        against.append(
            f"no exact sampler reached an R-hat below {MAX_RHAT}, so nothing shows where chains end"
        )
    if bias_in_sd is not None and not abs(bias_in_sd) < MAX_ENERGY_BIAS:
        side = "above" if bias_in_sd > 0 else "below"
        against.append(
            f"the mean energy is {abs(bias_in_sd):.2g} standard deviations {side} that of long runs"
        )
    if fd_at_k is None or fd_at_10k is None:
        against.append("the chains leave the finite numbers before ten times as many steps")
    else:
        ratio = max(fd_at_k, fd_at_10k) / max(min(fd_at_k, fd_at_10k), 1e-12)
        if ratio > MAX_FD_RATIO:
            word = "grows" if fd_at_10k > fd_at_k else "falls"
            against.append(
                f"ten times as many steps change the samples: their Fréchet distance {word} by a factor of {ratio:.3g}"
            )
    return not against, against
