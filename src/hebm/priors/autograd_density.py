"""Frozen views of normalised priors: copies without gradients, and a density whose gradient is autograd's."""

import copy
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.priors.base import BasePrior

__all__ = ["AutogradDensity", "frozen_copy"]

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class AutogradDensity:
    """A prior's log-density; takes the levels, or the flat state as a tuple of one.

    Args:
        prior: A copy whose parameters need no gradient, see :func:`frozen_copy`.
    """

    prior: BasePrior

    def __call__(self, latents: Latents) -> Tensor:
        """Normalised log-density, [B] nats, differentiable in the latents."""
        return self.prior.log_prob(unflatten_latents(flatten_latents(latents), self.prior.level_dims))

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        """The same value [B] and its gradients, shaped like the latents."""
        leaves = tuple(z.detach().requires_grad_() for z in latents)
        with torch.enable_grad():
            value = self(leaves)
            grads = torch.autograd.grad(value.sum(), leaves)
        return value.detach(), grads


def frozen_copy(prior: Module) -> Module:
    """The same module with parameters of its own, which need no gradient."""
    return copy.deepcopy(prior).requires_grad_(False)
