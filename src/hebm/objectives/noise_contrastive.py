r"""Noise-contrastive estimation: a logistic classifier whose logit is a log-ratio of densities.

.. math:: \max_f\; E_q[\log s(f(z))] + E_{p}[\log s(-f(z))], \qquad f^* = \log q - \log p, \quad s(f) = 1 / (1 + e^{-f})
"""

import torch.nn.functional as F
from torch import Tensor

__all__ = ["noise_contrastive_loss"]


def noise_contrastive_loss(energy_data: Tensor, energy_noise: Tensor) -> Tensor:
    r"""What a stage minimises, per pair of items, [B] nats; the logit is f = -E, so that low energy says "data".

    .. math:: \log(1 + e^{E(z^+)}) + \log(1 + e^{-E(z^-)})

    Args:
        energy_data: Energies of data-side latents, [B].
        energy_noise: Energies of as many draws of the density that the stage refines, [B].

    Source: Gutmann and Hyvärinen (2010), AISTATS.
    """
    return F.softplus(energy_data) + F.softplus(-energy_noise)
