r"""Improved precision and recall of generated images.

The manifold of a set is the union of the balls around its points, each reaching to the point's k-th nearest
neighbour in the set. **Precision** is the share of *fake* points inside the *real* manifold (how many
pictures look right); **recall** is the share of *real* points inside the *fake* manifold (how much of the
data is covered). A model that draws one of two modes well has precision 1 and recall 1/2.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hebm.metrics.inputs import ArrayLike, MetricInputError, as_features, check_pair, random_rows

__all__ = ["PrecisionRecall", "precision_recall"]


class PrecisionRecall(NamedTuple):
    """Share of fake points in the real manifold, and of real points in the fake manifold."""

    precision: float
    recall: float


def precision_recall(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    k: int = 3,
    max_samples: int = 10_000,
    chunk: int = 1024,
    generator: torch.Generator | None = None,
) -> PrecisionRecall:
    """Measure precision and recall of ``fake`` with respect to ``real``.

    Both depend on the number of points, so the larger set is cut to the size of the smaller one (and both
    to ``max_samples``) by a random choice; values are comparable only at equal counts.

    Args:
        real: Features of real images, [N, D].
        fake: Features of generated images, [M, D].
        k: Which neighbour sets the radius; the point itself is not counted.
        max_samples: Most points used of each set.
        chunk: Rows of the distance matrix held at once; changes the memory, not the result.
        generator: Source of the choice of points, on the CPU; the global stream if None. Not used where
            both sets are of one size up to ``max_samples``.

    Raises:
        MetricInputError: If a set has no k other points, the dimensions differ, or a count is too small.
        NonFiniteError: If a feature is not finite.

    Source: Kynkäänniemi et al. (2019), arXiv:1904.06991, eq. (1) and (2).
    """
    x, y = as_features(real, "real features"), as_features(fake, "fake features")
    if k < 1 or chunk < 1:
        raise MetricInputError(f"need k >= 1 and chunk >= 1, got {k} and {chunk}.")
    n = min(len(x), len(y), max_samples)
    x, y = random_rows(x, n, generator), random_rows(y, n, generator)
    check_pair(x, y, minimum=k + 1)
    return PrecisionRecall(
        precision=_share_inside(y, manifold=x, k=k, chunk=chunk),
        recall=_share_inside(x, manifold=y, k=k, chunk=chunk),
    )


def _share_inside(points: Tensor, *, manifold: Tensor, k: int, chunk: int) -> float:
    """Share of points within some manifold point's radius."""
    radii = _squared_radii(manifold, k, chunk)
    inside = [(_squared_distances(rows, manifold) <= radii).any(1) for rows in torch.split(points, chunk)]
    return torch.cat(inside).double().mean().item()


def _squared_radii(points: Tensor, k: int, chunk: int) -> Tensor:
    """Squared distance of each point to its k-th nearest other point, [N]."""
    radii = []
    for first in range(0, len(points), chunk):
        distances = _squared_distances(points[first : first + chunk], points)
        rows = torch.arange(len(distances))
        distances[rows, first + rows] = torch.inf  # a point is no neighbour of itself
        radii.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(radii)


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|², [N, M], through one matrix product around a common centre."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    return (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T).clamp(min=0)
