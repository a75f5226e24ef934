"""What every metric asks of its arrays: [N, D], finite, the same D on both sides, enough rows."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from hebm.errors import HebmError, NonFiniteError

__all__ = ["ArrayLike", "MetricInputError", "as_features", "check_pair", "random_rows"]

ArrayLike = Tensor | NDArray[Any]


class MetricInputError(HebmError, ValueError):
    """Arrays given to a metric do not have the shape, range or number of rows it needs."""


def as_features(values: ArrayLike, name: str) -> Tensor:
    """Turn features into a float64 tensor on the CPU.

    Args:
        values: Features, [N, D].
        name: What they are, for the error message.

    Returns:
        The same numbers, [N, D] float64.

    Raises:
        MetricInputError: If there are not exactly two axes, or no feature at all.
        NonFiniteError: If a feature is infinite or not a number.
    """
    features = torch.as_tensor(values).detach().to("cpu", torch.float64)
    if features.ndim != 2 or features.shape[1] == 0:
        raise MetricInputError(
            f"{name} must be [N, D] with D > 0, got {list(features.shape)}; flatten each item to one row."
        )
    if not torch.isfinite(features).all():
        bad = int((~torch.isfinite(features)).any(1).nonzero()[0])
        raise NonFiniteError(f"{name} are not finite (first in row {bad}); look at the images in that row.")
    return features


def check_pair(real: Tensor, fake: Tensor, *, minimum: int) -> None:
    """Refuse two feature sets of different dimension, or with fewer rows than the metric needs."""
    if real.shape[1] != fake.shape[1]:
        raise MetricInputError(
            f"real features have dimension {real.shape[1]} but fake ones {fake.shape[1]}; "
            "use one extractor for both."
        )
    for name, features in (("real", real), ("fake", fake)):
        if len(features) < minimum:
            raise MetricInputError(f"{name} features: need at least {minimum} rows, got {len(features)}.")


def random_rows(features: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """Choose ``n`` rows without replacement, in random order; all rows, untouched, if there are no more."""
    if len(features) <= n:
        return features
    return features[torch.randperm(len(features), generator=generator)[:n]]
