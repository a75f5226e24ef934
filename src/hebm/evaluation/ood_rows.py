"""One score on one pair of image sets: its measures with intervals, and by how much it beats another score."""

from typing import Any

from torch import Tensor

from hebm.metrics import Ranking, bootstrap_rankings, percentile_interval, ranking
from hebm.randomness import named_generator

__all__ = ["Ranked", "rank"]


class Ranked:
    """Measures of one score, and of its resampled images.

    Args:
        normal: Scores of normal images, [N].
        anomalous: Scores of those that do not belong, [M].
        n_resamples: Of the bootstrap.
        seed: Of the resamples; scores of the same images under the same seed are compared image by image.
    """

    def __init__(self, normal: Tensor, anomalous: Tensor, *, n_resamples: int, seed: int) -> None:
        self.n_in, self.n_out = len(normal), len(anomalous)
        self.value: Ranking = ranking(normal, anomalous)
        self.resampled: Ranking = bootstrap_rankings(
            normal, anomalous, n_resamples=n_resamples, generator=named_generator(seed, "ood", "bootstrap")
        )

    def to_json(self) -> dict[str, Any]:
        """Every measure with its 95 % interval over images."""
        row: dict[str, Any] = {}
        for name, value in self.value._asdict().items():
            row[name] = value
            row[f"{name}_interval"] = percentile_interval(getattr(self.resampled, name))
        return {
            **row,
            "n_in": self.n_in,
            "n_out": self.n_out,
            "base_rate": self.n_out / (self.n_in + self.n_out),
        }

    def margin_over(self, control: "Ranked", *, reversed_sign: bool = False) -> dict[str, Any]:
        """By how much the AUROC is above another score's, with the interval of the paired difference.

        Args:
            control: A score of the same images, resampled under the same seed.
            reversed_sign: Whether that score is taken with the opposite sign.
        """
        rival, rivals = control.value.auroc, control.resampled.auroc
        if reversed_sign:
            rival, rivals = 1 - rival, 1 - rivals
        return {
            "control_auroc": rival,
            "difference": self.value.auroc - rival,
            "interval": percentile_interval(self.resampled.auroc - rivals),
        }


def rank(
    normal: dict[str, Tensor], anomalous: dict[str, Tensor], *, n_resamples: int, seed: int
) -> dict[str, Ranked]:
    """Measure several scores of the same images, as many on both sides as the smaller has."""
    rows = {}
    for name, low in normal.items():
        n = min(len(low), len(anomalous[name]))
        rows[name] = Ranked(low[:n], anomalous[name][:n], n_resamples=n_resamples, seed=seed)
    return rows
