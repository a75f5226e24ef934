"""q(z|x) of all training images by an encoder that has stopped moving."""

import torch

from hebm.data import ResidentImages
from hebm.latents import flatten_latents
from hebm.learners import PosteriorLatents
from hebm.models import JointModel

__all__ = ["infer_posteriors"]

BLOCK = 500


@torch.no_grad()
def infer_posteriors(model: JointModel, images: ResidentImages) -> PosteriorLatents:
    """Infer every image's posterior in float32, in blocks of a fixed size so that no rounding depends on a batch.

    Args:
        model: The model, on its device.
        images: The images.
    """
    means, scales = [], []
    for rows in torch.split(torch.arange(len(images)), BLOCK):
        posterior = model.encode(images.batch(rows))
        means.append(flatten_latents(posterior.mean))
        scales.append(flatten_latents(posterior.scale))
    return PosteriorLatents(torch.cat(means), torch.cat(scales), model.level_dims)
