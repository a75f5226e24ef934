r"""The distortion-distortion curve of a latent attack, and the area under it (AUDDC).

With x̂ the reconstruction of x, and |·| the Euclidean norm over all pixels,

.. math:: u = \frac{|x_a - x|}{|x_t - x|}, \qquad
    v = \frac{|\hat x_a - x_t| - |\hat x_t - x_t|}{|\hat x - x_t| - |\hat x_t - x_t|}

u is what the attacker spends, v what remains between the reconstruction and the attacker's target: 1 without an
attack, 0 where the reconstruction is as good as that of the target itself. The curve goes straight from (0, 1), which
is no attack, through the attacks of all penalties in the order of u; those with u > 1 are left out. After the last one
it stays at the lowest v so far, because a larger budget need not be spent. Its area over [0, 1] is the AUDDC:
**higher is more robust**.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hebm.errors import ImageShapeError, NonFiniteError

__all__ = ["DistanceCurve", "Reconstructions", "distance_curves"]

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class DistanceCurve:
    """The curve of one pair of images: its corners, in the order of u.

    Args:
        spent: u of the corners, from 0 to 1, [K].
        remaining: v of the corners, [K].
    """

    spent: Numbers
    remaining: Numbers

    @property
    def area(self) -> float:
        """The AUDDC, by trapezoids."""
        return float(np.trapezoid(self.remaining, self.spent))

    def at(self, budgets: Numbers) -> Numbers:
        """v at given u between 0 and 1, on straight lines between the corners."""
        return np.interp(budgets, self.spent, self.remaining)


@dataclass(frozen=True)
class Reconstructions:
    """What the system under attack makes of its inputs, all in [0, 1].

    Args:
        original: Of the originals x, [P, C, H, W].
        target: Of the targets x_t, [P, C, H, W].
        attacked: Of the attacked images, [P, K, C, H, W]: K penalties per pair.
    """

    original: Tensor
    target: Tensor
    attacked: Tensor


def distance_curves(
    original: Tensor, target: Tensor, attacked: Tensor, reconstructions: Reconstructions
) -> list[DistanceCurve | None]:
    """The curve of every pair.

    Args:
        original: x, [P, C, H, W] in [0, 1].
        target: x_t, [P, C, H, W].
        attacked: x_a of K penalties, [P, K, C, H, W].
        reconstructions: What became of them.

    Returns:
        A curve per pair; None where v has no meaning, because the original's reconstruction is no further from the
        target than the target's own.

    Raises:
        ImageShapeError: If the shapes do not fit together, or the two images of a pair are equal.
        NonFiniteError: If a distance is not finite.

    Source: Gondim-Ribeiro et al. (2018), arXiv:1806.04646, and the authors' released code; the corner (0, 1) is ours,
        where they have penalties so large that nothing moves.
    """
    expected = {(*original.shape[:1], *attacked.shape[1:2], *original.shape[1:])}
    if {tuple(attacked.shape), tuple(reconstructions.attacked.shape)} != expected:
        raise ImageShapeError(
            f"attacked images and their reconstructions of shape {list(*expected)} are expected, but "
            f"{list(attacked.shape)} and {list(reconstructions.attacked.shape)} came."
        )
    apart = _norm(target - original)
    if not (apart > 0).all():
        raise ImageShapeError("a pair consists of two equal images; choose other pairs.")
    spent = _norm(attacked - original[:, None]) / apart[:, None]
    floor = _norm(reconstructions.target - target)
    room = _norm(reconstructions.original - target) - floor
    left = _norm(reconstructions.attacked - target[:, None]) - floor[:, None]
    if not np.isfinite(np.concatenate([spent, left], axis=None)).all():
        raise NonFiniteError("a distance between images is not finite; look at the reconstructions.")
    return [_curve(u, v / r) if r > 0 else None for u, v, r in zip(spent, left, room, strict=True)]


def _norm(difference: Tensor) -> Numbers:
    """Norms of the images behind the last three axes, in float64."""
    norms: Numbers = difference.double().flatten(-3).norm(dim=-1).cpu().numpy()
    return norms


def _curve(spent: Numbers, remaining: Numbers) -> DistanceCurve:
    order = np.argsort(spent, kind="stable")
    order = order[spent[order] <= 1]
    u, v = np.r_[0.0, spent[order]], np.r_[1.0, remaining[order]]
    lowest = v.min()
    return DistanceCurve(np.r_[u, u[-1], 1.0], np.r_[v, lowest, lowest])
