"""Ranking measures: by hand, against scikit-learn's weights, on scores that saturate a sigmoid, and their intervals."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve
from torch import Tensor

from hebm.errors import NonFiniteError
from hebm.metrics import MetricInputError, bootstrap_rankings, percentile_interval, ranking


def _scores(
    n: int, m: int, *, shift: float = 1.0, seed: int = 0, digits: int | None = None
) -> tuple[Tensor, Tensor]:
    """n normal and m anomalous scores, the latter higher; rounded to make ties."""
    generator = torch.Generator().manual_seed(seed)
    both = torch.randn(n + m, generator=generator, dtype=torch.float64)
    both[n:] += shift
    return tuple(part if digits is None else part.round(decimals=digits) for part in both.split([n, m]))  # type: ignore[return-value]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_five_scores_by_hand() -> None:
    """Order from the top: anomalous 9, normal 8, anomalous 7, 6, normal 1."""
    found = ranking(torch.tensor([8.0, 1.0]), torch.tensor([9.0, 7.0, 6.0]))
    assert found.auroc == pytest.approx(4 / 6)  # of six comparisons, 7 and 6 lose against 8
    assert found.auprc == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert found.auprc_trapezoid == pytest.approx((1 + (1 / 2 + 2 / 3) / 2 + (2 / 3 + 3 / 4) / 2) / 3)
    assert (found.fpr80, found.fpr95) == (1 / 2, 1 / 2)


def test_the_false_positive_rate_is_at_the_first_threshold_that_finds_enough() -> None:
    """Of ten anomalous scores the eighth is enough for 80 %, exactly; all ten are needed for 95 %."""
    anomalous = torch.arange(10.0, 0.0, -1)  # the eighth is 3, the tenth 1
    normal = torch.tensor([9.5, 2.5, 1.5, 0.5])
    found = ranking(normal, anomalous)
    assert (found.fpr80, found.fpr95) == (1 / 4, 3 / 4)
    tied = ranking(anomalous, anomalous)  # the ROC curve is a straight line, whose inner points still count
    assert (tied.fpr80, tied.fpr95) == (0.8, 1)


def test_all_scores_tied_is_chance() -> None:
    """Nothing is ranked: AUROC 1/2, average precision the base rate, everything flagged."""
    found = ranking(torch.ones(30), torch.ones(10))
    assert (found.auroc, found.auprc, found.fpr80, found.fpr95) == (0.5, 0.25, 1.0, 1.0)
    assert found.auprc_trapezoid == pytest.approx((1 + 0.25) / 2)  # why the step-wise area stands beside it
    resampled = bootstrap_rankings(torch.ones(30), torch.ones(10), n_resamples=3, generator=_generator())
    assert resampled.auroc.tolist() == [0.5] * 3
    assert resampled.auprc == pytest.approx([0.25] * 3)


def test_a_score_with_the_wrong_sign_is_told_by_its_auroc() -> None:
    """Higher is more anomalous; reversed, the area is one minus what it was."""
    normal, anomalous = _scores(200, 100)
    assert ranking(normal, anomalous).auroc > 0.7
    assert ranking(-normal, -anomalous).auroc == pytest.approx(1 - ranking(normal, anomalous).auroc)


def test_scores_around_1500_do_not_saturate() -> None:
    """Where a sigmoid in float32 makes one tie of all scores, ranks are what they are for standardised ones."""
    normal, anomalous = _scores(500, 500, shift=2.0)
    there = ranking(1500 + 10 * normal, 1500 + 10 * anomalous)
    assert there == pytest.approx(ranking(normal, anomalous))
    assert there.auroc > 0.85
    from torchmetrics.functional.classification import binary_auroc  # what the measures here must not be

    labels = torch.cat([torch.zeros(500), torch.ones(500)]).long()
    saturated = binary_auroc(1500 + 10 * torch.cat([normal, anomalous]).float(), labels)
    assert saturated.item() == pytest.approx(0.5, abs=1e-3)


def test_double_precision_is_kept() -> None:
    """Differences that float32 loses at 1,500 still order the images."""
    normal = torch.full((4,), 1500.0, dtype=torch.float64)
    assert ranking(normal, normal + 1e-9).auroc == 1


@pytest.mark.parametrize("digits", [None, 0], ids=["distinct", "ties"])
def test_resampled_measures_are_those_of_weighted_images(digits: int | None) -> None:
    """Every resample equals scikit-learn's own measures of the images repeated as often as they were drawn."""
    normal, anomalous = _scores(40, 25, digits=digits)
    found = bootstrap_rankings(normal, anomalous, n_resamples=7, generator=_generator(3))
    generator = _generator(3)
    low = torch.randint(40, (7, 40), generator=generator)
    high = torch.randint(25, (7, 25), generator=generator)
    labels = np.r_[np.zeros(40), np.ones(25)]
    for i in range(7):
        scores = torch.cat([normal[low[i]], anomalous[high[i]]]).numpy()
        precision, recall, _ = precision_recall_curve(labels, scores)
        fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
        assert found.auroc[i] == pytest.approx(roc_auc_score(labels, scores))
        assert found.auprc[i] == pytest.approx(average_precision_score(labels, scores))
        assert found.auprc_trapezoid[i] == pytest.approx(auc(recall, precision))
        assert found.fpr80[i] == pytest.approx(fpr[tpr >= 0.8][0])
        assert found.fpr95[i] == pytest.approx(fpr[tpr >= 0.95][0])


def test_resamples_in_several_blocks_are_all_there() -> None:
    """More resamples than fit into one block: as many values as asked for, none left over from another block."""
    normal, anomalous = _scores(9000, 8000)
    found = bootstrap_rankings(normal, anomalous, n_resamples=5, generator=_generator())
    assert [len(column) for column in found] == [5] * 5
    assert len(set(found.auroc.tolist())) == 5


def test_the_interval_has_the_width_of_the_standard_error() -> None:
    """For equal distributions the variance of the AUROC is (n + m + 1) / (12 n m): half-width 1.96 of its root."""
    n, m = 400, 300
    normal, anomalous = _scores(n, m, shift=0.0)
    found = bootstrap_rankings(normal, anomalous, n_resamples=2000, generator=_generator())
    low, high = percentile_interval(found.auroc)
    expected = 2 * 1.96 * math.sqrt((n + m + 1) / (12 * n * m))
    assert high - low == pytest.approx(expected, rel=0.1)
    assert low < ranking(normal, anomalous).auroc < high


def test_95_per_cent_intervals_cover_the_truth_about_as_often() -> None:
    """AUROC of N(1, 1) against N(0, 1) is Φ(1/√2); 120 repetitions, five standard errors."""
    truth, hits, n = 0.5 * (1 + math.erf(0.5)), 0, 120
    for seed in range(n):
        found = bootstrap_rankings(*_scores(60, 60, seed=seed), n_resamples=200, generator=_generator(seed))
        low, high = percentile_interval(found.auroc)
        hits += low <= truth <= high
    assert abs(hits / n - 0.95) < 5 * math.sqrt(0.95 * 0.05 / n)


def test_intervals_are_the_middle_of_the_values() -> None:
    """Quantiles on both sides."""
    assert percentile_interval(np.arange(101.0), 0.9) == pytest.approx([5, 95])
    assert percentile_interval(np.arange(101.0)) == pytest.approx([2.5, 97.5])
    with pytest.raises(MetricInputError, match=r"level between 0 and 1 .* got 95"):
        percentile_interval(np.arange(3.0), 95)


def test_resamples_are_a_function_of_the_generator_and_shared_by_scores() -> None:
    """The same state gives the same resamples, for another score of the same images too; another state others."""
    normal, anomalous = _scores(50, 50)
    state = torch.get_rng_state()
    first = bootstrap_rankings(normal, anomalous, n_resamples=4, generator=_generator(1))
    again = bootstrap_rankings(normal, anomalous, n_resamples=4, generator=_generator(1))
    other = bootstrap_rankings(normal, anomalous, n_resamples=4, generator=_generator(2))
    monotone = bootstrap_rankings(3 * normal - 7, 3 * anomalous - 7, n_resamples=4, generator=_generator(1))
    assert first.auroc.tolist() == again.auroc.tolist() == monotone.auroc.tolist()
    assert first.auroc.tolist() != other.auroc.tolist()
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_scores_are_refused() -> None:
    """Empty, not one per image, not finite, no resamples."""
    good = torch.ones(3)
    with pytest.raises(MetricInputError, match=r"normal scores must be \[N\] with N > 0, got \[0\]"):
        ranking(torch.ones(0), good)
    with pytest.raises(MetricInputError, match=r"anomalous scores must be \[N\].* got \[3, 1\]"):
        bootstrap_rankings(good, good[:, None], generator=_generator())
    with pytest.raises(NonFiniteError, match=r"anomalous scores are not finite .first at 1."):
        ranking(good, torch.tensor([0.0, math.nan]))
    with pytest.raises(MetricInputError, match="n_resamples must be positive, got 0"):
        bootstrap_rankings(good, good, n_resamples=0, generator=_generator())
