"""Generator, encoder, and the model they compose with a prior."""

from hebm.models.encoder import LadderEncoder
from hebm.models.generator import LadderGenerator
from hebm.models.geometry import LadderGeometry, LevelShape
from hebm.models.joint import JointModel, PriorSampler
from hebm.models.likelihood import LIKELIHOODS, Likelihood, make_likelihood
from hebm.models.posterior import LatentPosterior

__all__ = [
    "LIKELIHOODS",
    "JointModel",
    "LadderEncoder",
    "LadderGenerator",
    "LadderGeometry",
    "LatentPosterior",
    "LevelShape",
    "Likelihood",
    "PriorSampler",
    "make_likelihood",
]
