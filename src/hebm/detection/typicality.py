r"""Typicality: how far a score is from what it is on normal images, on either side."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from hebm.detection.base import AnomalyScore, InferredScore, score_inferred
from hebm.detection.batches import in_batches, require_normals
from hebm.detection.elbo import Elbo
from hebm.detection.inference import Inferred
from hebm.detection.iwae import Iwae
from hebm.detection.log_joint import LogJoint
from hebm.errors import ConfigError
from hebm.models import JointModel

__all__ = ["FittedTypicality", "Typicality"]

OF: dict[str, type[Elbo] | type[Iwae] | type[LogJoint]] = {"elbo": Elbo, "iwae": Iwae, "log_joint": LogJoint}


@dataclass(frozen=True)
class FittedTypicality(InferredScore):
    """|s(x) - entropy|, with what normal images have fixed.

    Args:
        score: s, minus a log-density or a bound on it.
        entropy: Its mean over normal images, in nats.
    """

    quantity = "the distance from the typical score"

    score: AnomalyScore
    entropy: float

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats, not negative."""
        return (score_inferred(self.score, inferred) - self.entropy).abs()


@dataclass(frozen=True)
class Typicality:
    r"""The typicality test of single images; it also finds images that are *too* probable.

    .. math:: s(x) = \Big| -\log p(x) - \tfrac1N \sum_i -\log p(x_i) \Big|, \quad x_i \text{ held-out and normal}

    log Z cancels.

    Args:
        of: What stands for log p: ``elbo``, ``iwae`` or ``log_joint``.
        seed: Of its draws.

    Source: Nalisnick et al. (2019), arXiv:1906.02994, with batches of one.
    """

    of: Literal["elbo", "iwae", "log_joint"] = "elbo"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.of not in OF:
            raise ConfigError(f"`of` must be one of {', '.join(OF)}, but it is {self.of!r}.")

    @torch.no_grad()
    def fit(self, model: JointModel, normals: Tensor) -> FittedTypicality:
        """Take the mean over normal images [N, C, H, W].

        Raises:
            DataError: If there is none.
        """
        require_normals(normals, 1)
        score = OF[self.of](seed=self.seed)
        return FittedTypicality(score, in_batches(model, normals, score).mean().item())
