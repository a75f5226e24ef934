"""Scalar networks: plain, spectrally normalised, frozen."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hebm.nn import ACTIVATIONS, MLP

pytestmark = pytest.mark.usefixtures("on_device")
N_IN = 5


def mlp(depth: int, activation: str = "tanh", lipschitz: float | None = None, gain: float = 1.0) -> MLP:
    """A float64 network with weights `gain` times larger than PyTorch's, its power iterations converged."""
    torch.manual_seed(0)
    network = MLP(N_IN, 16, depth, activation, lipschitz).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(gain if "weight" in name else 1.0)
        network.layers[-1].bias.fill_(0.3)  # zero at first; a loaded network may have one
        for _ in range(200):
            network(inputs(1))
    return network.eval()


def inputs(n: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(n, N_IN, generator=generator, dtype=torch.float64, device="cpu")).to(
        torch.get_default_device()
    )


def input_grad(network: MLP, z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    (grad,) = torch.autograd.grad(network(z).sum(), z)
    return grad


def test_the_value_is_the_nested_formula() -> None:
    """w·a(W₂ a(W₁ z + b₁) + b₂) + b for two hidden layers."""
    network, z = mlp(2), inputs(3)
    first, second, last = network.layers
    hidden = torch.tanh(z @ first.weight.T + first.bias)
    hidden = torch.tanh(hidden @ second.weight.T + second.bias)
    torch.testing.assert_close(network(z), (hidden @ last.weight.T + last.bias)[:, 0])


@pytest.mark.parametrize("lipschitz", [None, 3.0])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_the_frozen_gradient_is_that_of_autograd(
    activation: str, depth: int, lipschitz: float | None
) -> None:
    """Value and gradient written out by hand agree with the network in evaluation mode."""
    network, z = mlp(depth, activation, lipschitz, gain=3), inputs(7)
    value, grad = network.frozen().value_and_grad(z)
    torch.testing.assert_close(value, network(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, input_grad(network, z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network.frozen()(z), network(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("depth", [0, 2])
def test_the_frozen_network_is_differentiable_in_its_input_alone(depth: int) -> None:
    """Its autograd gradient is the hand-written one, and no parameter is in its graph."""
    network, z = mlp(depth, "silu", 1.0), inputs(4).requires_grad_()
    frozen = network.frozen()
    (grad,) = torch.autograd.grad(frozen(z).sum(), z)
    torch.testing.assert_close(grad, frozen.value_and_grad(z.detach())[1])
    assert not any(t.requires_grad for t in (*frozen.weights, *frozen.biases))


@pytest.mark.parametrize("bound", [0.5, 1.0, 10.0])
@pytest.mark.parametrize("activation", ["leaky_relu", "softplus", "tanh"])
def test_a_bounded_network_is_lipschitz(activation: str, bound: float) -> None:
    """|E(z) - E(z')| ≤ c |z - z'| for near and far pairs, however large the raw weights."""
    network = mlp(2, activation, bound, gain=20)
    z = inputs(2000)
    for other in (inputs(2000, seed=2), z + 0.01 * inputs(2000, seed=3)):
        ratio = (network(z) - network(other)).abs() / (z - other).norm(dim=1)
        assert ratio.max().item() <= bound * (1 + 1e-6)


def test_without_a_bound_the_network_is_steeper() -> None:
    """The same weights without normalisation exceed slope 1 by far, so the bound is no accident."""
    assert input_grad(mlp(2, "leaky_relu", None, gain=20), inputs(100)).norm(dim=1).max().item() > 100


def test_a_bounded_linear_network_has_exactly_the_slope() -> None:
    """At depth 0 the gradient has the norm c everywhere: the bound is reached, not only respected."""
    norms = input_grad(mlp(0, lipschitz=2.5), inputs(3)).norm(dim=1)
    torch.testing.assert_close(norms, torch.full_like(norms, 2.5))


def test_bound_one_is_spectral_normalisation_of_every_layer() -> None:
    """Every layer's effective weight has largest singular value 1; the output is not scaled."""
    network = mlp(3, "leaky_relu", 1.0, gain=5)
    for layer in network.layers:
        torch.testing.assert_close(torch.linalg.matrix_norm(layer.weight, 2).item(), 1.0, rtol=1e-6, atol=0)
    hidden = inputs(4)
    for layer in network.layers[:-1]:
        hidden = F.leaky_relu(layer(hidden), 0.2)
    torch.testing.assert_close(network(inputs(4)), network.layers[-1](hidden)[:, 0])


def test_the_bound_scales_the_output() -> None:
    """Bound c gives c times the network with bound 1."""
    torch.testing.assert_close(mlp(2, lipschitz=4.0)(inputs(3)), 4 * mlp(2, lipschitz=1.0)(inputs(3)))


@pytest.mark.parametrize("training", [True, False])
def test_freezing_changes_nothing(training: bool) -> None:
    """No buffer, parameter or training flag moves: power iteration runs in training passes alone."""
    network = mlp(2, lipschitz=1.0).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    frozen = network.frozen()
    frozen.value_and_grad(inputs(2))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(module.training is training for module in network.modules())


@pytest.mark.parametrize("lipschitz", [None, 1.0])
def test_the_constant_of_the_output_is_zero_and_does_not_learn(lipschitz: float | None) -> None:
    """log Z absorbs it: every other parameter learns, this one stays."""
    network = MLP(N_IN, 4, 1, "silu", lipschitz)
    assert network.layers[-1].bias.item() == 0
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == {"layers.1.bias"}


@pytest.mark.parametrize("depth", [0, 2])
def test_input_units_are_folded_into_the_first_layer(depth: int) -> None:
    """The frozen network with units is the network of (z - centre) / spread: value and gradient, 1/spread included."""
    torch.manual_seed(0)
    network = MLP(3, 8, depth, "silu").double().frozen()
    centre = torch.tensor([0.5, -2.0, 1.0], dtype=torch.float64)
    spread = torch.tensor([0.2, 1.5, 3.0], dtype=torch.float64)
    z = torch.randn(5, 3, dtype=torch.float64)
    value, grad = network.with_input_units(centre, spread).value_and_grad(z)
    expected, inner_grad = network.value_and_grad((z - centre) / spread)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad, inner_grad / spread)
    torch.testing.assert_close(network.with_input_units(centre, spread)(z), expected)
