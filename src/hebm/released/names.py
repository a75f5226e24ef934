"""Released weights under our names: every one is used, none is left over.

Two of our layers are not the released ones one to one. Trunk and ladder blocks of an encoder level share their input,
so their first convolutions are one of ours (trunk first). Our energy is E = -f and reads the levels top first, so
the columns of its first layer change places and its last layer changes sign.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from hebm.errors import CheckpointError
from hebm.released.layout import ReleasedLayout

__all__ = ["encoder_state", "energy_state", "generator_state"]

Weights = Mapping[str, Tensor]
Names = dict[str, tuple[str, ...]]
"""Ours to the released ones, which are put one behind the other."""


def generator_state(weights: Weights, layout: ReleasedLayout) -> dict[str, Tensor]:
    """The state of a :class:`~hebm.models.LadderGenerator`.

    Raises:
        CheckpointError: If a weight is missing or unknown.
    """
    below = list(reversed(range(layout.top)))
    names: Names = {}
    for i in range(3):
        names |= _dense(f"ladder.top.{i}", f"gen{layout.top}.{2 * i}")
    for i, level in enumerate(below):
        names |= _dense(f"ladder.joins.{i}", f"latent{level}_act.0")
    names |= _concat_kernels(below) if layout.merge == "concat" else _add_kernels(below)
    return _renamed(weights, names, "netG")


def _add_kernels(below: list[int]) -> Names:
    """The level under the top unfolds the stream first, so its convolutions come later."""
    names = _dense("ladder.unfold", f"gen{below[0]}.0")
    for i, level in enumerate(below):
        widening, mixing = (3, 5) if i == 0 else (0, 2)
        names[f"ladder.widening.{i}.weight"] = (f"gen{level}.{widening}.weight",)
        names[f"ladder.mixing.{i}.weight"] = (f"gen{level}.{mixing}.weight",)
    return names


def _concat_kernels(below: list[int]) -> Names:
    names: Names = {
        f"ladder.blocks.{i}.{j}.weight": (f"gen{level}.{2 * j}.weight",)
        for i, level in enumerate(below)
        for j in range(3)
    }
    return names | {"ladder.last.weight": ("gen0.6.weight",)}


def encoder_state(weights: Weights, layout: ReleasedLayout) -> dict[str, Tensor]:
    """The state of a :class:`~hebm.models.LadderEncoder`.

    Raises:
        CheckpointError: If a weight is missing or unknown.
    """
    top = layout.top
    names = _dense("top.0", f"ladder{top}.1.lin") | _dense("top.1", f"ladder{top}.2.lin")
    for level in range(top + 1):
        names |= _dense(f"heads.{level}.mean", f"ladder{level}_mean")
        names |= _dense(f"heads.{level}.log_variance", f"ladder{level}_logvar")
    for level in range(top):
        trunk, ladder = f"inference{level}", f"ladder{level}"
        names[f"blocks.{level}.first.weight"] = (f"{trunk}.0.convT.weight", f"{ladder}.0.convT.weight")
        names[f"blocks.{level}.trunk.weight"] = (f"{trunk}.1.convT.weight",)
        names[f"blocks.{level}.ladder.weight"] = (f"{ladder}.1.convT.weight",)
    return _renamed(weights, names, "netI")


def energy_state(weights: Weights, layout: ReleasedLayout) -> dict[str, Tensor]:
    """The state of an :class:`~hebm.priors.EnergyNetwork` over the latents as they are, coupling all levels.

    Raises:
        CheckpointError: If a weight is missing or unknown.
    """
    depth = layout.energy_depth
    names: Names = {}
    for i, layer in enumerate([*(f"energy.fc{i + 1}" for i in range(depth)), "energy.out"]):
        ours = f"networks.0.layers.{i}"
        names[f"{ours}.bias"] = (f"{layer}.bias",)
        if layout.is_spectral:
            names[f"{ours}.parametrizations.weight.original"] = (f"{layer}.weight_orig",)
            names[f"{ours}.parametrizations.weight.0._u"] = (f"{layer}.weight_u",)
            names[f"{ours}.parametrizations.weight.0._v"] = (f"{layer}.weight_v",)
        else:
            names[f"{ours}.weight"] = (f"{layer}.weight",)
    state = _renamed(weights, names, "netE")
    first, last = "networks.0.layers.0.", f"networks.0.layers.{depth}."
    top_first = torch.cat(
        list(reversed(torch.split(torch.arange(sum(layout.latents)), list(layout.latents))))
    )
    for name in state:
        reads_latents = name.startswith(first) and not name.endswith(("bias", "_u"))
        if reads_latents:
            if state[name].shape[-1] != len(top_first):
                raise CheckpointError(
                    f"netE reads {state[name].shape[-1]} latents, but netI infers {len(top_first)}; "
                    "give networks that belong together."
                )
            state[name] = state[name][..., top_first]
        if name.startswith(last) and not name.endswith("_v"):
            state[name] = -state[name]
    n = sum(layout.latents)
    return {"centre": torch.zeros(n), "spread": torch.ones(n), **state}


def _dense(ours: str, released: str) -> Names:
    return {f"{ours}.{part}": (f"{released}.{part}",) for part in ("weight", "bias")}


def _renamed(weights: Weights, names: Names, network: str) -> dict[str, Tensor]:
    expected = {released for sources in names.values() for released in sources}
    for what, keys in (
        ("lacks", expected - set(weights)),
        ("has, besides what is known,", set(weights) - expected),
    ):
        if keys:
            raise CheckpointError(
                f"{network} {what} the weight {min(keys)!r}; only the released 4- and 5-level forms can be imported."
            )
    return {ours: torch.cat([weights[name] for name in sources]) for ours, sources in names.items()}
