"""Which images keep their labels: nested, stratified subsets of a set, each a prefix of one random order."""

import numpy as np
import torch
from numpy.typing import NDArray

from hebm.errors import ConfigError

__all__ = ["nested_order", "subset_sizes"]

SMALLEST = 10


def nested_order(labels: NDArray[np.int64], generator: torch.Generator) -> NDArray[np.int64]:
    r"""Order all items so that every prefix has the classes in their proportions, within one item of each.

    Item k of the n_c of a class, in random order, stands at :math:`(k + 1/2) / n_c`; items at the same place are in
    random order.

    Args:
        labels: Class of every item, [N].
        generator: Source of the order, on the CPU.

    Returns:
        A permutation of 0, ..., N - 1.
    """
    shuffled = torch.randperm(len(labels), generator=generator).numpy()
    place = np.empty(len(labels))
    for value in np.unique(labels):
        rows = np.flatnonzero(labels[shuffled] == value)
        place[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    order: NDArray[np.int64] = shuffled[np.argsort(place, kind="stable")]
    return order


def subset_sizes(shares: tuple[float, ...], labels: NDArray[np.int64]) -> list[int]:
    """How many items every share of a set has.

    Raises:
        ConfigError: If the smallest has fewer than ten, or fewer than there are classes.
    """
    sizes = [round(share * len(labels)) for share in shares]
    least = max(SMALLEST, len(np.unique(labels)))
    if min(sizes) < least:
        raise ConfigError(
            f"the share {min(shares)} of {len(labels)} images is {min(sizes)}, but a probe needs {least} or more; "
            "raise the smallest of evaluation.sample_efficiency.shares, or data.limit."
        )
    return sizes
