r"""The energy network E(z) over all levels: low is likely, p(z) ∝ exp(-E(z)) p₀(z).

The network's output *is* the energy. The reference code outputs f = -E; the sign is turned where its
weights are read, nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hebm.latents import Latents, check_latents, flatten_latents
from hebm.nn import MLP, FrozenMLP

__all__ = ["EnergyNetwork", "FrozenEnergy"]


@dataclass(frozen=True)
class FrozenEnergy:
    """An energy as plain tensors over the flat state [B, D]; one network per slice of columns."""

    networks: tuple[FrozenMLP, ...]
    widths: tuple[int, ...]

    def __call__(self, flat: Tensor) -> Tensor:
        """Energy of each row, [B] nats."""
        parts = torch.split(flat, list(self.widths), dim=1)
        values = [network(part) for network, part in zip(self.networks, parts, strict=True)]
        return values[0] if len(values) == 1 else torch.stack(values).sum(0)

    def value_and_grad(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Energies [B] and their gradients [B, D]."""
        parts = torch.split(flat, list(self.widths), dim=1)
        pairs = [network.value_and_grad(part) for network, part in zip(self.networks, parts, strict=True)]
        if len(pairs) == 1:
            return pairs[0]
        return torch.stack([value for value, _ in pairs]).sum(0), torch.cat([grad for _, grad in pairs], 1)


class EnergyNetwork(nn.Module):
    r"""E(z) as one MLP over the concatenation of all levels, or as a sum of one MLP per level.

    .. math:: E(z) = \mathrm{MLP}([z_L, \dots, z_1]) \quad\text{or}\quad E(z) = \sum_l \mathrm{MLP}_l(z_l)

    Args:
        level_dims: Number of latents of each level, top first.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        activation: Name of the activation (:data:`hebm.nn.ACTIVATIONS`).
        coupling: ``joint`` couples the levels (the method); ``per_level`` is the ablation without coupling.
        lipschitz: Bound c on the Lipschitz constant of each MLP, by spectral normalisation of every layer; the
            released code has c = 1. None: no bound.

    Source: arXiv:2310.09604, with f = -E.
    """

    def __init__(
        self,
        level_dims: Sequence[int],
        *,
        width: int = 128,
        depth: int = 2,
        activation: str = "leaky_relu",
        coupling: Literal["joint", "per_level"] = "joint",
        lipschitz: float | None = None,
    ) -> None:
        super().__init__()
        self.level_dims = tuple(level_dims)
        self.widths = (sum(level_dims),) if coupling == "joint" else self.level_dims
        self.networks = nn.ModuleList(MLP(d, width, depth, activation, lipschitz) for d in self.widths)

    def forward(self, latents: Latents) -> Tensor:
        """Energy of each item, [B] nats, always in the precision of the latents (never autocast)."""
        check_latents(latents, self.level_dims)
        flat = flatten_latents(latents)
        with torch.autocast(flat.device.type, enabled=False):
            parts = torch.split(flat, list(self.widths), dim=1)
            values = [network(part) for network, part in zip(self.networks, parts, strict=True)]
            return torch.stack(values).sum(0)

    def frozen(self) -> FrozenEnergy:
        """The same function with its parameters frozen and its normalisation folded; no buffer moves."""
        networks = [network.frozen() for network in self.networks if isinstance(network, MLP)]
        return FrozenEnergy(tuple(networks), tuple(self.widths))
