"""What both trainings share: which images a step sees, how the rate falls, and when to stop."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from hebm.data import epoch_order
from hebm.errors import DataError, NonFiniteError

__all__ = ["SteppedAdam", "batch_rows", "require_finite_loss"]


def batch_rows(n_images: int, batch_size: int, *, n_steps: int, seed: int) -> Iterator[Tensor]:
    """Rows of every step's batch, int64 [batch_size]; epochs in random order, what is left of each being skipped.

    Raises:
        DataError: If there are fewer images than one batch.
    """
    if n_images < batch_size:
        raise DataError(
            f"{n_images} images are fewer than one batch of {batch_size}; lower "
            "evaluation.sample_efficiency.batch_size."
        )
    per_epoch = n_images // batch_size
    for step in range(n_steps):
        if step % per_epoch == 0:
            order = epoch_order(n_images, seed=seed, epoch=step // per_epoch)
        start = step % per_epoch * batch_size
        yield order[start : start + batch_size]


class SteppedAdam:
    r"""Adam whose rate falls along half a cosine, :math:`\eta_t = \eta \tfrac12 (1 + \cos(\pi t / T))`.

    Args:
        modules: What learns.
        lr: The first rate.
        n_steps: T, after which the rate is zero.
        beta_1: Adam's first constant.
    """

    def __init__(self, *modules: nn.Module, lr: float, n_steps: int, beta_1: float = 0.9) -> None:
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=lr, betas=(beta_1, 0.999))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / n_steps))
        )

    def step(self, loss: Tensor) -> None:
        """Take one step down the gradient of a loss in these modules alone."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=self.parameters)
        self.optimizer.step()
        self.schedule.step()


def require_finite_loss(loss: Tensor, what: str, step: int) -> float:
    """The loss as a number.

    Raises:
        NonFiniteError: If it is none.
    """
    value = loss.item()
    if not math.isfinite(value):
        raise NonFiniteError(
            f"the loss of {what} is not finite at step {step}; lower its learning rate in "
            "evaluation.sample_efficiency, or look at the images."
        )
    return value
