r"""How far two samples in few dimensions are from one law: numbers with intervals, and no classifier in them.

The *energy distance* of Székely and Rizzo has nothing to do with E(z). It is zero for equal laws only:

.. math:: D = 2 E|X - Y| - E|X - X'| - E|Y - Y'|

and is estimated without bias, so that it may be negative. The *Jensen-Shannon divergence* is that of histograms of
pairs of dimensions, at most log 2 nats. Histograms of one law differ as well, so every value has beside it what the
two samples pooled and divided at random show: ``null_mean``, and ``null_95``, which one in twenty of such divisions
exceeds.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.metrics import MetricInputError, percentile_interval
from hebm.metrics.inputs import as_features

__all__ = ["SampleDistance", "energy_distance", "histogram_divergence"]

N_BINS = 12
MAX_PAIRS = 100
TAIL = 0.005  # on either side goes into the outermost bins


class SampleDistance(NamedTuple):
    """A distance, its 95 % bootstrap interval if it has one, and what samples of one law show."""

    value: float
    interval: list[float] | None
    null_mean: float
    null_95: float


def energy_distance(x: Tensor, y: Tensor, *, n_resamples: int, generator: torch.Generator) -> SampleDistance:
    r"""Estimate the energy distance of two samples, in units of the latents.

    .. math:: \frac{2}{nm} \sum_{ij} |x_i - y_j| - \frac{1}{n(n-1)} \sum_{i \neq j} |x_i - x_j|
        - \frac{1}{m(m-1)} \sum_{i \neq j} |y_i - y_j|

    Bootstrap weights w with sum n meet w' C w / (n - 1)² in place of the second sum, which has its expectation; a row
    that is drawn twice has no distance to itself.

    Args:
        x: One sample, [n, D].
        y: The other, [m, D].
        n_resamples: Of the bootstrap and of the random divisions.
        generator: Source of both, on the CPU.

    Raises:
        MetricInputError: If a sample has fewer than two rows, or the dimensions differ.
        NonFiniteError: If a number is not finite.

    Source: Székely and Rizzo (2013), J. Stat. Plan. Inference 143.
    """
    x, y = _checked(x, y)
    n, m = len(x), len(y)
    pooled = torch.cat([x, y])
    distances = torch.cdist(pooled, pooled, compute_mode="donot_use_mm_for_euclid_dist")
    own = torch.cat([torch.ones(1, n), torch.zeros(1, m)], 1).double()
    value = _between(distances, own, 1 - own, n * (n - 1), m * (m - 1)).item()
    weights = [_multiplicities(size, n_resamples, generator) for size in (n, m)]
    first = torch.cat([weights[0], torch.zeros(n_resamples, m, dtype=torch.float64)], 1)
    second = torch.cat([torch.zeros(n_resamples, n, dtype=torch.float64), weights[1]], 1)
    resampled = _between(distances, first, second, (n - 1) ** 2, (m - 1) ** 2)
    divided = _divisions(n, n + m, n_resamples, generator)
    null = _between(distances, divided, 1 - divided, n * (n - 1), m * (m - 1))
    return SampleDistance(value, percentile_interval(resampled.numpy()), *_summary(null))


def histogram_divergence(
    x: Tensor, y: Tensor, *, n_resamples: int, generator: torch.Generator
) -> SampleDistance:
    r"""Average the Jensen-Shannon divergence over pairs of dimensions, or take it of the one that there is, nats.

    .. math:: \mathrm{JS} = H\big(\tfrac12 (P + Q)\big) - \tfrac12 H(P) - \tfrac12 H(Q)

    Twelve bins a dimension, of equal width between the 0.5 % and 99.5 % quantiles of both samples together; what is
    outside belongs to the outermost ones. Of more than 100 pairs, 100 are taken, evenly spaced.

    Args:
        x: One sample, [n, D].
        y: The other, [m, D].
        n_resamples: Random divisions.
        generator: Source of these, on the CPU.

    Raises:
        MetricInputError: If a sample has fewer than two rows, or the dimensions differ.
        NonFiniteError: If a number is not finite.
    """
    x, y = _checked(x, y)
    n, m = len(x), len(y)
    own = torch.cat([torch.ones(1, n), torch.zeros(1, m)], 1).double()
    divided = torch.cat([own, _divisions(n, n + m, n_resamples, generator)])
    cells = _pair_cells(torch.cat([x, y]))
    values = torch.stack([_divergences(cell, divided) for cell in cells]).mean(0)
    return SampleDistance(values[0].item(), None, *_summary(values[1:]))


def _checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, y = as_features(x, "draws of the first sample"), as_features(y, "draws of the second sample")
    if x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise MetricInputError(
            f"two samples [n, D] and [m, D] with n, m > 1 are expected, but {list(x.shape)} and {list(y.shape)} came; "
            "raise the number of draws."
        )
    return x, y


def _between(distances: Tensor, first: Tensor, second: Tensor, pairs: int, other_pairs: int) -> Tensor:
    """The distance of weighted rows, [R] of weights [R, N] each."""
    towards_first, towards_second = first @ distances, second @ distances
    across = (towards_first * second).sum(1) / (first.sum(1) * second.sum(1))
    within = (towards_first * first).sum(1) / pairs + (towards_second * second).sum(1) / other_pairs
    return 2 * across - within


def _multiplicities(n: int, n_resamples: int, generator: torch.Generator) -> Tensor:
    """How often each of n rows is drawn in n draws with replacement, [R, n]."""
    drawn = torch.randint(n, (n_resamples, n), generator=generator)
    return torch.zeros(n_resamples, n, dtype=torch.float64).scatter_add_(
        1, drawn, torch.ones_like(drawn).double()
    )


def _divisions(n: int, n_all: int, n_resamples: int, generator: torch.Generator) -> Tensor:
    """n of all rows at random, as weights 0 and 1, [R, N]."""
    order = torch.rand(n_resamples, n_all, generator=generator, dtype=torch.float64).argsort(1)
    return (order < n).double()


def _summary(null: Tensor) -> tuple[float, float]:
    return null.mean().item(), null.quantile(0.95).item()


def _pair_cells(values: Tensor) -> Iterator[Tensor]:
    """The histogram cell of every row, [N], for each pair of dimensions."""
    ends = values.quantile(torch.tensor([TAIL, 1 - TAIL], dtype=torch.float64), 0)
    widths = (ends[1] - ends[0]).clamp(min=1e-12) / N_BINS
    bins = ((values - ends[0]) / widths).floor().clamp(0, N_BINS - 1).long()
    if values.shape[1] == 1:
        yield bins[:, 0]
    pairs = list(combinations(range(values.shape[1]), 2))
    n = min(len(pairs), MAX_PAIRS)
    for i, j in (pairs[k * len(pairs) // n] for k in range(n)):
        yield bins[:, i] * N_BINS + bins[:, j]


def _divergences(cells: Tensor, divided: Tensor) -> Tensor:
    """JS of the two parts of every division, [R] of [R, N]."""
    members = torch.nn.functional.one_hot(cells, N_BINS**2).double()
    shares = [part @ members / part.sum(1, keepdim=True) for part in (divided, 1 - divided)]
    mixed = (shares[0] + shares[1]) / 2
    return _entropy(mixed) - (_entropy(shares[0]) + _entropy(shares[1])) / 2


def _entropy(shares: Tensor) -> Tensor:
    entropy: Tensor = -torch.special.xlogy(shares, shares).sum(1)
    return entropy
