"""Hierarchical generative models of images whose latent prior is a joint energy-based model."""

from hebm.build import build_model
from hebm.config import RunConfig, load_config
from hebm.detection import detect
from hebm.models import JointModel
from hebm.training import Run, load, train
from hebm.training.environment import package_version

__all__ = ["JointModel", "Run", "RunConfig", "build_model", "detect", "load", "load_config", "train"]
__version__ = package_version()
