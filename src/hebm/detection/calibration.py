r"""Conformal p-values: a false-positive rate that is met, whatever the score.

Given scores s_1, ..., s_n of held-out normal images (not those the model learned from) and that of a new image,

.. math:: p(s) = \frac{1 + \#\{i : s_i \ge s\}}{n + 1}

If the new image is normal too, all n + 1 scores are exchangeable and P(p ≤ α) ≤ α; ties raise p, so they only lower the
rate. Nothing is assumed about the score's distribution. The probability is over calibration and new image together; the
rate of *one* calibrated detector is random, and for a continuous score

.. math:: P(p \le \alpha \mid s_1, \ldots, s_n) \sim \mathrm{Beta}(k, n + 1 - k), \quad
    k = \lfloor \alpha (n + 1) \rfloor

Sources: Papadopoulos et al. (2002) for the split; Vovk, Gammerman and Shafer (2005), "Algorithmic Learning in a Random
World"; Vovk (2012), "Conditional validity of inductive conformal predictors", for the Beta law; Bates et al. (2023),
arXiv:2104.08279, for outlier tests by conformal p-values.
"""

import math

import torch
from scipy.special import betaincinv
from torch import Tensor

from hebm.errors import ConfigError, DataError, NonFiniteError

__all__ = [
    "conformal_p_values",
    "conformal_threshold",
    "n_calibration_needed",
    "rate_interval",
    "require_rate",
]


def conformal_p_values(calibration: Tensor, scores: Tensor) -> Tensor:
    r"""(1 + #{calibration ≥ score}) / (n + 1).

    Args:
        calibration: Scores of n held-out normal images, [n], in any order.
        scores: Scores of new images, [B]; higher is more anomalous.

    Returns:
        [B] in float64, from 1 / (n + 1) to 1.

    Raises:
        DataError: If there is no calibration score.
        NonFiniteError: If a score is not finite.
    """
    ordered = _ordered(calibration)
    if not torch.isfinite(scores).all():
        raise NonFiniteError(
            "scores of new images are not finite; they have no rank among the calibration scores."
        )
    n_below = torch.searchsorted(ordered, scores.to(ordered).contiguous(), side="left")
    return (1 + len(ordered) - n_below).double() / (len(ordered) + 1)


def conformal_threshold(calibration: Tensor, rate: float) -> float:
    """The score above which p ≤ rate; an image *at* it is not anomalous.

    Args:
        calibration: Scores of n held-out normal images, [n].
        rate: The false-positive rate α, between 0 and 1.

    Raises:
        ConfigError: If the rate is below 1 / (n + 1), the smallest p-value; the number of images it needs is named.
        DataError: If there is no calibration score.
    """
    ordered = _ordered(calibration)
    rank = _rank(len(ordered), rate)  # as many scores, counting the new one, may be at or above it
    return float(ordered[len(ordered) - rank])


def n_calibration_needed(rate: float) -> int:
    """The fewest calibration images with which p ≤ rate can happen: 1 / (n + 1) ≤ rate.

    Raises:
        ConfigError: If the rate is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"a false-positive rate must be between 0 and 1, but it is {rate}; take e.g. 0.05.")
    n = max(1, math.floor(1 / rate) - 1)
    while 1 / (n + 1) > rate:  # the comparison that decides, as 1 / rate is rounded
        n += 1
    return n


def require_rate(n: int, rate: float) -> None:
    """Check that n calibration images allow a false-positive rate.

    Raises:
        ConfigError: If the rate is below 1 / (n + 1), the smallest p-value; the number of images it needs is named.
    """
    needed = n_calibration_needed(rate)
    if n < needed:
        raise ConfigError(
            f"a false-positive rate of {rate:g} needs at least {needed} calibration images, but there are {n}; raise "
            f"the rate to {math.ceil(1e4 / (n + 1)) / 1e4:g} or more, or hold out more images (data.holdout, "
            "detection.n_calibration)."
        )


def rate_interval(n: int, rate: float, *, coverage: float = 0.95) -> tuple[float, float]:
    """Where the false-positive rate of one detector with n calibration images lies, with probability `coverage`.

    Raises:
        ConfigError: If the rate is below 1 / (n + 1).
    """
    rank = _rank(n, rate)
    outside = (1 - coverage) / 2
    low, high = (float(betaincinv(rank, n + 1 - rank, q)) for q in (outside, 1 - outside))
    return low, high


def _ordered(calibration: Tensor) -> Tensor:
    if calibration.numel() == 0:
        raise DataError("there is no calibration score; calibrate on held-out normal images.")
    if not torch.isfinite(calibration).all():
        raise NonFiniteError("calibration scores are not finite; the run may have diverged.")
    return calibration.double().sort().values


def _rank(n: int, rate: float) -> int:
    """The largest k with k / (n + 1) ≤ rate, by the same division that makes the p-values."""
    require_rate(n, rate)
    rank = math.floor(rate * (n + 1))
    return rank + 1 if (rank + 1) / (n + 1) <= rate else rank
