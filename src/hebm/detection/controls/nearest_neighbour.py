r"""Control: distance to the nearest normal image, in pixels."""

from dataclasses import dataclass

from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from hebm.detection.controls.base import as_scores, flat_pixels
from hebm.errors import ImageShapeError

__all__ = ["NearestNeighbour"]


@dataclass(frozen=True)
class _Fitted:
    index: NearestNeighbors
    image_shape: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        distances, _ = self.index.kneighbors(flat_pixels(x, self.image_shape))
        return as_scores(distances[:, -1], x)


@dataclass(frozen=True)
class NearestNeighbour:
    r"""Euclidean distance to the k-th nearest of the normal images.

    .. math:: s(x) = \min_n \lVert x - x_n \rVert_2 \quad (k = 1)

    Farther is more anomalous. Fit it to training images, not to those that are scored: an image is its own neighbour.

    Args:
        k: Which neighbour.
    """

    k: int = 1

    def fit(self, normals: Tensor) -> _Fitted:
        """Keep the normal images. Scores are distances of pixels in [0, 1].

        Raises:
            ImageShapeError: If there are fewer than k.
        """
        pixels = flat_pixels(normals)
        if not 1 <= self.k <= len(pixels):
            raise ImageShapeError(
                f"neighbour {self.k} of {len(pixels)} normal images is asked for; choose 1 <= k <= {len(pixels)}."
            )
        index = NearestNeighbors(n_neighbors=self.k, algorithm="brute").fit(pixels)
        return _Fitted(index, tuple(normals.shape[1:]))
