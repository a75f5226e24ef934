r"""The bound that generator and encoder follow.

.. math:: -\mathrm{ELBO}(x) = \underbrace{-E_q \log p(x|z)}_{\text{distortion}}
          + \underbrace{\sum_l KL(q(z_l|x) \| p_0(z_l))}_{\text{rate to the base}} + E_q[E(z)] + \log Z

log Z depends on neither generator nor encoder and is left out; under an energy prior the value is therefore
the negative bound up to log Z.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hebm.latents import Latents

__all__ = ["ElboTerms", "autoencoder_loss"]


class ElboTerms(NamedTuple):
    """Per-item terms, each [B] nats: distortion, rate per level (top first), and energy of the posterior sample."""

    distortion: Tensor
    rate_per_level: Latents
    energy: Tensor


def autoencoder_loss(
    terms: ElboTerms, *, kl_weight: float = 1.0, free_bits: tuple[float, ...] = ()
) -> Tensor:
    r"""What generator and encoder minimise, per item, [B] nats.

    .. math:: \mathrm{distortion} + w \Big[\sum_l \max(\mathrm{rate}_l, \lambda_l) + E(z)\Big]

    Args:
        terms: The terms of the bound.
        kl_weight: w in [0, 1], raised during warm-up; 1 is the bound.
        free_bits: λ_l in nats per level, top first: rate below it is not punished. Per item, so that it does not
            depend on how a batch is split. Empty: none.

    Source: arXiv:2310.09604; free bits after Kingma et al. (2016), arXiv:1606.04934.
    """
    rates = terms.rate_per_level
    if free_bits:
        rates = tuple(rate.clamp(min=bits) for rate, bits in zip(rates, free_bits, strict=True))
    return terms.distortion + kl_weight * (torch.stack(rates).sum(0) + terms.energy)
