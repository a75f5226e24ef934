"""Activations: forward maps by definition, backward maps against autograd."""

import pytest
import torch
from torch import Tensor

from hebm.nn import ACTIVATIONS, activation_named

pytestmark = pytest.mark.usefixtures("on_device")

DEFINITIONS = {
    "leaky_relu": lambda a: torch.where(a > 0, a, 0.2 * a),
    "silu": lambda a: a / (1 + (-a).exp()),
    "gelu": lambda a: a * (1 + torch.erf(a / 2**0.5)) / 2,
    "softplus": lambda a: torch.log1p(a.exp()),
    "tanh": lambda a: (a.exp() - (-a).exp()) / (a.exp() + (-a).exp()),
}


def points() -> Tensor:
    return torch.linspace(-4, 4, 101, dtype=torch.float64) + 0.003


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_the_activation_is_the_named_function(name: str) -> None:
    """Against its definition; leaky ReLU has slope 0.2."""
    a = points()
    torch.testing.assert_close(activation_named(name).forward(a), DEFINITIONS[name](a))


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_the_backward_map_is_the_derivative(name: str) -> None:
    """Gradient at the output times the derivative of the definition, by autograd."""
    a = points().requires_grad_()
    g = torch.cos(points())
    (expected,) = torch.autograd.grad((g * DEFINITIONS[name](a)).sum(), a)
    torch.testing.assert_close(activation_named(name).backward(g, a.detach()), expected)


@pytest.mark.parametrize(
    ("name", "slope"), [("leaky_relu", 1), ("softplus", 1), ("tanh", 1), ("gelu", 1.13), ("silu", 1.10)]
)
def test_slopes_are_as_large_as_documented(name: str, slope: float) -> None:
    """The Lipschitz bound of an MLP rests on slopes of at most 1, or 1.13 and 1.10."""
    a = torch.linspace(-20, 20, 20_001, dtype=torch.float64)
    steepest = activation_named(name).backward(torch.ones_like(a), a).abs().max().item()
    assert slope - 0.01 < steepest <= slope


def test_an_unknown_activation_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match=r"'swish' is unknown; choose one of .*silu"):
        activation_named("swish")
