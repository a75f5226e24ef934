"""Layers and blocks; no probability, no loss."""

from hebm.nn.activations import ACTIVATIONS, Activation, activation_named
from hebm.nn.convolutions import TwinBlock, conv, halved, initialise_convolutions, transposed
from hebm.nn.mlp import MLP, FrozenMLP
from hebm.nn.precision import at_least_float32

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Activation",
    "FrozenMLP",
    "TwinBlock",
    "activation_named",
    "at_least_float32",
    "conv",
    "halved",
    "initialise_convolutions",
    "transposed",
]
