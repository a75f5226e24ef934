r"""Warm-up: tune a step size to a wanted acceptance by dual averaging.

With α_m the acceptance of warm-up move m, averaged over the chains, and δ the wanted one:

.. math::
    \bar h_m = \Big(1 - \frac{1}{m + t_0}\Big) \bar h_{m-1} + \frac{\delta - \alpha_m}{m + t_0}, \qquad
    \log \eta_m = \mu - \frac{\sqrt m}{\gamma} \bar h_m

.. math::
    \log \bar\eta_m = m^{-\kappa} \log \eta_m + (1 - m^{-\kappa}) \log \bar\eta_{m-1}, \qquad
    \mu = \log(10\, \eta_0)

**Adaptation ends before draws are kept**: a kernel that looks at its own past does not have the target as its
stationary law. The step size that comes back is a fixed number for :func:`~hebm.samplers.run_chain`.
"""

import math
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from hebm.errors import ConfigError
from hebm.latents import Latents
from hebm.randomness import NoiseSource
from hebm.samplers.langevin import LogDensity
from hebm.samplers.long_run import AnyKernel, State
from hebm.samplers.metropolis import require_positive

__all__ = ["HMC_ACCEPTANCE", "MALA_ACCEPTANCE", "Adaptation", "adapt_step_size"]

MALA_ACCEPTANCE = (
    0.574  # Roberts and Rosenthal (1998), J. R. Statist. Soc. B 60(1): optimal in high dimension
)
HMC_ACCEPTANCE = 0.8
SHRINKAGE, DELAY, FORGETTING = 0.05, 10, 0.75  # γ, t_0 and κ of the paper


class Adaptation(NamedTuple, Generic[State]):
    """Where the warm-up ended, the step size to keep from now on, and each move's mean acceptance [n_steps]."""

    state: State
    step_size: float
    acceptance: Tensor


def adapt_step_size(
    kernel: AnyKernel[State],
    log_density: LogDensity,
    state: State,
    *,
    n_steps: int,
    initial_step_size: float,
    target_acceptance: float = MALA_ACCEPTANCE,
    generator: NoiseSource = None,
    free: Latents | None = None,
) -> Adaptation[State]:
    """Run a warm-up of n_steps moves, all chains with one common step size.

    Args:
        kernel: A kernel with a Metropolis test: without one every step size is accepted, and it grows until the
            chains are lost. Of parallel tempering the cold replica's acceptance counts.
        log_density: Target up to a constant, [B] nats.
        state: Where the chains start; their warm-up is this run.
        n_steps: Moves; some hundreds.
        initial_step_size: Where the search starts, in the kernel's own unit (η of MALA, ε of HMC).
        target_acceptance: δ, between 0 and 1; 0.574 for MALA, 0.8 for HMC.
        generator: Source of the noise; the global stream if None.
        free: Masks of the latents that move.

    Raises:
        ConfigError: If a count, the first step size or the wanted acceptance is out of range.

    Source: Hoffman and Gelman (2014), J. Mach. Learn. Res. 15, arXiv:1111.4246, section on dual averaging.
    """
    require_positive("n_steps", n_steps)
    require_positive("initial_step_size", initial_step_size)
    if not 0 < target_acceptance < 1:
        raise ConfigError(f"`target_acceptance` is {target_acceptance}; give a number between 0 and 1.")
    centre = math.log(10 * initial_step_size)
    log_step, averaged, shortfall, trace = math.log(initial_step_size), 0.0, 0.0, []
    for m in range(1, n_steps + 1):
        state, info = kernel.step(
            log_density, state, step_size=math.exp(log_step), generator=generator, free=free
        )
        trace.append(info.acceptance.mean())
        shortfall += (target_acceptance - trace[-1].item() - shortfall) / (m + DELAY)
        log_step = centre - math.sqrt(m) / SHRINKAGE * shortfall
        averaged += m**-FORGETTING * (log_step - averaged)
    return Adaptation(state, math.exp(averaged), torch.stack(trace))
