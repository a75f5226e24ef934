r"""Several scores in one, put on a common scale by held-out normal images alone.

.. math:: \text{fisher: } s(x) = -\sum_j \log P(S_j \ge s_j(x)), \qquad
    \text{mahalanobis: } s(x)^2 = u^\top (R + \lambda I)^{-1} u, \quad u_j = (s_j(x) - m_j) / d_j

with the parts' means m, standard deviations d and correlations R over normal images. Fisher's sum looks at the upper
tail of each part and adds nats; the distance is in standard deviations and looks at all sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hebm.detection.base import AnomalyScore, InferredScore, ScoreRecipe, score_inferred
from hebm.detection.batches import inferred_batches, require_normals
from hebm.detection.distortion import Distortion
from hebm.detection.inference import Inferred, infer
from hebm.detection.prior_density import PriorDensity
from hebm.detection.rate import Rate
from hebm.detection.tails import UpperTail, fit_tail
from hebm.errors import ConfigError, NonFiniteError
from hebm.models import JointModel
from hebm.priors import FlowPrior, base_of

__all__ = ["Combined", "FisherSum", "MahalanobisDistance", "default_parts"]

LEAST_NORMALS = 50


@dataclass(frozen=True)
class FisherSum(InferredScore):
    """Sum of the parts' surprises.

    Args:
        parts: The scores.
        tails: Of each among normal images.
    """

    quantity = "the sum of surprises"

    parts: tuple[AnomalyScore, ...]
    tails: tuple[UpperTail, ...]

    def surprises(self, model: JointModel, x: Tensor) -> Tensor:
        """-log of each part's tail probability, [B, n_parts] nats."""
        return self._surprises(infer(model, x))

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats; of independent parts, twice the sum has 2 · n_parts degrees of freedom of χ² on normal images."""
        return self._surprises(inferred).sum(1)

    def _surprises(self, inferred: Inferred) -> Tensor:
        columns = _values(self.parts, inferred).unbind(1)
        return torch.stack([tail.surprise(v) for tail, v in zip(self.tails, columns, strict=True)], 1)


@dataclass(frozen=True)
class MahalanobisDistance(InferredScore):
    """Distance of the parts from their mean over normal images.

    Args:
        parts: The scores.
        mean: Of each among normal images, [n_parts].
        scale: Their standard deviations, [n_parts].
        precision: Inverse of the correlations with the ridge, [n_parts, n_parts].
    """

    quantity = "the Mahalanobis distance"

    parts: tuple[AnomalyScore, ...]
    mean: Tensor
    scale: Tensor
    precision: Tensor

    def values(self, inferred: Inferred) -> Tensor:
        """[B] in standard deviations."""
        values = _values(self.parts, inferred)
        u = (values - self.mean.to(values)) / self.scale.to(values)
        return ((u @ self.precision.to(values)) * u).sum(1).sqrt()


@dataclass(frozen=True)
class Combined:
    r"""Several scores in one.

    Args:
        parts: Scores or recipes; by default distortion, the rate of every level and the prior's density. A recipe is
            fitted to one half of the normal images, and everything is put on scale by the other.
        method: ``fisher`` or ``mahalanobis``.
        ridge: λ of the distance, relative to the parts' variances.
        seed: Of the default parts' draws.

    Source: Fisher (1932), Statistical Methods for Research Workers; several statistics of one generative model as in
        Morningstar et al. (2021), arXiv:2006.09273; the distance, Mahalanobis (1936).
    """

    parts: tuple[AnomalyScore | ScoreRecipe, ...] | None = None
    method: Literal["fisher", "mahalanobis"] = "fisher"
    ridge: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in ("fisher", "mahalanobis"):
            raise ConfigError(f"`method` must be 'fisher' or 'mahalanobis', but it is {self.method!r}.")
        if self.parts is not None and not self.parts:
            raise ConfigError("at least one part is expected; leave `parts` out for the default ones.")
        if not self.ridge > 0:
            raise ConfigError(f"`ridge` must be positive, but it is {self.ridge}.")

    @torch.no_grad()
    def fit(self, model: JointModel, normals: Tensor) -> FisherSum | MahalanobisDistance:
        """Put the parts on scale by normal images [N, C, H, W].

        Raises:
            DataError: If there are fewer than 50, or than 100 where a part is a recipe.
            NonFiniteError: If a part is the same for all of them, so that it has no scale.
        """
        wanted = default_parts(model, seed=self.seed) if self.parts is None else self.parts
        parts, rest = _fitted_parts(model, wanted, normals)
        values = torch.cat([_values(parts, inferred) for inferred in inferred_batches(model, rest)]).double()
        if not (values.std(0) > 0).all():
            names = [type(part).__name__ for part, d in zip(parts, values.std(0), strict=True) if not d > 0]
            raise NonFiniteError(f"{', '.join(names)} is the same for all normal images; leave it out.")
        if self.method == "fisher":
            return FisherSum(parts, tuple(fit_tail(column) for column in values.unbind(1)))
        correlations = torch.corrcoef(values.T).reshape(len(parts), len(parts))
        precision = torch.linalg.inv(correlations + self.ridge * torch.eye(len(parts)).to(correlations))
        return MahalanobisDistance(parts, values.mean(0), values.std(0), precision)


def default_parts(model: JointModel, *, seed: int = 0) -> tuple[AnomalyScore, ...]:
    """Distortion, the rate of every level (of all together on a flow, which has no marginals), the prior's density."""
    levels = [None] if isinstance(base_of(model.prior), FlowPrior) else range(len(model.level_dims))
    return (Distortion(), *(Rate(level, seed=seed) for level in levels), PriorDensity())


def _values(parts: Sequence[AnomalyScore], inferred: Inferred) -> Tensor:
    """Of every part, [B, n_parts]."""
    return torch.stack([score_inferred(part, inferred) for part in parts], 1)


def _fitted_parts(
    model: JointModel, parts: tuple[AnomalyScore | ScoreRecipe, ...], normals: Tensor
) -> tuple[tuple[AnomalyScore, ...], Tensor]:
    """The parts as scores, and the normal images that they have not seen."""
    if not any(isinstance(part, ScoreRecipe) for part in parts):
        require_normals(normals, LEAST_NORMALS)
        return tuple(part for part in parts if isinstance(part, AnomalyScore)), normals
    require_normals(normals, 2 * LEAST_NORMALS)
    seen, rest = normals[::2], normals[1::2]
    return tuple(part.fit(model, seen) if isinstance(part, ScoreRecipe) else part for part in parts), rest
