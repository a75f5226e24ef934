"""Priors p(z) over all levels."""

from hebm.priors.base import LatentDensity, Prior
from hebm.priors.energy import EnergyNetwork, FrozenEnergy
from hebm.priors.gaussian import GaussianPrior
from hebm.priors.joint import FrozenJointDensity, JointPrior

__all__ = [
    "EnergyNetwork",
    "FrozenEnergy",
    "FrozenJointDensity",
    "GaussianPrior",
    "JointPrior",
    "LatentDensity",
    "Prior",
]
