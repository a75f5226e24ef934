"""Conformal p-values and the false-positive rate they promise."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from hebm.detection import (
    conformal_p_values,
    conformal_threshold,
    n_calibration_needed,
    rate_interval,
)
from hebm.errors import ConfigError, DataError, NonFiniteError


def test_p_values_count_the_calibration_scores_at_or_above() -> None:
    """By hand, n = 4: a tie counts against the image's being anomalous; the smallest p-value is 1 / 5."""
    calibration = torch.tensor([3.0, 1.0, 2.0, 2.0])
    scores = torch.tensor([0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 9.0])
    expected = torch.tensor([5, 5, 4, 4, 2, 2, 1], dtype=torch.float64) / 5
    p_values = conformal_p_values(calibration, scores)
    assert p_values.dtype == torch.float64
    assert torch.equal(p_values, expected)


def test_p_values_tell_scores_apart_that_differ_in_the_last_bits_of_float64() -> None:
    """Ranks are taken in float64 whatever the calibration's own type: scores of thousands of nats keep their order."""
    calibration = torch.tensor([1e6, 1e6 + 1e-6], dtype=torch.float64)
    assert conformal_p_values(calibration, torch.tensor([1e6 + 2e-6], dtype=torch.float64)).item() == 1 / 3


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.29])
def test_the_marginal_false_positive_rate_is_at_most_the_nominal_one_and_close_to_it(rate: float) -> None:
    """Over many calibration draws of skewed scores: k / (n + 1) exactly, within the binomial interval."""
    n, n_draws = 140, 8000
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(n_draws, n + 1, generator=generator, dtype=torch.float64).exp()
    hits = sum(bool(conformal_p_values(row[:-1], row[-1:]) <= rate) for row in values)
    exact = np.floor(rate * (n + 1)) / (n + 1)
    assert exact <= rate
    assert binom.cdf(hits, n_draws, exact) > 1e-4
    assert binom.sf(hits - 1, n_draws, exact) > 1e-4


@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_fresh_normals_meet_the_rate_within_the_binomial_interval(rate: float) -> None:
    """One large calibration set, fresh normal images: hits lie in the 99.9 % binomial interval of the rate."""
    generator = torch.Generator().manual_seed(1)
    calibration = torch.randn(1_000_000, generator=generator)
    fresh = torch.randn(20_000, generator=generator)
    hits = int((conformal_p_values(calibration, fresh) <= rate).sum())
    low, high = binom.interval(0.999, len(fresh), rate)
    assert low <= hits <= high


def test_ties_only_lower_the_rate() -> None:
    """Of scores with five values, where the highest has probability 0.2, next to none is anomalous at 0.1."""
    generator = torch.Generator().manual_seed(2)
    values = torch.randint(0, 5, (2000, 100), generator=generator).double()
    hits = sum(bool(conformal_p_values(row[:-1], row[-1:]) <= 0.1) for row in values)
    assert hits / 2000 < 0.02


@pytest.mark.parametrize("n", [19, 20, 99, 100, 139])
@pytest.mark.parametrize("rate", [0.05, 0.07, 0.1, 0.29, 0.57])
def test_the_threshold_says_what_the_p_values_say(n: int, rate: float) -> None:
    """p ≤ rate exactly where the score is above the threshold, at the calibration scores themselves too, for rates
    whose product with n + 1 is a whole number but for rounding."""
    calibration = torch.randn(n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    scores = torch.cat([calibration, calibration + 1e-9, calibration - 1e-9])
    by_p_value = conformal_p_values(calibration, scores) <= rate
    assert torch.equal(scores > conformal_threshold(calibration, rate), by_p_value)


def test_a_rate_that_needs_more_images_names_their_number() -> None:
    """1 / (n + 1) ≤ rate; one image fewer is refused."""
    for rate, needed in ((0.05, 19), (0.01, 99), (0.3, 3), (0.5, 1), (1 / 3, 2), (1 / 49, 48)):
        assert n_calibration_needed(rate) == needed
        conformal_threshold(torch.zeros(needed), rate)
        if needed > 1:
            with pytest.raises(ConfigError, match=f"at least {needed} calibration images, but there are"):
                conformal_threshold(torch.zeros(needed - 1), rate)


def test_the_rate_of_one_calibration_set_follows_the_beta_law() -> None:
    """Of uniform scores the rate given the calibration is 1 - threshold: 95 % of draws within the interval."""
    n, rate, n_draws = 200, 0.05, 2000
    draws = torch.rand(n_draws, n, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    rates = np.array([1 - conformal_threshold(row, rate) for row in draws])
    low, high = rate_interval(n, rate)
    inside = ((rates >= low) & (rates <= high)).sum()
    assert abs(inside - 0.95 * n_draws) < 5 * np.sqrt(n_draws * 0.95 * 0.05)
    assert abs((rates < low).sum() - 0.025 * n_draws) < 5 * np.sqrt(n_draws * 0.025)
    wide = rate_interval(n, rate, coverage=0.99)
    assert wide[0] < low < rate < high < wide[1]


def test_bad_calibrations_are_refused() -> None:
    """Nothing, and what is not a number; rates that are none."""
    with pytest.raises(DataError, match="held-out"):
        conformal_p_values(torch.empty(0), torch.zeros(1))
    with pytest.raises(NonFiniteError, match="calibration"):
        conformal_p_values(torch.tensor([0.0, torch.nan]), torch.zeros(1))
    with pytest.raises(NonFiniteError, match="new images"):
        conformal_p_values(torch.zeros(2), torch.tensor([torch.inf]))
    for rate in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="between 0 and 1"):
            conformal_threshold(torch.zeros(5), rate)
