r"""How far two posteriors are apart on some of their levels, in closed form.

.. math:: KL_S(q \| p) = \sum_{l \in S} KL(q_l \| p_l), \qquad
    SKL_S(q, p) = \tfrac12 KL_S(q \| p) + \tfrac12 KL_S(p \| q)

The levels of q(z|x) = ∏ q(z_l|x) are independent given x, so a sum over some levels is the divergence of their joint
law, exactly: an attack on one level needs no approximation.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from hebm.distributions import DiagonalNormal
from hebm.errors import LatentShapeError, NonFiniteError
from hebm.models import LatentPosterior

__all__ = [
    "Encode",
    "kl_over_levels",
    "require_finite_divergence",
    "require_levels",
    "symmetric_kl",
    "take_rows",
]

Encode = Callable[[Tensor], LatentPosterior]
"""Images [B, C, H, W] in [0, 1] to q(z|x), differentiable in the images."""


def kl_over_levels(q: LatentPosterior, p: LatentPosterior, levels: Collection[int]) -> Tensor:
    """KL(q ‖ p) of the given levels (0 is the top) together, [B] nats.

    Raises:
        LatentShapeError: If a level does not exist, or none is given.
    """
    require_levels(q, levels)
    return torch.stack([q[level].kl_to(p[level]) for level in levels]).sum(0)


def symmetric_kl(q: LatentPosterior, p: LatentPosterior, levels: Collection[int]) -> Tensor:
    """Mean of KL(q ‖ p) and KL(p ‖ q) of the given levels (0 is the top) together, [B] nats.

    Raises:
        LatentShapeError: If a level does not exist, or none is given.
    """
    return 0.5 * (kl_over_levels(q, p, levels) + kl_over_levels(p, q, levels))


def take_rows(posterior: LatentPosterior, rows: Tensor) -> LatentPosterior:
    """The posteriors of some images, in the order of the indices; one may come several times.

    Args:
        posterior: Of all images.
        rows: int64, on its device.
    """
    return LatentPosterior(
        tuple(DiagonalNormal(q.mean[rows], q.scale.expand_as(q.mean)[rows]) for q in posterior)
    )


def require_levels(posterior: LatentPosterior, levels: Collection[int]) -> None:
    """Refuse an attack on no level, or on one that is not there.

    Raises:
        LatentShapeError: Naming the levels there are.
    """
    if not levels or not set(levels) <= set(range(len(posterior))):
        raise LatentShapeError(
            f"an attack on levels {sorted(levels)} was asked for; name one or more of 0 (top) to "
            f"{len(posterior) - 1} (bottom)."
        )


def require_finite_divergence(values: Tensor) -> None:
    """Stop an attack whose objective is infinite or not a number.

    Raises:
        NonFiniteError: Naming how many images are lost.
    """
    if lost := int((~torch.isfinite(values)).sum()):
        raise NonFiniteError(
            f"the divergence of {lost} of {values.numel()} attacked images is not finite; the encoder's means or "
            "scales are: look at its checkpoint."
        )
