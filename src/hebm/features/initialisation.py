"""Build networks without touching the global random stream, with weights that are equal on every machine."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["build_empty", "he_uniform_", "initialise_"]

_Module = TypeVar("_Module", bound=nn.Module)


def build_empty(make: Callable[[], _Module], device: torch.device | str = "cpu") -> _Module:
    """Make a module with unset weights: built without storage, so that no initialiser draws a number."""
    with torch.device("meta"):
        module = make()
    return module.to_empty(device=device)


def initialise_(module: nn.Module, generator: torch.Generator) -> None:
    """Set every layer: He-uniform weights, zero biases, normalisation at its neutral values."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            he_uniform_(layer.weight, generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_parameters()


@torch.no_grad()
def he_uniform_(weight: Tensor, generator: torch.Generator) -> None:
    r"""Draw weights from :math:`U(-\sqrt{6 / n_{in}}, \sqrt{6 / n_{in}})`, variance 2 / n_in.

    The draws are integers, scaled; unlike floating-point draws they are the same bits on every processor.

    Args:
        weight: Written to; [out, in, ...].
        generator: Source of the draws, on the CPU.

    Source: He et al. (2015), arXiv:1502.01852, eq. (10).
    """
    half = 2**15
    draws = torch.randint(-half, half + 1, weight.shape, generator=generator)
    bound = math.sqrt(6 / weight[0].numel())
    weight.copy_(draws.float() / half * bound)
