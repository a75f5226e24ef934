"""The one update all gradient learners share."""

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.errors import NonFiniteError

__all__ = ["descend"]


def descend(loss: Tensor, optimizer: Optimizer, *, max_norm: float | None) -> Tensor:
    """Take one step down a scalar loss, its gradient clipped to a norm if one is given; the norm before.

    Raises:
        NonFiniteError: If the gradient is not finite; no parameter has moved then.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(parameters, float("inf") if max_norm is None else max_norm)
    if not torch.isfinite(norm):
        raise NonFiniteError("the gradient of the prior is not finite; lower `trainer.energy.lr`.")
    optimizer.step()
    return norm
