r"""The energy network E(z) over all levels: low is likely, p(z) ∝ exp(-E(z)) p₀(z).

The network's output *is* the energy. The reference code outputs f = -E; the sign is turned where its
weights are read, nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from hebm.latents import Latents, check_latents, flatten_latents
from hebm.nn import MLP, FrozenMLP

__all__ = ["EnergyNetwork", "FrozenEnergy", "StagedEnergy"]


MIN_SPREAD = 0.05  # latent units; a nearly constant latent is not blown up to its noise


@dataclass(frozen=True)
class FrozenEnergy:
    """An energy as plain tensors over the flat state [B, D]: a sum of networks, each on a slice of columns."""

    networks: tuple[FrozenMLP, ...]
    columns: tuple[slice, ...]
    constant: float = 0.0

    def __call__(self, flat: Tensor) -> Tensor:
        """Energy of each row, [B] nats."""
        if not self.networks:
            return flat.new_full((len(flat),), self.constant)
        values = [network(flat[:, part]) for network, part in zip(self.networks, self.columns, strict=True)]
        return (values[0] if len(values) == 1 else torch.stack(values).sum(0)) + self.constant

    def value_and_grad(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Energies [B] and their gradients [B, D]."""
        if len(self.networks) == 1 and self.columns[0] == slice(0, flat.shape[1]):
            value, grad = self.networks[0].value_and_grad(flat)
            return value + self.constant, grad
        value, grad = flat.new_full((len(flat),), self.constant), torch.zeros_like(flat)
        for network, part in zip(self.networks, self.columns, strict=True):
            part_value, part_grad = network.value_and_grad(flat[:, part])
            value = value + part_value
            grad[:, part] += part_grad
        return value, grad


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

    centre: Tensor
    spread: Tensor

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
        self.is_bounded = lipschitz is not None
        widths = (sum(level_dims),) if coupling == "joint" else self.level_dims
        ends = list(accumulate(widths))
        self.columns = tuple(slice(end - width, end) for end, width in zip(ends, widths, strict=True))
        self.networks = nn.ModuleList(MLP(d, width, depth, activation, lipschitz) for d in widths)
        self.register_buffer("centre", torch.zeros(sum(widths)))
        self.register_buffer("spread", torch.ones(sum(widths)))

    def forward(self, latents: Latents) -> Tensor:
        """Energy of each item, [B] nats, always in the precision of the latents (never autocast)."""
        check_latents(latents, self.level_dims)
        flat = (flatten_latents(latents) - self.centre) / self.spread
        with torch.autocast(flat.device.type, enabled=False):
            values = [network(flat[:, c]) for network, c in zip(self.networks, self.columns, strict=True)]
            return torch.stack(values).sum(0)

    @torch.no_grad()
    def standardise_(self, flat: Tensor) -> None:
        """Let the networks see latents in the units of the given ones, [N, D]: centred, and divided by their spread.

        A bounded energy is left as it is: other units would change its bound.
        """
        if not self.is_bounded:
            self.centre.copy_(flat.mean(0))
            self.spread.copy_(flat.std(0) + MIN_SPREAD)

    def frozen(self) -> FrozenEnergy:
        """The same function with its parameters frozen and its normalisations folded; no buffer moves."""
        networks = [
            network.frozen().with_input_units(self.centre[c], self.spread[c])
            for network, c in zip(self.networks, self.columns, strict=True)
            if isinstance(network, MLP)
        ]
        return FrozenEnergy(tuple(networks), self.columns)


class StagedEnergy(nn.Module):
    r"""A sum of energies learned one after the other, each with a learned constant.

    .. math:: E(z) = \sum_{m < M} [E_m(z) - c_m], \qquad p_m(z) = e^{-E_m(z) + c_m} p_{m-1}(z)

    Stage m is the logistic classifier between the data-side latents and p_{m-1}: at its optimum
    :math:`-E_m + c_m = \log q - \log p_{m-1}`, so that every p_m is normalised by itself.

    Args:
        stages: The energies, over the same levels.

    Source: Xiao and Han (2022), arXiv:2209.08739.
    """

    n_active: Tensor

    def __init__(self, stages: Sequence[EnergyNetwork]) -> None:
        super().__init__()
        self.level_dims = stages[0].level_dims
        self.stages = nn.ModuleList(stages)
        self.constants = nn.ParameterList(
            nn.Parameter(torch.zeros(())) for _ in stages
        )  # Adam skips those at rest
        self.register_buffer("n_active", torch.tensor(0))

    def forward(self, latents: Latents) -> Tensor:
        """Sum of the active stages' energies, [B] nats."""
        total = latents[0].new_zeros(len(latents[0]))
        for index in range(int(self.n_active)):
            total = total + self.stage(index, latents)
        return total

    def stage(self, index: int, latents: Latents) -> Tensor:
        """One stage's energy E_m(z) - c_m, [B] nats: minus the logit of its classifier."""
        energy: Tensor = self.stages[index](latents) - self.constants[index]
        return energy

    def frozen(self, n_stages: int | None = None) -> FrozenEnergy:
        """The active stages (or the first `n_stages`) with frozen parameters."""
        n = int(self.n_active) if n_stages is None else n_stages
        parts = [stage.frozen() for stage in self.stages[:n] if isinstance(stage, EnergyNetwork)]
        networks = tuple(network for part in parts for network in part.networks)
        columns = tuple(c for part in parts for c in part.columns)
        constant = sum(c.item() for c in list(self.constants)[:n])
        return FrozenEnergy(networks, columns, -constant)
