"""Running means of logged quantities, kept on the device so that no step waits for the host."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["RunningMeans"]


class RunningMeans:
    """Sums of named quantities since the last log line; vectors are averaged entry by entry."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one step's values."""
        for name, value in values.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.count += 1

    def look(self, reduce: Callable[[Tensor], Tensor]) -> dict[str, float | list[float]]:
        """Means since the last :meth:`clear`, averaged over processes by `reduce`."""
        return {name: reduce(total / self.count).tolist() for name, total in self.sums.items()}

    def clear(self) -> None:
        """Forget all sums."""
        self.sums, self.count = {}, 0

    def tensors(self) -> dict[str, Tensor]:
        """Sums and count, for a checkpoint."""
        return {**self.sums, "count": torch.tensor(self.count)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave."""
        self.count = int(tensors["count"])
        self.sums = {name: value for name, value in tensors.items() if name != "count"}
