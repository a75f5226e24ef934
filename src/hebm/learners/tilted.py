"""A learned base and the energy that tilts it: two learners, one after the other in every step."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.latents import Latents
from hebm.learners.base import PriorLearner
from hebm.learners.posterior import PosteriorLatents

__all__ = ["TiltedLearner"]


class TiltedLearner:
    """First the base, by its own likelihood; then the energy, on what the base has become.

    The base does not see the energy: it learns the data side as if it were alone, and the energy what is left. That is
    not the gradient of the tilted likelihood in the base's parameters, and it needs none of its chains.

    Args:
        base: Learner of the base.
        energy: Learner of the energy.
    """

    def __init__(self, base: PriorLearner, energy: PriorLearner) -> None:
        self.base, self.energy = base, energy
        self.optimizers: dict[str, Optimizer] = {**base.optimizers, **energy.optimizers}

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Fit the base, then what the energy needs."""
        found = self.base.prepare(posterior, generator=generator)
        return found | self.energy.prepare(posterior, generator=generator)

    def step(self, latents: Latents) -> dict[str, Tensor]:
        """One step of both."""
        return self.base.step(latents) | self.energy.step(latents)

    def tensors(self) -> dict[str, Tensor]:
        """What both need."""
        return self.base.tensors() | self.energy.tensors()

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put it back."""
        self.base.load(tensors)
        self.energy.load(tensors)
