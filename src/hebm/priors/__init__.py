"""Priors p(z) over all levels."""

from hebm.priors.base import BasePrior, LatentDensity, Prior, base_of
from hebm.priors.energy import EnergyNetwork, FrozenEnergy, StagedEnergy
from hebm.priors.flow import FlowPrior
from hebm.priors.full_gaussian import FullGaussianPrior
from hebm.priors.gaussian import GaussianPrior
from hebm.priors.joint import FrozenJointDensity, JointPrior
from hebm.priors.mixture import MixtureCandidate, MixtureFit, MixturePrior, fit_mixture
from hebm.priors.recovery import FrozenRecoveryDensity, RecoveryPrior
from hebm.priors.top_down import TopDownPrior
from hebm.priors.vamp import VampPrior
from hebm.priors.weighted_draws import weighted_draws_given

__all__ = [
    "BasePrior",
    "EnergyNetwork",
    "FlowPrior",
    "FrozenEnergy",
    "FrozenJointDensity",
    "FrozenRecoveryDensity",
    "FullGaussianPrior",
    "GaussianPrior",
    "JointPrior",
    "LatentDensity",
    "MixtureCandidate",
    "MixtureFit",
    "MixturePrior",
    "Prior",
    "RecoveryPrior",
    "StagedEnergy",
    "TopDownPrior",
    "VampPrior",
    "base_of",
    "fit_mixture",
    "weighted_draws_given",
]
