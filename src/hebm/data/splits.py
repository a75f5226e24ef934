"""Which items of a file or folder belong to a split; disjoint, and a function of (N, share, seed) alone."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hebm.errors import DataError
from hebm.randomness import named_generator

__all__ = ["HELD_OUT_SPLITS", "Selection"]

HELD_OUT_SPLITS = ("train", "test", "all")


@dataclass(frozen=True)
class Selection:
    """What the user wants of a set's items.

    Args:
        split: The split's name.
        holdout: Share of the items in ``test``, where the set has no test split of its own; ``train`` is the
            rest and ``all`` is both.
        seed: Chooses the held-out items.
        limit: At most so many items, the first ones of the split; all if None.
    """

    split: str
    holdout: float = 0.1
    seed: int = 0
    limit: int | None = None

    def of_split(self, n_items: int) -> NDArray[np.int64]:
        """Select from the N items of an official split."""
        return np.arange(n_items, dtype=np.int64)[: self.limit]

    def held_out(self, n_items: int) -> NDArray[np.int64]:
        """Select from the N items of a set without splits of its own.

        Raises:
            DataError: If the share leaves the split without items.
        """
        if self.split == "all":
            return self.of_split(n_items)
        order = torch.randperm(n_items, generator=named_generator(self.seed, "holdout")).numpy()
        n_test = round(self.holdout * n_items)
        chosen: NDArray[np.int64] = np.sort(order[:n_test] if self.split == "test" else order[n_test:])
        if len(chosen) == 0:
            raise DataError(
                f"a held-out share of {self.holdout} of {n_items} images leaves the split '{self.split}' "
                "empty; change `data.holdout`, add images, or use the split 'all'."
            )
        return chosen[: self.limit]
