"""Map sizes of the ladder: which square map each level reads and joins, from 8×8 to 128×128 images."""

from collections.abc import Sequence
from dataclasses import dataclass

from hebm.errors import ConfigError
from hebm.nn import halved

__all__ = ["LARGEST_IMAGE", "LARGEST_TOP_MAP", "SMALLEST_IMAGE", "LadderGeometry", "LevelShape"]

SMALLEST_IMAGE, LARGEST_IMAGE = 8, 128
LARGEST_TOP_MAP = 8


@dataclass(frozen=True)
class LevelShape:
    """One level: its number of latents and the channels of its maps (of the top: the width of its dense layers)."""

    latents: int
    channels: int


@dataclass(frozen=True)
class LadderGeometry:
    """Sizes of all maps of a ladder.

    Every level below the top halves the map once. Before the top level's dense layers the map is halved
    further until it is at most 8×8 (the released networks are there already), so that few levels on large
    images do not end in a huge dense layer.

    Args:
        image_shape: (channels, height, width).
        levels: The levels, top first.

    Raises:
        ConfigError: If images are not square, not 8 to 128 pixels wide, or not of 1 or 3 channels; if there is
            no level.
    """

    image_shape: tuple[int, int, int]
    levels: tuple[LevelShape, ...]

    def __init__(self, image_shape: tuple[int, int, int], levels: Sequence[LevelShape]) -> None:
        object.__setattr__(self, "image_shape", image_shape)
        object.__setattr__(self, "levels", tuple(levels))
        channels, height, width = image_shape
        if height != width:
            raise ConfigError(
                f"images must be square, but these are {height}×{width}; "
                f"crop or resize them (data.size={min(height, width)})."
            )
        if not SMALLEST_IMAGE <= height <= LARGEST_IMAGE:
            raise ConfigError(
                f"images must be {SMALLEST_IMAGE} to {LARGEST_IMAGE} pixels wide, but these have {height}; "
                "resize them (data.size)."
            )
        if channels not in (1, 3):
            raise ConfigError(
                f"images must have 1 or 3 channels, but these have {channels}; set data.channels to 1 or 3."
            )
        if not levels:
            raise ConfigError("model.levels is empty; give at least one level of {latents, channels}.")

    @property
    def level_dims(self) -> tuple[int, ...]:
        """Number of latents of each level, top first."""
        return tuple(level.latents for level in self.levels)

    @property
    def lower(self) -> tuple[LevelShape, ...]:
        """The levels below the top, top first."""
        return self.levels[1:]

    @property
    def lower_sizes(self) -> tuple[int, ...]:
        """Map size of every level below the top, top first."""
        sizes, size = [], self.image_shape[1]
        for _ in self.lower:
            size = halved(size)
            sizes.append(size)
        return tuple(reversed(sizes))

    @property
    def reduction_sizes(self) -> tuple[int, ...]:
        """Map sizes from the highest ladder map (or the image) down to the top level's map, both included."""
        sizes = [self.lower_sizes[0] if self.lower else self.image_shape[1]]
        while sizes[-1] > LARGEST_TOP_MAP:
            sizes.append(halved(sizes[-1]))
        return tuple(sizes)

    @property
    def reduction_channels(self) -> int:
        """Channels of the map that the top level reads: those of the level below, a quarter of its own at L = 1."""
        return self.lower[0].channels if self.lower else max(8, self.levels[0].channels // 4)
