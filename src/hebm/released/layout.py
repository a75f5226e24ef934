"""What a released checkpoint's shapes say of its networks, as a configuration of ours.

Released levels are numbered from the data up; a configuration's are top first.
"""

import math
import re
from typing import Literal, NamedTuple

import yaml

from hebm.config import RunConfig, load_config
from hebm.errors import CheckpointError
from hebm.released.files import ReleasedWeights

__all__ = ["ReleasedLayout", "released_config"]

_PRESETS = {"add": "svhn_sampling", "concat": "svhn_fid"}


class ReleasedLayout(NamedTuple):
    """Sizes of the networks; `latents` and `channels` per level, released order (level 0 next to the data)."""

    latents: tuple[int, ...]
    channels: tuple[int, ...]
    merge: Literal["add", "concat"]
    top_width: int
    image_channels: int
    image_size: int
    energy_width: int
    energy_depth: int
    is_spectral: bool

    @property
    def top(self) -> int:
        """Number of the top level."""
        return len(self.latents) - 1

    @classmethod
    def of(cls, weights: ReleasedWeights) -> "ReleasedLayout":
        """Read the sizes off the weights.

        Raises:
            CheckpointError: If a weight is missing that tells one.
        """
        generator, encoder, energy = weights.generator, weights.encoder, weights.energy
        heads = [key for key in encoder if re.fullmatch(r"ladder\d+_mean\.weight", key)]
        hidden = [key for key in energy if re.fullmatch(r"energy\.fc\d+\.bias", key)]
        top = len(heads) - 1
        try:
            channels = [encoder[f"ladder{level}.0.convT.weight"].shape[0] for level in range(top)]
            if not channels:
                raise CheckpointError("the encoder has fewer than two levels, which no released network has.")
            half = math.isqrt(encoder["ladder0_mean.weight"].shape[1] // channels[0])
            return cls(
                latents=tuple(encoder[f"ladder{level}_mean.weight"].shape[0] for level in range(top + 1)),
                channels=(*channels, encoder[f"ladder{top}.1.lin.weight"].shape[0]),
                merge="concat" if "gen0.4.weight" in generator else "add",
                top_width=generator[f"gen{top}.0.weight"].shape[0],
                image_channels=encoder["ladder0.0.convT.weight"].shape[1],
                image_size=2 * half,
                energy_width=energy["energy.fc1.bias"].shape[0],
                energy_depth=len(hidden),
                is_spectral="energy.out.weight_orig" in energy,
            )
        except KeyError as error:
            raise CheckpointError(
                f"the weight {error.args[0]!r} is missing; only the released 4- and 5-level forms can be imported."
            ) from error


def released_config(layout: ReleasedLayout, overrides: list[str]) -> RunConfig:
    """The configuration of a checkpoint: the preset of its form with its own sizes.

    What no weight tells (the likelihood's scale, chains, optimiser) is the preset's, and may be overridden.

    Raises:
        ConfigError: If an override is wrong.
    """
    levels = [
        {"latents": latents, "channels": channels}
        for latents, channels in reversed(list(zip(layout.latents, layout.channels, strict=True)))
    ]
    values = {
        "description": f"imported weights, released with arXiv:2310.09604 ({layout.top + 1} levels)",
        "data.channels": layout.image_channels,
        "data.size": layout.image_size,
        "model.levels": levels,
        "model.merge": layout.merge,
        "model.top_width": layout.top_width,
        "prior.width": layout.energy_width,
        "prior.depth": layout.energy_depth,
        "prior.lipschitz": 1.0 if layout.is_spectral else None,
    }
    settings = [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in values.items()]
    return load_config(_PRESETS[layout.merge], [*settings, *overrides])
