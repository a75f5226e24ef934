r"""A contrastive representation: two views of an image should have like projections, and unlike those of others.

.. math:: \ell_i = -\log \frac{\exp(\mathrm{sim}(u_i, u_{i'}) / \tau)}
          {\sum_{k \ne i} \exp(\mathrm{sim}(u_i, u_k) / \tau)}, \quad u = g(\mu_L(x)),
          \quad \mathrm{sim}(u, v) = \frac{u \cdot v}{|u| |v|}

over the 2N views of N images, i' being the other view of the same image; g is two dense layers with a ReLU that are
thrown away afterwards. The encoder has the shape of the run's and starts from scratch. What it projects is the top
level's mean, so that the representation has as many numbers as the top level; its trunk's output is a wider one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hebm.data import ResidentImages
from hebm.errors import DataError
from hebm.features.initialisation import build_empty, initialise_
from hebm.models import LadderEncoder
from hebm.randomness import named_generator
from hebm.representations.augmentation import Augmentation, random_views
from hebm.representations.steps import SteppedAdam, batch_rows, require_finite_loss
from hebm.representations.trunk import top_mean

__all__ = ["N_PROJECTED", "nt_xent", "train_simclr"]

N_PROJECTED = 64


def nt_xent(first: Tensor, second: Tensor, *, temperature: float) -> Tensor:
    r"""Normalised, temperature-scaled cross-entropy of every view.

    Args:
        first: Projections of one view of every image, [N, d].
        second: Those of the other views, [N, d].
        temperature: :math:`\tau > 0`.

    Returns:
        [2N] nats, those of the first views first; log(2N - 1) where all projections are alike.

    Raises:
        DataError: If there are fewer than two images, which leaves nothing to tell apart.

    Source: Chen et al. (2020), arXiv:2002.05709.
    """
    n = len(first)
    if n < 2 or first.shape != second.shape:
        raise DataError(
            f"two views of at least two images are needed, got {list(first.shape)} and {list(second.shape)}."
        )
    views = F.normalize(torch.cat([first, second]), dim=1)
    similarity = views @ views.T / temperature
    itself = torch.eye(2 * n, dtype=torch.bool, device=views.device)
    partner = torch.arange(2 * n, device=views.device).roll(n)
    return F.cross_entropy(similarity.masked_fill(itself, -torch.inf), partner, reduction="none")


def train_simclr(
    encoder: LadderEncoder,
    images: ResidentImages,
    *,
    n_steps: int,
    batch_size: int,
    lr: float = 1e-3,
    temperature: float = 0.5,
    augmentation: Augmentation | None = None,
    seed: int,
) -> list[float]:
    """Train an encoder's trunk and top level to tell images apart; labels are not looked at.

    The same seed gives the same weights, on a CPU to the last bit.

    Args:
        encoder: Of the run's shape, with its first weights, on the images' device; its weights are changed. Heads
            below the top get no gradient.
        images: The training images.
        n_steps: Number of steps.
        batch_size: N, images per step.
        lr: First learning rate of Adam.
        temperature: Of the loss.
        augmentation: How far the views are from their image; the defaults if None.
        seed: Of the projection's first weights, the order of the images and the views.

    Returns:
        The mean loss of every step, nats.

    Raises:
        DataError: If there are fewer images than one batch, or a batch has one image.
        NonFiniteError: If the loss is not finite.

    Source: Chen et al. (2020), arXiv:2002.05709; Adam in place of LARS, since batches are small.
    """
    rows = batch_rows(len(images), batch_size, n_steps=n_steps, seed=seed)
    projection = _projection(encoder, named_generator(seed, "simclr", "init")).to(images.device)
    noise = named_generator(seed, "simclr", "views", device=images.device)
    optimizer = SteppedAdam(encoder, projection, lr=lr, n_steps=n_steps)
    losses = []
    for step, chosen in enumerate(rows):
        batch = images.batch(chosen)
        views = random_views(torch.cat([batch, batch]), augmentation or Augmentation(), noise)
        projected = projection(top_mean(encoder, views))
        loss = nt_xent(*projected.chunk(2), temperature=temperature).mean()
        losses.append(require_finite_loss(loss, "SimCLR", step))
        optimizer.step(loss)
    return losses


def _projection(encoder: LadderEncoder, generator: torch.Generator) -> nn.Module:
    top = encoder.geometry.levels[0]
    layers = build_empty(
        lambda: nn.Sequential(
            nn.Linear(top.latents, top.channels), nn.ReLU(), nn.Linear(top.channels, N_PROJECTED)
        )
    )
    initialise_(layers, generator)
    return layers
