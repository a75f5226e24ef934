r"""Kernel distance: the unbiased squared maximum mean discrepancy of features under a polynomial kernel.

.. math:: k(x, y) = (x \cdot y / D + 1)^3

With the features of the standard Inception network the field calls it KID.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hebm.metrics.inputs import ArrayLike, MetricInputError, as_features, check_pair, random_rows

__all__ = ["KernelDistance", "kernel_distance", "polynomial_mmd"]


class KernelDistance(NamedTuple):
    """Mean and standard deviation of the estimate over random subsets.

    The deviation is that of *one* subset's estimate; it is no standard error of the mean, since the subsets
    share rows.
    """

    mean: float
    sd: float


def polynomial_mmd(x: Tensor, y: Tensor, *, degree: int = 3) -> float:
    r"""Estimate the squared MMD of two samples without bias; it may be negative.

    .. math:: \frac{\sum_{i \neq j} k(x_i, x_j)}{n(n-1)} + \frac{\sum_{i \neq j} k(y_i, y_j)}{m(m-1)}
       - \frac{2}{nm} \sum_{ij} k(x_i, y_j)

    Args:
        x: One sample, [n, D], n > 1.
        y: The other, [m, D], m > 1.
        degree: Power of the kernel.

    Source: Gretton et al. (2012), JMLR 13, eq. (3).
    """
    within = _mean_off_diagonal(_kernel(x, x, degree)) + _mean_off_diagonal(_kernel(y, y, degree))
    return (within - 2 * _kernel(x, y, degree).mean()).item()


def kernel_distance(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    n_subsets: int = 100,
    subset_size: int = 1000,
    degree: int = 3,
    generator: torch.Generator | None = None,
) -> KernelDistance:
    """Average the squared MMD over random subsets of both sets.

    Each subset is drawn without replacement. A ``subset_size`` above the number of rows is lowered to the
    smaller of the two counts; where it then takes in both sets whole, every subset is the same, only one is
    computed and the deviation is 0.

    Args:
        real: Features of real images, [N, D].
        fake: Features of generated images, [M, D].
        n_subsets: How many subsets.
        subset_size: Rows drawn from each set.
        degree: Power of the kernel.
        generator: Source of the subsets, on the CPU; the global stream if None.

    Raises:
        MetricInputError: If a set has fewer than 2 rows, the dimensions differ, or a count is too small.
        NonFiniteError: If a feature is not finite.

    Source: Bińkowski et al. (2018), arXiv:1801.01401, section 4.
    """
    x, y = as_features(real, "real features"), as_features(fake, "fake features")
    check_pair(x, y, minimum=2)
    if n_subsets < 1 or subset_size < 2:
        raise MetricInputError(
            f"need n_subsets >= 1 and subset_size >= 2, got {n_subsets} and {subset_size}."
        )
    size = min(subset_size, len(x), len(y))
    if size == len(x) == len(y):
        n_subsets = 1
    estimates = [
        polynomial_mmd(random_rows(x, size, generator), random_rows(y, size, generator), degree=degree)
        for _ in range(n_subsets)
    ]
    values = torch.tensor(estimates, dtype=torch.float64)
    return KernelDistance(values.mean().item(), values.std(correction=0).item())


def _kernel(x: Tensor, y: Tensor, degree: int) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** degree


def _mean_off_diagonal(matrix: Tensor) -> Tensor:
    n = len(matrix)
    return (matrix.sum() - matrix.trace()) / (n * (n - 1))
