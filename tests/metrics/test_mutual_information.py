"""Mutual information where it is known in closed form."""

import math

import numpy as np
import pytest
import torch

from hebm.errors import NonFiniteError
from hebm.metrics import (
    MetricInputError,
    discrete_information,
    entropy,
    image_information,
    label_information,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_entropy_is_that_of_the_shares() -> None:
    """A fair and an unfair coin, labels of any values."""
    assert entropy(np.array([3, 7, 3, 7])) == pytest.approx(math.log(2))
    assert entropy(torch.tensor([0, 0, 0, 1])) == pytest.approx(
        -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    )
    assert entropy(np.array([5, 5])) == 0


def test_label_information_is_entropy_minus_cross_entropy() -> None:
    """A classifier that knows nothing gives zero, one that is certain and right gives H(y)."""
    labels = np.array([0, 1, 1, 1])
    assert label_information(entropy(labels), labels) == pytest.approx(0)
    assert label_information(0.0, labels) == entropy(labels)
    assert label_information(2.0, labels) < 0


def test_a_gaussian_channel_has_its_capacity() -> None:
    """z = x + s ε with x of unit variance: I = D/2 log(1 + 1/s²), each of D units alike."""
    n, d, s = 3000, 2, 0.5
    means = normal(n, d)
    scales = torch.full_like(means, s)
    estimate = image_information(means + s * normal(n, d, seed=1), means, scales)
    assert abs(estimate.value - d / 2 * math.log(1 + 1 / s**2)) < 5 * estimate.se
    assert estimate.se < 0.03
    assert estimate.ceiling == pytest.approx(math.log(n))


def test_the_density_ratio_is_that_of_the_normals() -> None:
    """Against log-densities written out, with unequal scales, in float64."""
    z, mean, scale = normal(7, 3), normal(7, 3, seed=1), 0.1 + normal(7, 3, seed=2).square()
    log_q = torch.distributions.Normal(mean, scale).log_prob(z[:, None]).sum(2)
    ratio = log_q.diagonal() - (log_q.logsumexp(1) - math.log(7))
    estimate = image_information(z, mean, scale)
    assert estimate.value == pytest.approx(ratio.mean().item(), rel=1e-10)
    assert estimate.se == pytest.approx(ratio.std().item() / math.sqrt(7), rel=1e-10)


def test_posteriors_that_are_all_one_tell_nothing_and_distinct_ones_reach_the_ceiling() -> None:
    """0 and log N, more rows than are worked on at a time."""
    n = 1201
    same, one = torch.zeros(n, 1), torch.ones(n, 1)
    assert image_information(normal(n, 1), same, one).value == pytest.approx(0, abs=1e-12)
    far = torch.arange(n, dtype=torch.float64)[:, None]
    estimate = image_information(far, far, 0.001 * one)
    assert estimate.value == pytest.approx(estimate.ceiling, rel=1e-9)


def test_binned_information_is_that_of_the_table() -> None:
    """A copy of a balanced bit tells log 2 of it, an independent bit nothing, half a bit half."""
    bits = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 10)
    codes = np.stack([bits[:, 0] * 3.0, bits[:, 0] + 2.0 * bits[:, 1], np.zeros(40)], axis=1)
    information = discrete_information(codes, bits, n_bins=20)
    expected = np.log(2) * np.array([[1, 0], [1, 1], [0, 0]])
    np.testing.assert_allclose(information, expected, atol=1e-12)


def test_bins_are_of_equal_width() -> None:
    """Two bins over [0, 10] part at 5, wherever most codes lie."""
    codes, factor = np.array([[0.0], [4.9], [5.1], [10.0]]), np.array([[0], [0], [1], [1]])
    assert discrete_information(codes, factor, n_bins=2)[0, 0] == pytest.approx(math.log(2))
    skewed = np.array([[0.0], [1.0], [2.0], [10.0]])
    assert discrete_information(skewed, factor, n_bins=2)[0, 0] < math.log(2) / 2


def test_wrong_arrays_are_refused() -> None:
    """Shapes, scales, constants, and numbers that are none."""
    z = normal(4, 2)
    with pytest.raises(MetricInputError, match="alike"):
        image_information(z, z, torch.ones(4, 1))
    with pytest.raises(MetricInputError, match="above 0"):
        image_information(z, z, torch.zeros(4, 2))
    with pytest.raises(MetricInputError, match="N > 1"):
        image_information(z[:1], z[:1], torch.ones(1, 2))
    with pytest.raises(NonFiniteError, match="values"):
        image_information(z / 0, z, torch.ones(4, 2))
    with pytest.raises(MetricInputError, match=r"\[4, F\]"):
        discrete_information(z, np.zeros((3, 1)))
    with pytest.raises(MetricInputError, match="one value only"):
        discrete_information(z, np.array([[0, 1], [1, 1], [0, 1], [1, 1]]))
