"""Representations to compare with, learned from the same images by the same nets: contrastive and adversarial."""

from hebm.representations.augmentation import Augmentation, random_views
from hebm.representations.bigan import BiganLosses, discriminator_loss, generator_loss, train_bigan
from hebm.representations.discriminator import JointDiscriminator
from hebm.representations.simclr import nt_xent, train_simclr
from hebm.representations.trunk import trunk_features

__all__ = [
    "Augmentation",
    "BiganLosses",
    "JointDiscriminator",
    "discriminator_loss",
    "generator_loss",
    "nt_xent",
    "random_views",
    "train_bigan",
    "train_simclr",
    "trunk_features",
]
