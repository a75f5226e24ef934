r"""Exponential moving average of all nets: θ̄ ← d θ̄ + (1 - d) θ."""

import copy

import torch

from hebm.models import JointModel

__all__ = ["EmaModel"]


class EmaModel:
    """A copy of a model whose parameters follow the original's; buffers are copied as they are.

    Args:
        source: The model to follow; the copy is in eval mode and needs no gradients.
    """

    def __init__(self, source: JointModel) -> None:
        self.model = copy.deepcopy(source).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, source: JointModel, decay: float) -> None:
        """Move every parameter a step 1 - decay towards the source's."""
        torch._foreach_lerp_(list(self.model.parameters()), list(source.parameters()), 1 - decay)
        for mine, theirs in zip(self.model.buffers(), source.buffers(), strict=True):
            mine.copy_(theirs)

    @torch.no_grad()
    def copy_to(self, target: JointModel) -> None:
        """Put the averages in place of another model's parameters and buffers."""
        target.load_state_dict(self.model.state_dict())

    def copy_from(self, source: JointModel) -> None:
        """Start the averages anew at another model's parameters and buffers."""
        self.model.load_state_dict(source.state_dict())
