"""Images of a set with their posteriors, and draws from those.

The noise of an image depends on the seed and its index in the set alone, not on how many images there are or how many
are worked on at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.data import ImageSet, ResidentImages
from hebm.distributions import DiagonalNormal
from hebm.errors import DataError
from hebm.latents import Latents
from hebm.models import JointModel, LatentPosterior
from hebm.randomness import named_generator

__all__ = ["InferredImages", "PosteriorDraws", "infer_images", "posterior_draws"]

ENCODER_ROWS = 500
ROWS = 500  # draws that are worked on together


class PosteriorDraws(NamedTuple):
    """Several draws for each of a few images, the draws of one image together: rows of all fields but `items`."""

    items: Tensor
    posterior: LatentPosterior
    latents: Latents


@dataclass(frozen=True)
class InferredImages:
    """Some images of a set with their posteriors.

    Args:
        images: The whole set.
        items: Which of its images, int64 [N], on the model's device.
        posterior: q(z|x) of those, [N, d_l] per level.
    """

    images: ResidentImages
    items: Tensor
    posterior: LatentPosterior

    def __len__(self) -> int:
        """Number of images."""
        return len(self.items)

    def thinned(self, n: int) -> "InferredImages":
        """n of them, evenly spaced; all where there are no more."""
        rows = _evenly_spaced(len(self), n).to(self.items.device)
        return InferredImages(self.images, self.items[rows], _rows(self.posterior, rows))


@torch.no_grad()
def infer_images(model: JointModel, image_set: ImageSet, n: int) -> InferredImages:
    """Infer the posteriors of n images, evenly spaced over the set, which may be sorted; all if it has no more.

    Raises:
        DataError: If there are fewer than two images.
    """
    if len(image_set) < 2:
        raise DataError(
            f"the split {image_set.split!r} has one image, but an error needs two or more; raise data.holdout or "
            "data.limit."
        )
    images = ResidentImages(image_set, model.device)
    items = _evenly_spaced(len(image_set), n).to(model.device)
    parts = [model.encode(images.batch(rows)) for rows in torch.split(items, ENCODER_ROWS)]
    levels = (
        DiagonalNormal(torch.cat([q.mean for q in level]), torch.cat([q.scale for q in level]))
        for level in zip(*parts, strict=True)
    )
    return InferredImages(images, items, LatentPosterior(tuple(levels)))


def posterior_draws(
    inferred: InferredImages, n_draws: int, *, seed: int, stream: str = "posterior"
) -> Iterator[PosteriorDraws]:
    """Draw z ~ q(z|x) for every image, in blocks of a few images.

    Args:
        inferred: The images.
        n_draws: Draws per image.
        seed: The user's seed.
        stream: Name of the stream; the same name gives the same draws.
    """
    device, dim = inferred.items.device, sum(mean.shape[1] for mean in inferred.posterior.mean)
    for rows in torch.split(torch.arange(len(inferred), device=device), max(1, ROWS // n_draws)):
        items = inferred.items[rows]
        generators = [named_generator(seed, "likelihood", stream, i, device=device) for i in items.tolist()]
        like = inferred.posterior[0].mean
        noise = [torch.randn(n_draws, dim, generator=g, dtype=like.dtype, device=device) for g in generators]
        posterior = _rows(inferred.posterior, rows.repeat_interleave(n_draws))
        yield PosteriorDraws(items, posterior, posterior.at(torch.cat(noise)))


def _rows(posterior: LatentPosterior, rows: Tensor) -> LatentPosterior:
    return LatentPosterior(tuple(DiagonalNormal(q.mean[rows], q.scale[rows]) for q in posterior))


def _evenly_spaced(n_all: int, n: int) -> Tensor:
    n = min(n, n_all)
    return torch.arange(n) * n_all // n
