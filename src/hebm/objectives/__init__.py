"""Objectives: pure functions of tensors."""

from hebm.objectives.contrastive import contrastive_loss
from hebm.objectives.elbo import ElboTerms, autoencoder_loss

__all__ = ["ElboTerms", "autoencoder_loss", "contrastive_loss"]
