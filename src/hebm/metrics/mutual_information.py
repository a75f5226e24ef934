r"""Mutual information of codes with labels, and of codes with the images they come from; in nats.

.. math:: I(z; y) = H(y) - H(y|z) \ge H(y) - \mathrm{CE}

The cross-entropy CE of any classifier that sees z bounds H(y|z) from above, on items it was not trained on.

.. math:: I(i; z) = \frac1N \sum_i E_{q(z|x_i)} \Big[\log q(z|x_i) - \log \frac1N \sum_j q(z|x_j)\Big] \le \log N

is how much a draw of q(z|x_i) tells which of N images it came from; the mixture is the aggregate posterior. It is
at most log N: an estimate near that ceiling says only that N is too small. As an estimate of I(x; z) over all
images it is too low in expectation.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score
from torch import Tensor

from hebm.errors import NonFiniteError
from hebm.metrics.inputs import ArrayLike, MetricInputError, as_features

__all__ = [
    "ImageInformation",
    "discrete_information",
    "entropy",
    "image_information",
    "label_information",
]

_ROWS = 500


class ImageInformation(NamedTuple):
    """Estimate of I(i; z) with its standard error, and the ceiling log N; nats."""

    value: float
    se: float
    ceiling: float


def entropy(labels: ArrayLike) -> float:
    r"""Plug-in entropy of discrete labels [N], :math:`-\sum_k p_k \log p_k` in nats."""
    _, counts = np.unique(np.asarray(labels), return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def label_information(cross_entropy: float, labels: ArrayLike) -> float:
    r"""A lower bound on I(z; y): :math:`H(y) - \mathrm{CE}`, nats; negative where the classifier misleads.

    Args:
        cross_entropy: Mean of -log p(y|z) over items that the classifier was not trained on, nats.
        labels: Labels of the same items, [N].
    """
    return entropy(labels) - cross_entropy


def image_information(values: ArrayLike, means: ArrayLike, scales: ArrayLike) -> ImageInformation:
    r"""Estimate how much one draw each of N diagonal normals tells about which it came from.

    Args:
        values: A draw of every posterior, [N, D].
        means: Their means, [N, D].
        scales: Their standard deviations, [N, D], positive.

    Raises:
        MetricInputError: If the shapes differ, a scale is not positive, or there are fewer than two rows.
        NonFiniteError: If a number is not finite.
    """
    z, mean, scale = (
        as_features(array, name) for array, name in ((values, "values"), (means, "means"), (scales, "scales"))
    )
    if not (z.shape == mean.shape == scale.shape) or len(z) < 2 or not (scale > 0).all():
        raise MetricInputError(
            "values, means and scales must be [N, D] alike, with N > 1 and scales above 0, got "
            f"{list(z.shape)}, {list(mean.shape)} and {list(scale.shape)}."
        )
    n = len(z)
    per_item = torch.cat(
        [_log_density_ratio(z[rows], rows, mean, scale) for rows in torch.split(torch.arange(n), _ROWS)]
    )
    if not torch.isfinite(per_item).all():
        raise NonFiniteError("the information of some image is not finite; look at the posteriors' scales.")
    return ImageInformation(per_item.mean().item(), per_item.std().item() / n**0.5, math.log(n))


def _log_density_ratio(z: Tensor, rows: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """log q_i(z_i) - log mean_j q_j(z_i) of some rows, [b]; constants cancel."""
    precision = scale.pow(-2)
    squares = z.square() @ precision.T - 2 * z @ (mean * precision).T + (mean.square() * precision).sum(1)
    log_density = -0.5 * squares - scale.log().sum(1)
    own = log_density[torch.arange(len(z)), rows]
    return own - (log_density.logsumexp(1) - math.log(len(mean)))


def discrete_information(codes: ArrayLike, factors: ArrayLike, *, n_bins: int = 20) -> NDArray[np.float64]:
    """Mutual information of every code with every factor, codes cut into bins of equal width.

    The plug-in estimate; it is biased upwards by about (bins - 1)(values - 1) / 2N nats.

    Args:
        codes: [N, D].
        factors: Discrete, [N, F].
        n_bins: Bins between a code's least and greatest value.

    Returns:
        [D, F] nats.

    Raises:
        MetricInputError: If the shapes do not fit.
        NonFiniteError: If a code is not finite.
    """
    values, discrete = as_features(codes, "codes").numpy(), np.asarray(factors)
    check_factors(len(values), discrete)
    binned = [_binned(column, n_bins) for column in values.T]
    return np.array([[mutual_info_score(factor, code) for factor in discrete.T] for code in binned])


def check_factors(n_codes: int, factors: NDArray[np.generic]) -> None:
    """Refuse factors that are not [N, F] beside N codes, or of which one has a single value."""
    if factors.ndim != 2 or len(factors) != n_codes or factors.shape[1] == 0:
        raise MetricInputError(
            f"factors must be [{n_codes}, F], one row per code, got {list(factors.shape)}."
        )
    if (factors == factors[0]).all(0).any():
        raise MetricInputError("a factor has one value only, so nothing can tell about it; leave it out.")


def _binned(code: NDArray[np.float64], n_bins: int) -> NDArray[np.int64]:
    low, high = code.min(), code.max()
    edges = np.linspace(low, high, n_bins + 1)[1:-1]
    return np.digitize(code, edges)
