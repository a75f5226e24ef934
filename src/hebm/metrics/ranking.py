r"""How well an anomaly score ranks anomalous images above normal ones: AUROC, AUPRC, FPR at a TPR, with intervals.

With the anomalous images as positives and a threshold t lowered through all scores,

.. math:: TPR(t) = \frac{\#\{s_a \ge t\}}{N_a}, \quad FPR(t) = \frac{\#\{s_n \ge t\}}{N_n}, \quad
    precision(t) = \frac{\#\{s_a \ge t\}}{\#\{s_a \ge t\} + \#\{s_n \ge t\}}

Only the order of the scores enters, so their scale does not matter: no squashing through a sigmoid, which makes
one tie of all scores beyond some 17 nats and returns 1/2 (negative log-likelihoods lie there).
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from hebm.errors import NonFiniteError
from hebm.metrics.inputs import ArrayLike, MetricInputError

__all__ = ["Ranking", "bootstrap_rankings", "percentile_interval", "ranking"]

Values = NDArray[np.float64]

_BLOCK = 2**15  # counts that are worked on together: they stay in the processor's cache


class Ranking(NamedTuple):
    """How scores rank; numbers of [ranking], or arrays [R] of resampled ones.

    Args:
        auroc: Area under the ROC curve: the chance that an anomalous image scores higher than a normal one, ties
            counting half. 1/2 is chance, below it the sign is wrong.
        auprc: Average precision, the step-wise area under the precision-recall curve. The base rate is chance.
        auprc_trapezoid: The same area by linear interpolation, as many papers have it; too optimistic where scores tie.
        fpr80: Share of normal images flagged at the threshold that finds 80 % of the anomalous ones. Lower is better.
        fpr95: The same for 95 %.
    """

    auroc: Any
    auprc: Any
    auprc_trapezoid: Any
    fpr80: Any
    fpr95: Any


def ranking(normal: ArrayLike, anomalous: ArrayLike) -> Ranking:
    """Measure how well scores (higher = more anomalous) separate two sets of images.

    Args:
        normal: Scores of normal images, [N].
        anomalous: Scores of anomalous images, the positives, [M].

    Raises:
        MetricInputError: If one is empty or has more than one axis.
        NonFiniteError: If a score is infinite or not a number.

    Source: scikit-learn's curves; FPR at the first threshold with TPR >= 0.8 as Havtorn et al. (2021),
        arXiv:2102.08248, have it.
    """
    low, high = _as_scores(normal, "normal scores"), _as_scores(anomalous, "anomalous scores")
    labels = np.r_[np.zeros(len(low)), np.ones(len(high))]
    scores = np.r_[low, high]
    precision, recall, _ = precision_recall_curve(labels, scores)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    return Ranking(
        auroc=float(roc_auc_score(labels, scores)),
        auprc=float(average_precision_score(labels, scores)),
        auprc_trapezoid=float(auc(recall, precision)),
        fpr80=float(fpr[tpr >= 0.80][0]),
        fpr95=float(fpr[tpr >= 0.95][0]),
    )


def bootstrap_rankings(
    normal: ArrayLike, anomalous: ArrayLike, *, n_resamples: int = 1000, generator: torch.Generator
) -> Ranking:
    """The same measures of resampled images: both sets drawn with replacement, each at its own size.

    Scores of the same images under generators in the same state meet the same resamples, so differences between two
    scores are paired.

    Args:
        normal: Scores of normal images, [N].
        anomalous: Scores of anomalous images, [M].
        n_resamples: R.
        generator: Source of the resamples, on the CPU.

    Returns:
        Arrays [R], float64.

    Raises:
        MetricInputError: If a set is empty or has more than one axis, or R is not positive.
        NonFiniteError: If a score is infinite or not a number.
    """
    low, high = _as_scores(normal, "normal scores"), _as_scores(anomalous, "anomalous scores")
    if n_resamples < 1:
        raise MetricInputError(f"n_resamples must be positive, got {n_resamples}.")
    _, place = np.unique(
        -np.r_[low, high], return_inverse=True
    )  # ties share a place; the highest score is first
    groups = place[: len(low)], place[len(low) :]
    blocks = [
        _of_counts(*counts) for counts in _resampled(groups, int(place.max()) + 1, n_resamples, generator)
    ]
    return Ranking(*(np.concatenate(column) for column in zip(*blocks, strict=True)))


def percentile_interval(values: Values, level: float = 0.95) -> list[float]:
    """The middle ``level`` of resampled values, [low, high].

    Raises:
        MetricInputError: If the level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise MetricInputError(f"a level between 0 and 1 is expected, got {level}; 0.95 is usual.")
    return [float(end) for end in np.quantile(values, [(1 - level) / 2, (1 + level) / 2])]


def _as_scores(values: ArrayLike, name: str) -> Values:
    scores: Values = torch.as_tensor(values).detach().to("cpu", torch.float64).numpy()
    if scores.ndim != 1 or len(scores) == 0:
        raise MetricInputError(
            f"{name} must be [N] with N > 0, got {list(scores.shape)}; give one per image."
        )
    if not np.isfinite(scores).all():
        bad = int(np.flatnonzero(~np.isfinite(scores))[0])
        raise NonFiniteError(f"{name} are not finite (first at {bad}); look at that image and at the model.")
    return scores


def _resampled(
    groups: tuple[NDArray[np.intp], NDArray[np.intp]],
    n_places: int,
    n_resamples: int,
    generator: torch.Generator,
) -> Iterator[list[Values]]:
    """Numbers of normal and anomalous images at each place, [r, places] each, for a few resamples at a time."""
    rows = max(1, _BLOCK // sum(len(group) for group in groups))
    for first in range(0, n_resamples, rows):
        n = min(rows, n_resamples - first)
        offset = n_places * np.arange(n)[:, None]
        counts = []
        for group in groups:
            drawn = torch.randint(len(group), (n, len(group)), generator=generator).numpy()
            flat = np.bincount((group[drawn] + offset).ravel(), minlength=n * n_places)
            counts.append(flat.reshape(n, n_places).astype(np.float64))
        yield counts


def _of_counts(normal: Values, anomalous: Values) -> Ranking:
    """All measures of r resamples from their counts per place, [r, places]."""
    false, true = normal.cumsum(1), anomalous.cumsum(1)
    n_false, n_true = false[:, -1:], true[:, -1:]
    found = true + false
    precision = np.divide(
        true, found, out=np.ones_like(true), where=found > 0
    )  # 1 before anything is flagged
    before = np.concatenate([np.ones_like(n_true), precision[:, :-1]], 1)
    steps = anomalous / n_true
    at = {share: (true >= share * n_true - 1e-9).argmax(1) for share in (0.80, 0.95)}
    rows = np.arange(len(false))
    return Ranking(
        auroc=((true - anomalous / 2) * normal).sum(1) / (n_false * n_true)[:, 0],
        auprc=(steps * precision).sum(1),
        auprc_trapezoid=(steps * (precision + before) / 2).sum(1),
        fpr80=false[rows, at[0.80]] / n_false[:, 0],
        fpr95=false[rows, at[0.95]] / n_false[:, 0],
    )
