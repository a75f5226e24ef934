r"""Targets that a fused chain can run: N(0, I) tilted by a sum of small networks over the flat state.

.. math:: \log p(z) = -\tfrac12 |z|^2 - \tfrac{D}{2}\log 2\pi - \sum_n \mathrm{MLP}_n(z_{c_n}) - \mathrm{constant}

A density says by its parts that it has this form, whatever its class; :func:`recognise` reads them. With one network
over all columns that is the joint energy, with one per level the uncoupled one, with several over all columns stages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["Activation", "Network", "Target", "recognise"]


class Activation(Protocol):
    """A pointwise function and its backward map, written to memory that is there (:mod:`hebm.nn.activations`)."""

    @property
    def name(self) -> str:
        """What configurations call it."""
        ...

    @property
    def slope(self) -> float:
        """Slope of the negative side, of a leaky ReLU."""
        ...

    @property
    def keeps_output(self) -> bool:
        """Whether the backward map takes the function's output instead of the pre-activation."""
        ...

    @property
    def forward_into(self) -> Callable[[Tensor, Tensor], Tensor]:
        """(pre-activation, out)."""
        ...

    @property
    def backward_into(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """(gradient at the output, output or pre-activation, out)."""
        ...


class Network(Protocol):
    """A scalar network as plain tensors: effective weights [out, in] and biases [out], first layer first."""

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Weights."""
        ...

    @property
    def biases(self) -> tuple[Tensor, ...]:
        """Biases."""
        ...

    @property
    def activation(self) -> Activation:
        """Between the layers."""
        ...


@dataclass(frozen=True)
class Target:
    """What :func:`recognise` found: networks, the columns of the flat state that each reads, and a constant."""

    networks: tuple[Network, ...]
    columns: tuple[slice, ...]
    constant: float


def recognise(log_density: object) -> Target | str:
    """The parts of a density if a fused chain can run it; otherwise why it cannot, in words."""
    name = type(log_density).__name__
    energy, base = getattr(log_density, "energy", None), getattr(log_density, "base", None)
    parts = [getattr(energy, part, None) for part in ("networks", "columns", "constant")]
    if any(part is None for part in parts):
        return f"the target ({name}) is not a base tilted by plain networks"
    if not getattr(base, "is_standard_normal", False):
        return f"the base ({type(base).__name__}) is not N(0, I)"
    target = Target(*parts)  # type: ignore[arg-type]
    if any(len(network.weights) < 2 for network in target.networks):
        return "the energy is linear"
    if any(len({len(weight) for weight in network.weights[:-1]}) > 1 for network in target.networks):
        return "the energy's hidden layers differ in width"
    return target
