"""The one update all gradient learners share, and when anybody looks at its numbers."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.errors import NonFiniteError

__all__ = ["descend", "looks_at_once"]


def looks_at_once(like: Tensor) -> bool:
    """Whether a step looks at its own numbers and stops at one that is not finite: on a CPU, where looking is free.

    On a GPU every look waits for the device. There the optimiser skips an update that is not finite, on the device, and
    the mean of the next log line tells.
    """
    return like.device.type == "cpu"


def descend(loss: Tensor, optimizer: Optimizer, *, max_norm: float | None) -> Tensor:
    """Take one step down a scalar loss, its gradient clipped to a norm if one is given; the norm before.

    Args:
        loss: The loss.
        optimizer: A fused Adam; if the gradient is not finite, no parameter moves.
        max_norm: Bound on the gradient's norm.

    Raises:
        NonFiniteError: If the gradient is not finite, and :func:`looks_at_once`; elsewhere the norm tells.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(parameters, float("inf") if max_norm is None else max_norm)
    if not looks_at_once(norm):
        optimizer.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]  # as a gradient scaler does
    elif not torch.isfinite(norm):
        raise NonFiniteError("the gradient of the prior is not finite; lower `trainer.energy.lr`.")
    optimizer.step()
    return norm
