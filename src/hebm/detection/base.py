"""What every anomaly score offers: images in, one number per image out, **higher is more anomalous**.

A score's noise comes from its own seed and is the same for every image (common random numbers), so that a value is a
function of (model, image, seed) alone: neither the batch's size nor its order nor the other images matter.

The scores of this room are :class:`InferredScore`: several of them can share one encoding of a batch.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from hebm.detection.inference import Inferred, infer, require_finite
from hebm.models import JointModel

__all__ = ["AnomalyScore", "InferredScore", "ScoreRecipe", "score_inferred"]


@runtime_checkable
class AnomalyScore(Protocol):
    """A score that needs a model and images alone."""

    def __call__(self, model: JointModel, x: Tensor) -> Tensor:
        """Score images.

        Args:
            model: The model, in eval mode; nothing of it is changed.
            x: Images in [0, 1], [B, C, H, W].

        Returns:
            [B] in float64, in nats unless the score says otherwise, on the images' device, without gradient history.

        Raises:
            ImageShapeError: If the images have another shape or range than the model's.
            NonFiniteError: If an image or a score is not finite.
            ConfigError: If the score asks for something this model does not have.
        """
        ...


@runtime_checkable
class ScoreRecipe(Protocol):
    """A score that must see normal images first."""

    def fit(self, model: JointModel, normals: Tensor) -> AnomalyScore:
        """Fit to normal images.

        Args:
            model: The model, in eval mode; nothing of it is changed.
            normals: Held-out *normal* images in [0, 1], never anomalies, best not those of training, [N, C, H, W].

        Raises:
            DataError: If there are too few.
        """
        ...


class InferredScore(ABC):
    """An anomaly score of images and their posterior.

    Attributes:
        quantity: What an error says is not finite.
    """

    quantity: ClassVar[str]

    @abstractmethod
    def values(self, inferred: Inferred) -> Tensor:
        """The score of every image, [B] in float64, not yet checked.

        Raises:
            ConfigError: If the score asks for something this model does not have, before anything is encoded.
        """

    @torch.no_grad()
    def of(self, inferred: Inferred) -> Tensor:
        """Score checked images: what :class:`AnomalyScore` returns, and its errors."""
        return require_finite(self.quantity, self.values(inferred)).to(inferred.images.device)

    def __call__(self, model: JointModel, x: Tensor) -> Tensor:
        """Score images, as :class:`AnomalyScore` says."""
        return self.of(infer(model, x))


def score_inferred(score: AnomalyScore, inferred: Inferred) -> Tensor:
    """Score checked images, [B]; only a score that is not of this room encodes them anew."""
    if isinstance(score, InferredScore):
        return score.of(inferred)
    return score(inferred.model, inferred.images)
