"""Objectives: pure functions of tensors."""

from hebm.objectives.contrastive import contrastive_loss
from hebm.objectives.elbo import ElboTerms, autoencoder_loss
from hebm.objectives.importance import importance_loss
from hebm.objectives.noise_contrastive import noise_contrastive_loss

__all__ = ["ElboTerms", "autoencoder_loss", "contrastive_loss", "importance_loss", "noise_contrastive_loss"]
