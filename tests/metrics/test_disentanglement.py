"""MIG, MIG-sup and DCI on codes whose value is known: one to one, turned, doubled, noise."""

import math

import numpy as np
import pytest
import torch

from hebm.errors import NonFiniteError
from hebm.metrics import MetricInputError, dci, mutual_information_gaps

RNG = np.random.default_rng(0)
FACTORS = (
    np.stack(np.meshgrid(*[range(4)] * 3), -1).reshape(-1, 3).repeat(40, 0)
)  # all combinations, equally often
NOISE = RNG.normal(size=FACTORS.shape)
CENTRED = FACTORS - 1.5


def turned(degrees: float) -> np.ndarray:
    """The first two factors turned into each other."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return CENTRED @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]).T


def forest_scores(codes: np.ndarray, seed: int = 0):
    order = np.random.default_rng(1).permutation(len(codes))
    half = len(codes) // 2
    train, test = order[:half], order[half:]
    generator = torch.Generator().manual_seed(seed)
    return dci(codes[train], FACTORS[train], codes[test], FACTORS[test], generator=generator)


def test_a_one_to_one_code_scores_one() -> None:
    """Also where units are permuted, stretched and mirrored."""
    codes = CENTRED[:, [2, 0, 1]] * [-3.0, 0.1, 7.0]
    gaps, forests = mutual_information_gaps(codes, FACTORS), forest_scores(codes)
    assert gaps.mig == pytest.approx(1)
    assert gaps.mig_sup == pytest.approx(1)
    assert forests[:3] == pytest.approx((1, 1, 1))
    np.testing.assert_allclose(forests.accuracy, 1)


def test_noise_scores_zero() -> None:
    """Up to the bias of the estimates: (bins - 1)(values - 1) / 2N nats of information; forests guess."""
    gaps, forests = mutual_information_gaps(NOISE, FACTORS), forest_scores(NOISE)
    bias = 19 * 3 / (2 * len(NOISE)) / math.log(4)
    assert 0 <= gaps.mig < bias
    assert 0 <= gaps.mig_sup < bias
    assert forests.disentanglement < 0.02
    assert forests.completeness < 0.02
    assert abs(forests.informativeness) < 5 * math.sqrt(0.25 * 0.75 / (3 * len(NOISE) / 2)) / 0.75
    np.testing.assert_allclose(forests.accuracy, 0.25, atol=0.07)


def test_entangled_codes_score_less_the_more_they_are_turned() -> None:
    """From 0 to 45 degrees everything falls; what is turned on to the other axis is as good as new."""
    blurred = [mutual_information_gaps(turned(a) + 0.2 * NOISE, FACTORS) for a in (0, 20, 45, 90)]
    for scores in ([gaps.mig for gaps in blurred], [gaps.mig_sup for gaps in blurred]):
        assert scores[0] > scores[1] + 0.1 > scores[2] + 0.2
        assert scores[3] == pytest.approx(scores[0], abs=0.02)
    assert mutual_information_gaps(turned(90), FACTORS).mig == pytest.approx(1)
    evenly = mutual_information_gaps(turned(45), FACTORS)
    assert evenly.per_factor == pytest.approx([0, 0, 1], abs=1e-9)  # both codes tell as much of both
    straight, skew = forest_scores(turned(0)), forest_scores(turned(45))
    assert skew.disentanglement < 0.6 < straight.disentanglement
    assert skew.completeness < 0.6 < straight.completeness
    assert skew.informativeness > 0.95  # nothing is lost, only mixed


def test_a_factor_in_two_codes_costs_mig_and_not_mig_sup() -> None:
    """Every code still holds one factor; the gap of the factor that is there twice is gone."""
    codes = np.concatenate([CENTRED, CENTRED[:, :1]], axis=1)
    gaps = mutual_information_gaps(codes, FACTORS)
    np.testing.assert_allclose(gaps.per_factor, [0, 1, 1], atol=1e-12)
    assert gaps.mig == pytest.approx(2 / 3)
    assert gaps.mig_sup == pytest.approx(1)
    forests = forest_scores(codes)
    assert forests.disentanglement == pytest.approx(1)
    assert forests.completeness < 0.95


def test_two_factors_in_one_code_cost_mig_sup_and_not_mig() -> None:
    """One code that counts through all pairs of two factors: its gap is the difference of what it tells of them."""
    codes = np.stack([4.0 * FACTORS[:, 0] + FACTORS[:, 1], CENTRED[:, 2]], axis=1)
    gaps = mutual_information_gaps(codes, FACTORS, n_bins=16)
    np.testing.assert_allclose(gaps.per_factor, [1, 1, 1], atol=1e-12)
    np.testing.assert_allclose(gaps.per_code, [0, 1], atol=1e-12)
    assert gaps.mig_sup == pytest.approx(0.5)
    forests = forest_scores(codes)
    assert forests.completeness > 0.99
    assert 0.4 < forests.disentanglement < 0.9


def test_codes_that_no_forest_uses_do_not_count() -> None:
    """DCI weighs codes by their importance: a constant unit changes nothing, where MIG-sup counts it."""
    codes = np.concatenate([CENTRED, np.zeros((len(CENTRED), 1))], axis=1)
    assert forest_scores(codes).disentanglement == pytest.approx(1)
    assert mutual_information_gaps(codes, FACTORS).mig_sup == pytest.approx(0.75)


def test_a_single_code_has_its_gap_to_zero() -> None:
    """There is no second one."""
    gaps = mutual_information_gaps(CENTRED[:, :1], FACTORS)
    np.testing.assert_allclose(gaps.per_factor, [1, 0, 0], atol=1e-9)
    assert gaps.mig_sup == pytest.approx(1)


def test_forests_are_reproducible() -> None:
    """The same generator gives the same scores, another one others; the global stream is left alone."""
    codes = turned(30) + 0.5 * NOISE
    before = torch.random.get_rng_state()
    first, again, other = (forest_scores(codes, seed) for seed in (0, 0, 1))
    assert first[:3] == again[:3]
    assert first.disentanglement != other.disentanglement
    assert torch.equal(before, torch.random.get_rng_state())


def test_wrong_arrays_are_refused() -> None:
    """Shapes that do not fit, constants, numbers that are none."""
    with pytest.raises(MetricInputError, match="F"):
        mutual_information_gaps(CENTRED, FACTORS[:10])
    with pytest.raises(MetricInputError, match="one value only"):
        mutual_information_gaps(CENTRED, np.zeros_like(FACTORS))
    with pytest.raises(NonFiniteError, match="codes"):
        mutual_information_gaps(CENTRED * np.nan, FACTORS)
    with pytest.raises(MetricInputError, match="two or more"):
        dci(CENTRED[:, :1], FACTORS, CENTRED[:, :1], FACTORS)
    with pytest.raises(MetricInputError, match="3 and 2 codes"):
        dci(CENTRED, FACTORS, CENTRED[:, :2], FACTORS)
