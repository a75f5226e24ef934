"""What every learner of a prior offers to a training loop."""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.latents import Latents
from hebm.learners.posterior import PosteriorLatents

__all__ = ["PriorLearner"]


class PriorLearner(Protocol):
    """Changes a prior's parameters in place, from data-side latents; the loop sets the optimisers' rates.

    What comes out is the prior itself: its ``log_density``, its ``density()`` for a sampler, and ``log_prob`` where it
    is normalised.
    """

    optimizers: dict[str, Optimizer]

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Fit what is fitted at once, before the steps on still latents begin; what was found, for the log.

        Args:
            posterior: The data side, which no longer moves.
            generator: Source of every draw.

        Raises:
            NonFiniteError: If the fit failed.
        """
        ...

    def step(self, latents: Latents) -> dict[str, Tensor]:
        """Take one step on a batch of data-side latents, top level first; the batch means of its terms.

        Raises:
            NonFiniteError: If a chain or a gradient left the finite numbers.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint needs besides prior and optimisers."""
        ...

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`tensors` gave."""
        ...
