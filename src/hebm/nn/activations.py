"""Activations with their derivatives, so that a network's input gradient can be written out by hand.

The `_into` forms do the same into memory that is there already, for loops of many small evaluations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["ACTIVATIONS", "Activation", "activation_named"]

_aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """A pointwise function and its backward map.

    Args:
        name: What configurations call it.
        forward: The function of the pre-activation.
        backward: (gradient at the output, pre-activation) to the gradient at the pre-activation.
        forward_into: (pre-activation, out): the function, written to `out`.
        backward_into: (gradient at the output, kept, out): the backward map, written to `out`.
        keeps_output: Whether `kept` is the activation's output, so that the function may overwrite its
            pre-activation; otherwise it is the pre-activation.
        slope: Slope of the negative side, of a leaky ReLU.
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    forward_into: Callable[[Tensor, Tensor], Tensor]
    backward_into: Callable[[Tensor, Tensor, Tensor], Tensor]
    keeps_output: bool = False
    slope: float = 0.0


def _leaky(slope: float) -> Activation:
    return Activation(
        "leaky_relu",
        lambda a: F.leaky_relu(a, slope),
        lambda g, a: _aten.leaky_relu_backward(g, a, slope, False),
        lambda a, out: _aten.leaky_relu.out(a, slope, out=out),
        lambda g, h, out: _aten.leaky_relu_backward.grad_input(g, h, slope, True, grad_input=out),
        keeps_output=True,
        slope=slope,
    )


def _of_input(
    name: str, forward: Callable[[Tensor], Tensor], into: Any, backward: Any, *constants: float
) -> Activation:
    """An operation whose backward map needs the pre-activation, and constants that are the forward map's defaults."""
    return Activation(
        name,
        forward,
        lambda g, a: backward(g, a, *constants),
        lambda a, out: into.out(a, out=out),
        lambda g, a, out: backward.grad_input(g, a, *constants, grad_input=out),
    )


ACTIVATIONS: dict[str, Activation] = {
    "leaky_relu": _leaky(0.2),
    "silu": _of_input("silu", F.silu, _aten.silu, _aten.silu_backward),
    "gelu": _of_input("gelu", F.gelu, _aten.gelu, _aten.gelu_backward),
    "softplus": _of_input("softplus", F.softplus, _aten.softplus, _aten.softplus_backward, 1, 20),
    "tanh": Activation(
        "tanh",
        torch.tanh,
        lambda g, a: _aten.tanh_backward(g, torch.tanh(a)),
        lambda a, out: torch.tanh(a, out=out),
        lambda g, h, out: _aten.tanh_backward.grad_input(g, h, grad_input=out),
        keeps_output=True,
    ),
}


def activation_named(name: str) -> Activation:
    """The activation a configuration names; slope 0.2 for ``leaky_relu``.

    Raises:
        ValueError: If no activation has that name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown; choose one of {sorted(ACTIVATIONS)}.")
    return ACTIVATIONS[name]
