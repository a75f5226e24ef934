r"""Mean ± sd over seeds, and the difference to a matched control with its standard error.

Both sides of a comparison have the same seeds, so it is made seed by seed: with d_s = a_s - b_s over n seeds,

.. math:: \bar d = \tfrac1n \sum_s d_s, \qquad \mathrm{se} = \sqrt{\tfrac{1}{n (n-1)} \sum_s (d_s - \bar d)^2}
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Difference", "Summary", "paired_difference", "summarise"]


@dataclass(frozen=True)
class Summary:
    """Values over seeds: their mean, sample standard deviation (None of a single one) and number."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Mean of a - b over the seeds both have, its standard error (None with one seed) and their number."""

    mean: float
    se: float | None
    n: int

    @property
    def is_clear(self) -> bool | None:
        """Whether it is more than two standard errors from zero; None where there is no error."""
        return None if self.se is None else abs(self.mean) > 2 * self.se


def summarise(values: Mapping[int, float]) -> Summary | None:
    """Summarise values by seed; None if there are none."""
    if not values:
        return None
    numbers = list(values.values())
    return Summary(
        statistics.fmean(numbers), statistics.stdev(numbers) if len(numbers) > 1 else None, len(numbers)
    )


def paired_difference(ours: Mapping[int, float], control: Mapping[int, float]) -> Difference | None:
    """Compare values by seed with a control's; None if they have no seed in common."""
    differences = {seed: ours[seed] - control[seed] for seed in ours.keys() & control.keys()}
    summary = summarise(differences)
    if summary is None:
        return None
    se = None if summary.sd is None else summary.sd / math.sqrt(summary.n)
    return Difference(summary.mean, se, summary.n)
