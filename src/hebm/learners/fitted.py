"""Normalised priors that are fitted at once: a Gaussian, a mixture, a mixture of encoder outputs."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.errors import LatentShapeError
from hebm.latents import Latents
from hebm.learners.posterior import PosteriorLatents, held_out_size
from hebm.priors import FullGaussianPrior, MixturePrior, VampPrior, fit_mixture

__all__ = ["ExemplarLearner", "FullGaussianLearner", "MixtureLearner", "fewest_images"]

HELD_OUT = 0.1
DRAWS_PER_LATENT = 50  # at least, of all images together: the covariance of few draws is singular
UNUSED_WEIGHT = 1e-30


class _Fitted:
    """A learner without steps and without state."""

    def __init__(self) -> None:
        self.optimizers: dict[str, Optimizer] = {}

    def step(self, latents: Latents) -> dict[str, Tensor]:
        """Nothing to learn by steps."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """No state."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """No state."""


class FullGaussianLearner(_Fitted):
    """Mean and covariance of posterior samples.

    Args:
        prior: What is fitted.
    """

    def __init__(self, prior: FullGaussianPrior) -> None:
        super().__init__()
        self.prior = prior

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Fit the Gaussian."""
        self.prior.fit_(posterior.sample(generator=generator))
        return {}


class MixtureLearner(_Fitted):
    """A mixture by EM, its number of components chosen on a held-out tenth of the images.

    Args:
        prior: What is fitted; must have as many components as the largest size.
        n_components: Sizes to try.
    """

    def __init__(self, prior: MixturePrior, n_components: Sequence[int]) -> None:
        super().__init__()
        self.prior, self.n_components = prior, tuple(n_components)

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Fit every size that there are images enough for, keep the best; components that are left over get a weight
        of practically zero.

        Every image gives one draw of its posterior, or several where all together would be fewer than 50 per latent.

        Raises:
            LatentShapeError: If every size has more components than there are images to fit.
            NonFiniteError: If a held-out log-density is not finite.
        """
        train, valid = posterior.split(HELD_OUT, generator=generator)
        sizes = [size for size in self.n_components if size <= len(train)]
        if not sizes:
            raise LatentShapeError(
                f"{len(train)} images cannot give a mixture of {min(self.n_components)} components; lower "
                "`prior.n_components`, or take more images."
            )
        seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
        n_draws = -(-DRAWS_PER_LATENT * posterior.mean.shape[1] // len(train))
        fit = fit_mixture(
            _draws(train, n_draws, generator),
            _draws(valid, n_draws, generator),
            n_components=sizes,
            seed=seed,
        )
        self.prior.load_components_(*_padded(fit.weights, fit.means, fit.covariances, len(self.prior.logits)))
        left_out = [size for size in self.n_components if size not in sizes]
        found: dict[str, Any] = {"mixture_candidates": [candidate._asdict() for candidate in fit.candidates]}
        return found | {"mixture_left_out": left_out} if left_out else found


def fewest_images(n_components: Sequence[int]) -> int:
    """The fewest images of which a mixture of any of these sizes can be fitted, a tenth of them being held out."""
    sizes = count(min(n_components) + 1)
    return next(n for n in sizes if n - held_out_size(HELD_OUT, n) >= min(n_components))


def _draws(posterior: PosteriorLatents, n_draws: int, generator: torch.Generator) -> Tensor:
    """That many draws of every image's posterior, [n_draws * N, D]."""
    return torch.cat([posterior.sample(generator=generator) for _ in range(n_draws)])


def _padded(
    weights: Tensor, means: Tensor, covariances: Tensor, n_components: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Copies of the first component fill up: no weight, however small, puts mass where the fit has none."""
    missing = n_components - len(weights)
    return (
        torch.cat([weights, weights.new_full((missing,), UNUSED_WEIGHT)]),
        torch.cat([means, means[:1].expand(missing, -1)]),
        torch.cat([covariances, covariances[:1].expand(missing, -1, -1)]),
    )


class ExemplarLearner(_Fitted):
    """A mixture of the encoder's outputs for random training images, with equal weights.

    Args:
        prior: What is fitted; its number of components is the number of images.
    """

    def __init__(self, prior: VampPrior) -> None:
        super().__init__()
        self.prior = prior

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Take as many posteriors as there are components.

        Raises:
            LatentShapeError: If there are fewer images than components.
        """
        n = len(self.prior.means)
        if len(posterior) < n:
            raise LatentShapeError(f"{len(posterior)} images cannot give {n} components; lower the number.")
        rows = torch.randperm(len(posterior), generator=generator, device=posterior.mean.device)[:n]
        self.prior.means.copy_(posterior.mean[rows])
        self.prior.scales.copy_(posterior.scale[rows])
        return {}
