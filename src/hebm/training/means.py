"""Running means of logged quantities, kept on the device so that no step waits for the host."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["RunningMeans"]


class RunningMeans:
    """Sums of named quantities since the last log line; vectors are averaged entry by entry."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one step's values; a quantity counts the steps that had it."""
        for name, value in values.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def look(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float | list[float]]:
        """Means since the last :meth:`clear`, averaged over processes by `reduce`."""
        return {name: reduce(total / self.counts[name]).tolist() for name, total in self.sums.items()}

    def clear(self) -> None:
        """Forget all sums."""
        self.sums, self.counts = {}, {}

    def tensors(self) -> dict[str, Tensor]:
        """Sums and counts, for a checkpoint."""
        counts = {f"count.{name}": torch.tensor(count) for name, count in self.counts.items()}
        return {f"sum.{name}": total for name, total in self.sums.items()} | counts

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave."""
        self.sums = {n.removeprefix("sum."): value for n, value in tensors.items() if n.startswith("sum.")}
        self.counts = {name: int(tensors[f"count.{name}"]) for name in self.sums}
