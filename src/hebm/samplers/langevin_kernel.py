r"""Unadjusted Langevin dynamics as a kernel.

.. math:: z' = z + \eta \nabla \log p(z) + \sqrt{2 \eta \tau}\,\epsilon, \quad \epsilon \sim N(0, I)

:func:`~hebm.samplers.langevin_step` is the same move on bare positions. The stationary law is biased by the finite
step: on N(0, s²) with τ = 1 its variance is s² / (1 - η / 2s²).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.latents import Latents
from hebm.randomness import NoiseSource, standard_normal
from hebm.samplers.base import ChainState, MoveInfo, evaluate_state
from hebm.samplers.langevin import LogDensity
from hebm.samplers.metropolis import column, hold, require_positive

__all__ = ["UnadjustedLangevin"]


@dataclass(frozen=True)
class UnadjustedLangevin:
    r"""Unadjusted Langevin moves; one evaluation of the target each, at the new position.

    Args:
        step_size: The step :math:`\eta > 0`, in squared units of the latents.
        temperature: :math:`\tau \geq 0`; 1 samples the target, 0 is gradient ascent.

    Raises:
        ConfigError: If the step size is not positive.

    Source: Nijkamp et al. (2019), arXiv:1904.09770
    """

    step_size: float
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("step_size", self.step_size)

    def step(
        self,
        log_density: LogDensity,
        state: ChainState,
        *,
        step_size: float | Tensor | None = None,
        generator: NoiseSource = None,
        free: Latents | None = None,
    ) -> tuple[ChainState, MoveInfo]:
        """Move every chain once (arguments: :class:`~hebm.samplers.Kernel`).

        Nothing is ever rejected: the acceptance is 1, and the energy error, which nobody measures, is given as 0.

        Raises:
            NonFiniteError: If a new position or the log-density there is not finite.
        """
        eta = column(self.step_size if step_size is None else step_size)
        noise_scale = (2 * eta * self.temperature) ** 0.5
        changes = tuple(
            eta * grad + noise_scale * standard_normal(z, generator)
            for z, grad in zip(state.latents, state.grads, strict=True)
        )
        moved = tuple(z + change for z, change in zip(state.latents, hold(changes, free), strict=True))
        ones = torch.ones_like(state.log_density)
        return evaluate_state(log_density, moved), MoveInfo(ones, ones.bool(), torch.zeros_like(ones))
