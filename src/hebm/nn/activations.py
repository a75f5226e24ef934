"""Activations with their derivatives, so that a network's input gradient can be written out by hand."""

from collections.abc import Callable
from dataclasses import dataclass

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
    """

    name: str
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]


def _leaky(slope: float) -> Activation:
    return Activation(
        "leaky_relu",
        lambda a: F.leaky_relu(a, slope),
        lambda g, a: _aten.leaky_relu_backward(g, a, slope, False),
    )


ACTIVATIONS: dict[str, Activation] = {
    "leaky_relu": _leaky(0.2),
    "silu": Activation("silu", F.silu, lambda g, a: _aten.silu_backward(g, a)),
    "gelu": Activation("gelu", F.gelu, lambda g, a: _aten.gelu_backward(g, a)),
    "softplus": Activation("softplus", F.softplus, lambda g, a: _aten.softplus_backward(g, a, 1, 20)),
    "tanh": Activation("tanh", torch.tanh, lambda g, a: _aten.tanh_backward(g, torch.tanh(a))),
}


def activation_named(name: str) -> Activation:
    """The activation a configuration names; slope 0.2 for ``leaky_relu``.

    Raises:
        ValueError: If no activation has that name.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown; choose one of {sorted(ACTIVATIONS)}.")
    return ACTIVATIONS[name]
