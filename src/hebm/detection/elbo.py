r"""The negative evidence lower bound."""

from dataclasses import dataclass

from torch import Tensor

from hebm.detection.base import InferredScore
from hebm.detection.inference import Inferred, require_count
from hebm.detection.rate import rate_of_all

__all__ = ["Elbo"]


@dataclass(frozen=True)
class Elbo(InferredScore):
    r"""Minus the bound on log p(x), up to log Z, which is the same for all images.

    .. math:: s(x) = -E_{q(z|x)}\big[\log p(x|z) + \log p_0(z) - E(z) - \log q(z|x)\big]

    Args:
        n_draws: Common draws of q(z|x), at least 1.
        seed: Of the draws.

    Source: the bound of arXiv:2310.09604; as a score e.g. Nalisnick et al. (2019), arXiv:1810.09136, who show where it
        fails.
    """

    quantity = "the bound"

    n_draws: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_draws", self.n_draws, least=1)

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats."""
        distortion = inferred.expectation(inferred.distortion, n_draws=self.n_draws, seed=self.seed)
        return distortion + rate_of_all(inferred, n_draws=self.n_draws, seed=self.seed)
