r"""The loss that the energy follows: lower it on data-side latents, raise it on the prior's own samples.

.. math:: \nabla_\alpha KL = E_q[\nabla_\alpha E(z)] - E_{p_\alpha}[\nabla_\alpha E(z)]
"""

from torch import Tensor

__all__ = ["contrastive_loss"]


def contrastive_loss(energy_data: Tensor, energy_prior: Tensor, *, l2: float = 0.0) -> Tensor:
    r"""What the energy's parameters minimise, per pair of items, [B] nats.

    .. math:: E(z^+) - E(z^-) + \lambda [E(z^+)^2 + E(z^-)^2]

    Args:
        energy_data: Energies of posterior samples, [B].
        energy_prior: Energies of prior samples, [B].
        l2: λ, the weight of the energies' squares, which keeps their level from drifting. It biases the energy.

    Source: arXiv:2310.09604; the square as in Du and Mordatch (2019), arXiv:1903.08689.
    """
    gap = energy_data - energy_prior
    return gap + l2 * (energy_data.square() + energy_prior.square()) if l2 > 0 else gap
