r"""Control: how few random cuts isolate an image among normal ones, in pixels."""

from dataclasses import dataclass

from sklearn.ensemble import IsolationForest
from torch import Tensor

from hebm.detection.controls.base import as_scores, flat_pixels
from hebm.errors import ImageShapeError

__all__ = ["IsolationForestScore"]


@dataclass(frozen=True)
class _Fitted:
    forest: IsolationForest
    image_shape: tuple[int, ...]

    def __call__(self, x: Tensor) -> Tensor:
        return as_scores(-self.forest.score_samples(flat_pixels(x, self.image_shape)), x)


@dataclass(frozen=True)
class IsolationForestScore:
    r"""Isolation forest on pixels, with scikit-learn's own settings but the number of trees.

    .. math:: s(x) = 2^{-\bar h(x) / c(n)}

    with the mean depth h of the leaf that x ends in and its expectation c under n images. In (0, 1]; sooner isolated is
    more anomalous.

    Args:
        n_trees: Number of trees.
        seed: Of the trees.

    Source: LIU, TING and ZHOU (2008), Isolation Forest, ICDM; scikit-learn's implementation.
    """

    n_trees: int = 200
    seed: int = 0

    def fit(self, normals: Tensor) -> _Fitted:
        """Grow the trees. Scores have no unit.

        Raises:
            ImageShapeError: If there is no tree to grow, or fewer than two images.
        """
        pixels = flat_pixels(normals)
        if len(pixels) < 2 or self.n_trees < 1:
            raise ImageShapeError(
                f"a forest needs two normal images or more and n_trees >= 1, got {len(pixels)} and {self.n_trees}."
            )
        forest = IsolationForest(n_estimators=self.n_trees, random_state=self.seed).fit(pixels)
        return _Fitted(forest, tuple(normals.shape[1:]))
