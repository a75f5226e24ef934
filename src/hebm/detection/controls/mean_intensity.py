r"""Control: the mean grey value of an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hebm.detection.controls.base import StatisticScore, check_pixels

__all__ = ["MeanIntensity"]


@dataclass(frozen=True)
class MeanIntensity:
    r"""Mean pixel value, or how far it is from that of normal images.

    .. math:: t(x) = \frac1D \sum_d x_d, \qquad s(x) = t(x) \;\text{ or }\; |t(x) - \bar t|

    Direction, chosen without looking at anomalies: two-sided, darker and brighter than usual are both anomalous.
    One-sided there is no reason for either sign; brighter counts as more anomalous, so an AUROC near 0 says that
    darkness gives the other set away.

    Args:
        two_sided: Distance from the normal images' mean instead of the raw value.
    """

    two_sided: bool = False

    def fit(self, normals: Tensor) -> StatisticScore:
        """Remember the normal images' mean. Scores are in [0, 1]."""
        values = _mean_intensity(check_pixels(normals))
        return StatisticScore(
            _mean_intensity, tuple(normals.shape[1:]), float(values.mean()) if self.two_sided else None
        )


def _mean_intensity(x: Tensor) -> NDArray[np.float64]:
    values: NDArray[np.float64] = x.double().flatten(1).mean(1).numpy()
    return values
