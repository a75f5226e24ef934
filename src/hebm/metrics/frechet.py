r"""Fréchet distance between two Gaussians fitted to features.

.. math:: d^2 = |\mu_a - \mu_b|^2 + \mathrm{tr}\left(S_a + S_b - 2 (S_a S_b)^{1/2}\right)

This is the *squared* 2-Wasserstein distance, the quantity the field reports under the name FID when the
features are those of the standard Inception network.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hebm.metrics.inputs import ArrayLike, MetricInputError, as_features

__all__ = ["GaussianStatistics", "frechet_distance"]


class GaussianStatistics:
    r"""Mean and covariance of features, in float64, one batch at a time.

    Two sets of n and m rows merge exactly, with :math:`\delta = \mu_m - \mu_n`:

    .. math:: \mu = \mu_n + \tfrac{m}{n+m}\,\delta, \qquad M = M_n + M_m + \tfrac{nm}{n+m}\,\delta\delta^\top

    where M is the scatter :math:`\sum_i (x_i - \mu)(x_i - \mu)^\top`. Nothing is subtracted from a sum of
    squares, so a large mean costs no digits.

    Args:
        dim: Number of features D.

    Source: Chan, Golub, LeVeque (1983), The American Statistician 37(3), eq. (2.1).
    """

    def __init__(self, dim: int) -> None:
        self.n = 0
        self._mean = torch.zeros(dim, dtype=torch.float64)
        self._scatter = torch.zeros(dim, dim, dtype=torch.float64)

    @classmethod
    def of(cls, features: ArrayLike) -> "GaussianStatistics":
        """Statistics of one array, [N, D]."""
        checked = as_features(features, "features")
        statistics = cls(checked.shape[1])
        statistics.update(checked)
        return statistics

    @property
    def dim(self) -> int:
        """Number of features D."""
        return len(self._mean)

    @property
    def mean(self) -> Tensor:
        """Mean, [D]."""
        if self.n < 1:
            raise MetricInputError("a mean needs at least 1 sample, got 0.")
        return self._mean.clone()

    @property
    def covariance(self) -> Tensor:
        """Unbiased covariance (divided by n - 1), [D, D]."""
        if self.n < 2:
            raise MetricInputError(f"a covariance needs at least 2 samples, got {self.n}.")
        return self._scatter / (self.n - 1)

    def update(self, features: ArrayLike) -> None:
        """Take in a batch, [B, D]; an empty one changes nothing."""
        batch = as_features(features, "features")
        if len(batch) == 0:
            return
        mean = batch.mean(0)
        centred = batch - mean
        self._absorb(len(batch), mean, centred.T @ centred)

    def merge(self, other: "GaussianStatistics") -> "GaussianStatistics":
        """Statistics of both sets of rows together; neither operand is changed."""
        merged = GaussianStatistics(self.dim)
        for part in (self, other):
            merged._absorb(part.n, part._mean, part._scatter)
        return merged

    def to_arrays(self) -> dict[str, NDArray[np.float64]]:
        """Plain arrays for a ``.npz`` or safetensors file: ``n``, ``mean`` [D] and ``scatter`` [D, D]."""
        return {
            "n": np.array([self.n], dtype=np.float64),
            "mean": self._mean.numpy().copy(),
            "scatter": self._scatter.numpy().copy(),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.float64]]) -> "GaussianStatistics":
        """Read back what :meth:`to_arrays` gave."""
        missing = {"n", "mean", "scatter"} - set(arrays)
        if missing:
            raise MetricInputError(f"statistics lack {sorted(missing)}; compute them again.")
        mean = as_features(arrays["mean"][None], "stored mean")[0]
        statistics = cls(len(mean))
        scatter = as_features(arrays["scatter"], "stored scatter")
        statistics._absorb(int(arrays["n"].item()), mean, scatter)
        return statistics

    def _absorb(self, n: int, mean: Tensor, scatter: Tensor) -> None:
        if scatter.shape != self._scatter.shape:
            raise MetricInputError(f"statistics are of dimension {self.dim}, got features of {len(mean)}.")
        if n == 0:
            return
        total = self.n + n
        delta = mean - self._mean
        self._scatter = self._scatter + scatter + torch.outer(delta, delta) * (self.n * n / total)
        self._mean = self._mean + delta * (n / total)
        self.n = total


def frechet_distance(a: GaussianStatistics, b: GaussianStatistics) -> float:
    r"""Squared Fréchet distance of two Gaussians.

    The trace of the root comes from symmetric matrices alone, so that it is real by construction, also
    where there are fewer samples than features:

    .. math:: \mathrm{tr}(S_a S_b)^{1/2} = \sum_i \sqrt{\lambda_i}, \quad
       \lambda = \mathrm{eig}\left(S_a^{1/2} S_b S_a^{1/2}\right)

    Eigenvalues that rounding made negative count as zero, and so does a distance below zero.

    Args:
        a: Statistics of one set of at least 2 samples.
        b: Statistics of the other, from the same extractor.

    Returns:
        The distance, in squared units of the features.

    Raises:
        MetricInputError: If a set has fewer than 2 samples or the dimensions differ.

    Source: Dowson, Landau (1982), J. Multivariate Analysis 12(3), eq. (4); Heusel et al. (2017),
    arXiv:1706.08500, eq. (6).
    """
    if a.dim != b.dim:
        raise MetricInputError(f"statistics have dimensions {a.dim} and {b.dim}; use one extractor for both.")
    cov_a, cov_b = a.covariance, b.covariance
    values, vectors = torch.linalg.eigh(cov_a)
    root_a = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    product = root_a @ cov_b @ root_a
    trace_root = torch.linalg.eigvalsh((product + product.T) / 2).clamp(min=0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + cov_a.trace() + cov_b.trace() - 2 * trace_root
    return max(float(distance), 0.0)
