r"""Maximum likelihood of an energy on a base that is near: log Z by importance weights of draws from the base.

.. math:: -E_q[\log p(z) - \log p_0(z)] = E_q[E(z)] + \log E_{p_0}[e^{-E(z)}]
"""

import math

import torch
from torch import Tensor

__all__ = ["importance_loss"]


def importance_loss(energy_data: Tensor, energy_base: Tensor) -> Tensor:
    r"""What the energy minimises, a scalar in nats: minus the mean gain of log-density over the base.

    .. math:: \frac1n \sum_i E(z_i^+) + \log \frac1m \sum_j e^{-E(z_j^0)}

    Its gradient raises E on the base's draws in proportion to their weights. log Z of m draws is too low on average by
    about half the weights' relative variance over m.

    Args:
        energy_data: Energies of posterior samples, [n].
        energy_base: Energies of exact draws from the base, [m].
    """
    return energy_data.mean() + torch.logsumexp(-energy_base, 0) - math.log(len(energy_base))
