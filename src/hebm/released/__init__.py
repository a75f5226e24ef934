"""Checkpoints released with arXiv:2310.09604, as runs of this library."""

from hebm.released.files import ReleasedWeights, read_released
from hebm.released.layout import ReleasedLayout, released_config
from hebm.released.names import encoder_state, energy_state, generator_state
from hebm.released.run import import_official

__all__ = [
    "ReleasedLayout",
    "ReleasedWeights",
    "encoder_state",
    "energy_state",
    "generator_state",
    "import_official",
    "read_released",
    "released_config",
]
