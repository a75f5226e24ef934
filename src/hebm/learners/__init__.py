"""Learners of the prior: data-side latents in, a better prior out, whatever its form."""

from hebm.learners.base import PriorLearner
from hebm.learners.contrastive import ContrastiveLearner
from hebm.learners.fitted import ExemplarLearner, FullGaussianLearner, MixtureLearner, fewest_images
from hebm.learners.importance import ImportanceLearner
from hebm.learners.likelihood import LikelihoodLearner, spread_components_
from hebm.learners.noise_contrastive import NoiseContrastiveLearner
from hebm.learners.posterior import PosteriorLatents
from hebm.learners.recovery import RecoveryLearner
from hebm.learners.tilted import TiltedLearner
from hebm.learners.two_phase import TwoPhaseGuard, TwoPhaseHistory, fit_two_phase
from hebm.learners.updates import looks_at_once

__all__ = [
    "ContrastiveLearner",
    "ExemplarLearner",
    "FullGaussianLearner",
    "ImportanceLearner",
    "LikelihoodLearner",
    "MixtureLearner",
    "NoiseContrastiveLearner",
    "PosteriorLatents",
    "PriorLearner",
    "RecoveryLearner",
    "TiltedLearner",
    "TwoPhaseGuard",
    "TwoPhaseHistory",
    "fewest_images",
    "fit_two_phase",
    "looks_at_once",
    "spread_components_",
]
