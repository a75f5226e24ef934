r"""Scalar multilayer perceptrons with an optional Lipschitz bound, and their frozen form.

A frozen network holds plain tensors: calling it trains nothing, changes no buffer, and its input gradient
is written out by hand, one forward and one backward sweep of matrix products.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from hebm.nn.activations import Activation, activation_named

__all__ = ["MLP", "FrozenMLP"]


@dataclass(frozen=True)
class FrozenMLP:
    """A scalar network as plain tensors: effective weights [out, in] and biases [out], output scale folded in."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activation: Activation

    def __call__(self, z: Tensor) -> Tensor:
        """Value of each row, [B, d] to [B]; differentiable in the input."""
        hidden = z
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = self.activation.forward(torch.addmm(bias, hidden, weight.t()))
        return torch.addmm(self.biases[-1], hidden, self.weights[-1].t()).squeeze(1)

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Values [B] and their gradients in the input [B, d], without an autograd graph."""
        hidden, pre_activations = z, []
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            pre_activations.append(torch.addmm(bias, hidden, weight.t()))
            hidden = self.activation.forward(pre_activations[-1])
        value = torch.addmm(self.biases[-1], hidden, self.weights[-1].t()).squeeze(1)
        grad = self.weights[-1].expand(len(z), -1)
        for weight, pre_activation in zip(
            reversed(self.weights[:-1]), reversed(pre_activations), strict=True
        ):
            grad = self.activation.backward(grad, pre_activation) @ weight
        return value, grad

    def with_input_units(self, centre: Tensor, spread: Tensor) -> "FrozenMLP":
        """The network of (z - centre) / spread, both [d], as a network of z: folded into the first layer."""
        first = self.weights[0] / spread
        bias = self.biases[0] - first @ centre
        return FrozenMLP((first, *self.weights[1:]), (bias, *self.biases[1:]), self.activation)


class MLP(nn.Module):
    r"""A scalar network of `depth` hidden layers; with a bound c, every layer W becomes W/σ(W) and the output c times.

    Activations have slopes of at most 1 (``gelu`` and ``silu``: 1.13 and 1.10), so the function is then about
    c-Lipschitz; σ is a power-iteration estimate that moves only in training mode.

    The output's constant is zero and does not learn: log Z absorbs any constant, so its gradient is nothing but
    rounding, which an adaptive optimiser would blow up to a drift.

    Args:
        n_in: Width of the input.
        width: Width of the hidden layers; 0 hidden layers make it linear.
        depth: Number of hidden layers.
        activation: Name of the activation.
        lipschitz: The bound c > 0, or None for none.

    Source: Miyato et al. (2018), arXiv:1802.05957, for the spectral normalisation.
    """

    def __init__(
        self, n_in: int, width: int, depth: int, activation: str, lipschitz: float | None = None
    ) -> None:
        super().__init__()
        self.activation = activation_named(activation)
        self.output_scale = 1.0 if lipschitz is None else lipschitz
        widths = [n_in, *[width] * depth, 1]
        layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
        if lipschitz is not None:
            for layer in layers:
                spectral_norm(layer)
        nn.init.zeros_(layers[-1].bias)
        layers[-1].bias.requires_grad_(False)
        self.layers = nn.ModuleList(layers)

    def forward(self, z: Tensor) -> Tensor:
        """Value of each row, [B, d] to [B]."""
        hidden = z
        for layer in self.layers[:-1]:
            hidden = self.activation.forward(layer(hidden))
        value: Tensor = self.layers[-1](hidden).squeeze(1)
        return self.output_scale * value

    @torch.no_grad()
    def frozen(self) -> FrozenMLP:
        """The same function as plain tensors, normalisation folded once; no buffer moves."""
        was_training = self.training
        self.eval()
        try:
            linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
            weights = [layer.weight.detach() for layer in linear]
            biases = [layer.bias.detach() for layer in linear]
        finally:
            self.train(was_training)
        if self.output_scale != 1:
            weights[-1], biases[-1] = self.output_scale * weights[-1], self.output_scale * biases[-1]
        return FrozenMLP(tuple(weights), tuple(biases), self.activation)
