"""What all processes of a training agree on; with one process, no communication."""

import torch
from lightning_fabric import Fabric
from torch import Tensor

__all__ = ["any_process", "gather_rows", "mean_over_processes"]


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Whether the flag is set on any process."""
    if fabric.world_size == 1:
        return flag
    total = fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum")
    assert isinstance(total, Tensor)
    return total.item() > 0


def mean_over_processes(fabric: Fabric, value: Tensor) -> Tensor:
    """Mean of a tensor over processes that hold equally many items."""
    if fabric.world_size == 1:
        return value
    mean = fabric.all_reduce(value, reduce_op="mean")
    assert isinstance(mean, Tensor)
    return mean


def gather_rows(fabric: Fabric, rows: Tensor) -> Tensor:
    """Rows [n, D] of all processes in the order of their ranks, [world * n, D]."""
    if fabric.world_size == 1:
        return rows
    gathered = fabric.all_gather(rows)
    assert isinstance(gathered, Tensor)
    return gathered.reshape(-1, rows.shape[1])
