r"""Control: what the principal components of normal images do not explain."""

from dataclasses import dataclass

from sklearn.decomposition import PCA
from torch import Tensor

from hebm.detection.controls.base import as_scores, flat_pixels
from hebm.errors import ImageShapeError

__all__ = ["PcaError"]


@dataclass(frozen=True)
class _Fitted:
    pca: PCA
    image_shape: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        pixels = flat_pixels(x, self.image_shape)
        rebuilt = self.pca.inverse_transform(self.pca.transform(pixels))
        return as_scores(((pixels - rebuilt) ** 2).sum(1), x)


@dataclass(frozen=True)
class PcaError:
    r"""Squared error of the reconstruction from the first k principal components, a linear autoencoder.

    .. math:: s(x) = \lVert (x - \bar x) - V_k V_k^\top (x - \bar x) \rVert_2^2

    A larger error is more anomalous.

    Args:
        n_components: k; where the normal images have fewer pixels or are fewer, all but one of those.
        seed: Of the randomised solver, which scikit-learn takes for large sets.
    """

    n_components: int = 32
    seed: int = 0

    def fit(self, normals: Tensor) -> _Fitted:
        """Find the components. Scores are summed over pixels in [0, 1].

        Raises:
            ImageShapeError: If there are fewer than two normal images, or k is not positive.
        """
        pixels = flat_pixels(normals)
        if len(pixels) < 2 or self.n_components < 1:
            raise ImageShapeError(
                f"principal components need two normal images or more and n_components >= 1, got {len(pixels)} and "
                f"{self.n_components}."
            )
        k = min(self.n_components, min(pixels.shape) - 1) or 1
        pca = PCA(k, svd_solver="auto", random_state=self.seed).fit(pixels)
        return _Fitted(pca, tuple(normals.shape[1:]))
