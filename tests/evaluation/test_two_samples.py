"""Distances of two samples: by hand, against closed forms, and at the level that samples of one law reach."""

import math

import pytest
import torch
from torch import Tensor

from hebm.errors import NonFiniteError
from hebm.evaluation.two_samples import SampleDistance, energy_distance, histogram_divergence
from hebm.metrics import MetricInputError


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int, *, shift: float = 0.0, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=stream(seed), dtype=torch.float64) + shift


def distance(x: Tensor, y: Tensor, n_resamples: int = 20, seed: int = 9) -> SampleDistance:
    return energy_distance(x, y, n_resamples=n_resamples, generator=stream(seed))


def divergence(x: Tensor, y: Tensor, n_resamples: int = 20) -> SampleDistance:
    return histogram_divergence(x, y, n_resamples=n_resamples, generator=stream())


def test_the_energy_distance_is_the_mean_over_pairs() -> None:
    """By loops, with samples of two sizes in two dimensions."""
    x, y = normal(4, 2), normal(7, 2, seed=1)
    across = sum(float((a - b).norm()) for a in x for b in y) / 28
    within_x = sum(float((a - b).norm()) for a in x for b in x) / 12
    within_y = sum(float((a - b).norm()) for a in y for b in y) / 42
    assert distance(x, y).value == pytest.approx(2 * across - within_x - within_y)


def test_the_energy_distance_of_shifted_normals_is_the_closed_form() -> None:
    """E|N(m, 2)| across, 2 / sqrt(pi) within; the interval has it, and the null is far below."""
    shift = 1.5
    phi = 0.5 * math.erfc(shift / 2)  # P(N(0, 2) < -shift)
    across = 2 / math.sqrt(math.pi) * math.exp(-(shift**2) / 4) + shift * (1 - 2 * phi)
    expected = 2 * across - 4 / math.sqrt(math.pi)
    found = distance(normal(1000, 1), normal(1000, 1, shift=shift, seed=1), n_resamples=200)
    assert found.interval is not None
    low, high = found.interval
    assert abs(found.value - expected) < 5 * (high - low) / 4  # a standard error is a quarter of the interval
    assert low < expected < high
    assert found.null_95 < 0.05 * expected


def test_the_interval_lies_around_the_estimate() -> None:
    """A bootstrap without the correction for rows drawn twice would lie above it by a fifteenth of the spread."""
    x, y = normal(15, 1), normal(15, 1, shift=6.0, seed=1)
    found = distance(x, y, n_resamples=4000)
    assert found.interval is not None
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(found.value, abs=0.04)


def test_one_sample_in_twenty_of_one_law_exceeds_the_null() -> None:
    """Of 200 pairs of samples of one law, 10 are expected above, with standard deviation 3.1; their mean is zero."""
    found = [distance(normal(25, 2, seed=2 * i), normal(20, 2, seed=2 * i + 1), 100, i) for i in range(200)]
    assert 0 < sum(each.value > each.null_95 for each in found) < 26
    values = torch.tensor([each.value for each in found])
    assert abs(values.mean()) < 5 * values.std() / math.sqrt(200)
    nulls = torch.tensor([each.null_mean for each in found])
    assert abs(nulls.mean()) < 5 * nulls.std() / math.sqrt(200)


def test_the_bootstrap_is_of_both_samples() -> None:
    """The interval is wide where either sample is spread, whichever it is."""
    for x, y in ((normal(30, 1), torch.full((30, 1), 9.0)), (torch.full((30, 1), 9.0), normal(30, 1))):
        found = distance(x, y, n_resamples=200)
        assert found.interval is not None
        assert 0.2 < found.interval[1] - found.interval[0] < 3


def test_samples_apart_have_a_divergence_of_log_two_and_equal_ones_none() -> None:
    """The ends of its range, in one dimension and in three."""
    for d in (1, 3):
        x = normal(300, d)
        assert divergence(x, x + 50).value == pytest.approx(math.log(2))
        assert divergence(x, x.clone()).value == pytest.approx(0, abs=1e-12)


def test_the_divergence_is_that_of_histograms() -> None:
    """Shares (3/4, 1/4) against (1/4, 3/4) of two places, by hand; twice as many of the second sample."""
    x = torch.tensor([[0.0]] * 30 + [[1.0]] * 10)
    y = torch.tensor([[0.0]] * 20 + [[1.0]] * 60)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert divergence(x, y).value == pytest.approx(math.log(2) - entropy)


def test_the_divergence_sees_what_two_dimensions_do_together() -> None:
    """Equal margins, opposite diagonals; a third dimension of its own leaves one such pair in three."""
    u = torch.rand(4000, 2, generator=stream(), dtype=torch.float64)
    x, y = torch.stack([u[:, 0], u[:, 0]], 1), torch.stack([u[:, 1], 1 - u[:, 1]], 1)
    assert divergence(x[:, :1], y[:, :1]).value < 0.01
    assert divergence(x, y).value > 0.6
    far = torch.zeros(4000, 1, dtype=torch.float64)
    three = divergence(torch.cat([x, far], 1), torch.cat([y, far], 1))
    assert three.value == pytest.approx(divergence(x, y).value / 3, abs=0.01)


def test_samples_of_one_law_have_the_null_divergence() -> None:
    """It is not zero: the null mean says what it is, and the estimate is within its spread."""
    found = divergence(normal(500, 2), normal(500, 2, seed=1), n_resamples=100)
    assert 0.02 < found.null_mean < found.null_95
    assert abs(found.value - found.null_mean) < 4 * (found.null_95 - found.null_mean)


def test_many_dimensions_are_seen_by_some_of_their_pairs() -> None:
    """A hundred of 190, evenly spaced: the 37 that have one of the last two dimensions count with their share."""
    x, y = normal(60, 20), normal(60, 20)
    y[:, 18:] += 50
    assert divergence(x, y, n_resamples=2).value == pytest.approx(37 / 190 * math.log(2), abs=0.02)


def test_the_same_stream_gives_the_same_numbers_and_the_global_one_rests() -> None:
    """Another stream moves what is resampled, not the estimate."""
    x, y = normal(20, 2), normal(20, 2, seed=1)
    before = torch.random.get_rng_state()
    assert distance(x, y) == distance(x, y)
    assert distance(x, y).null_95 != distance(x, y, seed=1).null_95
    assert distance(x, y).value == distance(x, y, seed=1).value
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("measure", [distance, divergence])
def test_samples_that_cannot_be_compared_are_refused(measure: object) -> None:
    """Another dimension, a single row, a number that is none."""
    assert callable(measure)
    with pytest.raises(MetricInputError, match=r"\[5, 2\] and \[5, 3\] came"):
        measure(normal(5, 2), normal(5, 3))
    with pytest.raises(MetricInputError, match="raise the number of draws"):
        measure(normal(5, 2), normal(1, 2))
    with pytest.raises(NonFiniteError, match="second sample"):
        measure(normal(5, 2), torch.full((5, 2), torch.nan))
