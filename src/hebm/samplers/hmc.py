r"""Hamiltonian Monte Carlo with a unit mass matrix and a fixed number of leapfrog steps.

.. math::
    H(z, p) = -\log p(z) + \tfrac{1}{2} |p|^2, \qquad p \sim N(0, I)

.. math::
    p \leftarrow p + \tfrac{\varepsilon}{2} \nabla \log p(z), \quad z \leftarrow z + \varepsilon p, \quad
    p \leftarrow p + \tfrac{\varepsilon}{2} \nabla \log p(z)

The end of the trajectory is accepted with probability min(1, exp(H - H')). **The step size here is the leapfrog's ε**,
in units of the latents: one leapfrog step with ε is a move of MALA with η = ε² / 2.
"""

from dataclasses import dataclass

from torch import Tensor

from hebm.latents import Latents
from hebm.randomness import NoiseSource, standard_normal
from hebm.samplers.base import ChainState, MoveInfo
from hebm.samplers.langevin import LogDensity, value_and_grad
from hebm.samplers.metropolis import chain_dot, column, hold, metropolis, require_positive

__all__ = ["DIVERGENT_ENERGY_ERROR", "HMC", "diverged", "leapfrog"]

DIVERGENT_ENERGY_ERROR = 1000.0  # nats; the threshold of Hoffman and Gelman (2014)


@dataclass(frozen=True)
class HMC:
    r"""Hamiltonian moves; ``n_leapfrog`` evaluations of the target each.

    Args:
        step_size: The leapfrog step :math:`\varepsilon > 0`, in units of the latents.
        n_leapfrog: Leapfrog steps per move, at least 1.

    Raises:
        ConfigError: If the step size or the number of steps is not positive.

    Source: Duane et al. (1987), Phys. Lett. B 195(2); Neal (2011), arXiv:1206.1901
    """

    step_size: float
    n_leapfrog: int

    def __post_init__(self) -> None:
        require_positive("step_size", self.step_size)
        require_positive("n_leapfrog", self.n_leapfrog)

    def step(
        self,
        log_density: LogDensity,
        state: ChainState,
        *,
        step_size: float | Tensor | None = None,
        generator: NoiseSource = None,
        free: Latents | None = None,
    ) -> tuple[ChainState, MoveInfo]:
        """Move every chain once (arguments: :class:`~hebm.samplers.Kernel`; the step size is ε).

        A trajectory that diverges is rejected: e^-1000 is no number that a draw can fall below. ``energy_error``
        shows it (:func:`diverged`), and is infinite where the trajectory ended outside the finite numbers.
        """
        momentum = hold(tuple(standard_normal(z, generator) for z in state.latents), free)
        proposal, end_momentum = leapfrog(
            log_density,
            state,
            momentum,
            step_size=self.step_size if step_size is None else step_size,
            n_leapfrog=self.n_leapfrog,
            free=free,
        )
        log_ratio = _energy(state, momentum) - _energy(proposal, end_momentum)
        return metropolis(state, proposal, log_ratio, generator)


def _energy(state: ChainState, momentum: Latents) -> Tensor:
    return 0.5 * chain_dot(momentum, momentum) - state.log_density


def diverged(info: MoveInfo) -> Tensor:
    """Which trajectories diverged, [B] bool: an energy error over 1000 nats, or none that is finite."""
    return info.energy_error > DIVERGENT_ENERGY_ERROR


def leapfrog(
    log_density: LogDensity,
    state: ChainState,
    momentum: Latents,
    *,
    step_size: float | Tensor,
    n_leapfrog: int,
    free: Latents | None = None,
) -> tuple[ChainState, Latents]:
    """Follow the Hamiltonian flow; reversible: from the end, with the momentum turned round, back to the start.

    Args:
        log_density: Target up to a constant, [B] nats, differentiable in the latents.
        state: Start of the trajectories, with its gradients.
        momentum: p, shaped like the latents, zero where they are clamped.
        step_size: ε, one number or one per chain [B], in units of the latents.
        n_leapfrog: Number of steps, each one evaluation of the target.
        free: Masks that broadcast to the latents, 1 where a latent moves and 0 where it is clamped.

    Returns:
        The end's state and momentum; nothing is checked, so they may not be finite.
    """
    epsilon = column(step_size)
    for _ in range(n_leapfrog):
        momentum = _shift(momentum, hold(state.grads, free), 0.5 * epsilon)
        moved = _shift(state.latents, momentum, epsilon)
        state = ChainState(moved, *value_and_grad(log_density, moved))
        momentum = _shift(momentum, hold(state.grads, free), 0.5 * epsilon)
    return state, momentum


def _shift(start: Latents, direction: Latents, amount: float | Tensor) -> Latents:
    return tuple(a + amount * b for a, b in zip(start, direction, strict=True))
