"""What every anomaly score offers: images in, one number per image out, **higher is more anomalous**.

A score's noise comes from its own seed and is the same for every image (common random numbers), so that a value is a
function of (model, image, seed) alone: neither the batch's size nor its order nor the other images matter.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor

from hebm.models import JointModel

__all__ = ["AnomalyScore", "ScoreRecipe"]


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
