"""All controls, by name."""

from torch import Tensor

from hebm.detection.controls.base import Control, PixelScore
from hebm.detection.controls.mean_intensity import MeanIntensity
from hebm.detection.controls.nearest_neighbour import NearestNeighbour
from hebm.detection.controls.pca import PcaError
from hebm.detection.controls.png_size import PngSize

__all__ = ["all_controls", "fit_controls"]


def all_controls(*, n_components: int = 32) -> dict[str, Control]:
    """Every control by its name.

    Args:
        n_components: Of the principal components; as many as a model has latents makes it that model's linear rival.
    """
    return {
        "mean_intensity": MeanIntensity(),
        "mean_intensity_distance": MeanIntensity(two_sided=True),
        "png_size": PngSize(),
        "png_size_distance": PngSize(two_sided=True),
        "nearest_neighbour": NearestNeighbour(),
        "pca": PcaError(n_components),
    }


def fit_controls(normals: Tensor, *, n_components: int = 32) -> dict[str, PixelScore]:
    """Fit every control to the same normal images.

    Args:
        normals: Images in [0, 1], [N, C, H, W]; those of training, since the nearest neighbour must not be the image
            itself.
        n_components: As in :func:`all_controls`.

    Raises:
        ImageShapeError: If there are fewer than two images, or they are not in [0, 1].
        NonFiniteError: If a pixel is not finite.
    """
    return {name: control.fit(normals) for name, control in all_controls(n_components=n_components).items()}
