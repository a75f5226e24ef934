r"""The Metropolis-adjusted Langevin algorithm: a Langevin proposal, and a test that removes its bias.

.. math::
    z' = z + \eta g + \sqrt{2\eta}\,\epsilon, \qquad g = \nabla \log p(z), \quad g' = \nabla \log p(z')

.. math::
    r = \log p(z') - \log p(z) - \tfrac{1}{2} (g + g')^\top (z' - z) - \tfrac{\eta}{4} (|g'|^2 - |g|^2)

r is the log-ratio of target and proposal, q(z' | z) = N(z + ηg, 2ηI), with the squares multiplied out: it needs no
division by η, and its terms are small where the step is.
"""

from dataclasses import dataclass

from torch import Tensor

from hebm.latents import Latents
from hebm.randomness import NoiseSource, standard_normal
from hebm.samplers.base import ChainState, MoveInfo
from hebm.samplers.langevin import LogDensity, value_and_grad
from hebm.samplers.metropolis import chain_dot, column, hold, metropolis, require_positive

__all__ = ["MALA"]


@dataclass(frozen=True)
class MALA:
    r"""Metropolis-adjusted Langevin moves; one evaluation of the target each, at the proposal.

    Args:
        step_size: The step :math:`\eta > 0`, in squared units of the latents.

    Raises:
        ConfigError: If the step size is not positive.

    Source: Roberts and Tweedie (1996), Bernoulli 2(4); their step h is 2η.
    """

    step_size: float

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

        A proposal where the position, the log-density or its gradient is not finite is rejected, with acceptance 0
        and an infinite energy error. The energy error is -r: that of one leapfrog step, which this move is.
        """
        eta = self.step_size if step_size is None else step_size
        grads = hold(state.grads, free)
        noise = hold(tuple(standard_normal(z, generator) for z in state.latents), free)
        h = column(eta)
        changes = tuple(h * g + (2 * h) ** 0.5 * eps for g, eps in zip(grads, noise, strict=True))
        moved = tuple(z + change for z, change in zip(state.latents, changes, strict=True))
        proposal = ChainState(moved, *value_and_grad(log_density, moved))
        log_ratio = _log_ratio(
            state.log_density, proposal.log_density, grads, hold(proposal.grads, free), changes, eta
        )
        return metropolis(state, proposal, log_ratio, generator)


def _log_ratio(
    value: Tensor,
    new_value: Tensor,
    grads: Latents,
    new_grads: Latents,
    changes: Latents,
    eta: float | Tensor,
) -> Tensor:
    both = tuple(g + g_new for g, g_new in zip(grads, new_grads, strict=True))
    curvature = chain_dot(new_grads, new_grads) - chain_dot(grads, grads)
    return new_value - value - 0.5 * chain_dot(both, changes) - 0.25 * eta * curvature
