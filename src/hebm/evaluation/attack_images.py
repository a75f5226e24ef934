"""The images that suite ``attack`` works on: originals, targets, and a classifier of latents to fool."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hebm.data import ImageSet, ResidentImages
from hebm.errors import DataError
from hebm.evaluation.inferred import InferredImages, posterior_draws
from hebm.latents import Latents, flatten_latents
from hebm.models import LatentPosterior
from hebm.randomness import named_generator

__all__ = ["LatentClassifier", "Victims", "choose_victims", "fit_latent_classifier", "posterior_scale"]


@dataclass(frozen=True)
class Victims:
    """Images to attack, and targets for the first of them.

    Args:
        originals: [N, C, H, W] in [0, 1].
        targets: [P, C, H, W], P <= N: what originals 0 to P - 1 shall be taken for.
        labels: Classes of the originals, int64 [N]; None where the set has none.
    """

    originals: Tensor
    targets: Tensor
    labels: Tensor | None


def choose_victims(
    images: ImageSet, n_images: int, n_pairs: int, *, seed: int, device: torch.device
) -> Victims:
    """Choose different images at random; original i and target i depend on the seed and i alone.

    Args:
        images: Held-out images.
        n_images: Originals; at least as many as there are pairs.
        n_pairs: Originals that have a target.
        seed: The user's seed.
        device: Where they are wanted.

    Raises:
        DataError: If there are not so many images.
    """
    n_originals = max(n_images, n_pairs)
    if len(images) < n_originals + n_pairs:
        raise DataError(
            f"{n_originals} originals and {n_pairs} targets are needed, but the split {images.split!r} has "
            f"{len(images)} images; lower evaluation.attack.n_images and n_pairs, or raise data.holdout or data.limit."
        )
    order = torch.randperm(len(images), generator=named_generator(seed, "attack", "images"))
    originals, targets = (
        order[:n_originals],
        order.flip(0)[:n_pairs],
    )  # from both ends: neither moves the other
    resident = ResidentImages(images, device)
    labels = None if images.labels is None else torch.from_numpy(images.labels)[originals]
    return Victims(resident.batch(originals), resident.batch(targets), labels)


@dataclass(frozen=True)
class LatentClassifier:
    """A multinomial logistic regression on the latents of all levels, fitted to draws of q(z|x).

    Draws, not means: in a unit that is not in use the means hardly differ and the classifier would blow them up, but a
    chain's mean goes anywhere there. To draws such a unit is noise.

    Args:
        model: The fitted pipeline.
    """

    model: Any

    def is_right(self, posterior: LatentPosterior, labels: Tensor) -> Tensor:
        """Which of the posteriors' means it takes for their label, float64 [B] of 0 and 1, on the CPU."""
        codes = flatten_latents(posterior.mean).double().cpu().numpy()
        return (torch.from_numpy(self.model.predict(codes)) == labels).double()


def fit_latent_classifier(inferred: InferredImages, train: ImageSet, *, seed: int) -> LatentClassifier | None:
    """Fit the classifier to one draw of each training image's posterior; None where they have no or one label.

    Args:
        inferred: Training images with their posteriors.
        train: The set they are of.
        seed: Of the draws.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if train.labels is None:
        return None
    labels = train.labels[inferred.items.cpu().numpy()]
    if len(set(labels.tolist())) < 2:
        return None
    draws = torch.cat(
        [flatten_latents(d.latents) for d in posterior_draws(inferred, 1, seed=seed, stream="attack")]
    )
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return LatentClassifier(classifier.fit(draws.double().cpu().numpy(), labels))


def posterior_scale(inferred: InferredImages) -> Latents:
    """Root mean square of the posteriors' scales over images, [d_l] per level: what an attack cannot touch."""
    return tuple(q.scale.square().mean(0).sqrt() for q in inferred.posterior)
