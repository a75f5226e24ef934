r"""What the scores have in common that are the expectation of a value of image and latents.

.. math:: s(x) = E_{q(z|x)} v(x, z), \quad\text{or}\quad v(x, E_q z)
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from hebm.detection.base import InferredScore
from hebm.detection.inference import Inferred, require_count
from hebm.latents import Latents

__all__ = ["ExpectedScore"]


@dataclass(frozen=True)
class ExpectedScore(InferredScore):
    """Expectation of :meth:`value` under q(z|x).

    Args:
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.
    """

    n_draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_draws", self.n_draws, least=0)

    @abstractmethod
    def value(self, inferred: Inferred) -> Callable[[Latents], Tensor]:
        """v of these images: latents, [B, d_l] per level, to [B] nats.

        Raises:
            ConfigError: If the model does not have it.
        """

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats."""
        return inferred.expectation(self.value(inferred), n_draws=self.n_draws, seed=self.seed)
