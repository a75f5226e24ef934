"""Samplers that move latents; the target is a callable."""

from hebm.samplers.chains import ChainResult, PersistentPool, ShortRunLangevin
from hebm.samplers.langevin import LangevinInfo, LogDensity, langevin_step, value_and_grad

__all__ = [
    "ChainResult",
    "LangevinInfo",
    "LogDensity",
    "PersistentPool",
    "ShortRunLangevin",
    "langevin_step",
    "value_and_grad",
]
