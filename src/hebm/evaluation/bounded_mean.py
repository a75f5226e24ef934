"""Means over images as the result files have them: an interval that log Z leaves open, and a standard error."""

from typing import Any

from torch import Tensor

from hebm.evaluation.log_z import LogZ

__all__ = ["bounded_mean", "mean_and_se"]


def mean_and_se(values: Tensor) -> tuple[float, float]:
    """Mean of independent items, and its standard error: [N] nats to two numbers."""
    return values.mean().item(), values.std().item() / len(values) ** 0.5


def bounded_mean(name: str, values: Tensor, log_z: LogZ) -> dict[str, Any]:
    """The fields ``name``, the interval of the mean minus log Z, and ``name_se``, the error of the mean.

    Args:
        name: Of the field.
        values: Of the items, up to log Z, [N] nats.
        log_z: What is taken from each.
    """
    mean, se = mean_and_se(values)
    return {name: list(log_z.under(mean)), f"{name}_se": se}
