r"""Density of the latents under another prior, fitted to normal images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam

from hebm.detection.base import InferredScore
from hebm.detection.batches import inferred_batches, require_normals
from hebm.detection.inference import Inferred, require_count
from hebm.distributions import DiagonalNormal
from hebm.errors import ConfigError
from hebm.latents import Latents, flatten_latents
from hebm.learners import (
    ExemplarLearner,
    FullGaussianLearner,
    ImportanceLearner,
    MixtureLearner,
    PosteriorLatents,
    PriorLearner,
    TiltedLearner,
    fit_two_phase,
)
from hebm.models import JointModel
from hebm.priors import EnergyNetwork, FullGaussianPrior, JointPrior, MixturePrior, Prior, VampPrior
from hebm.randomness import derive_seed, named_generator

__all__ = ["FittedDensity", "LatentDensityScore"]

Learned = tuple[nn.Module, PriorLearner]
LEAST_NORMALS = 20


@dataclass(frozen=True)
class FittedDensity(InferredScore):
    r"""-log p(z) of a fitted prior at the posterior mean, or its mean over common draws; up to its log Z, if any.

    Args:
        prior: What was fitted, in eval mode.
        n_draws: Common draws of q(z|x); 0 takes the posterior mean.
        seed: Of the draws.
    """

    quantity = "the density of the latents"

    prior: Prior
    n_draws: int = 0
    seed: int = 0

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats."""
        device = next(self.prior.parameters()).device  # type: ignore[attr-defined]

        def value(latents: Latents) -> Tensor:
            return -self.prior.log_density(tuple(z.double().to(device) for z in latents))

        return inferred.expectation(value, n_draws=self.n_draws, seed=self.seed)


@dataclass(frozen=True)
class LatentDensityScore:
    r"""Minus the log-density of the latents under a prior fitted to those of normal images.

    .. math:: s(x) = -\log p_{\text{fit}}(z), \quad p_{\text{fit}} = \arg\max_p \sum_i E_{q(z|x_i)} \log p(z)

    Whatever prior the model was trained with; its energy does not enter. The fit is made in float64 on the CPU.

    Args:
        kind: ``full_gaussian``; ``mixture`` (its size chosen on a tenth of the images that is held out); ``vamp`` (one
            component per image, at most `n_exemplars`); ``importance`` (an energy on that mixture).
        n_components: Sizes of the mixture to try.
        n_exemplars: Components of ``vamp`` at most.
        n_steps: Steps of the energy.
        n_draws: Common draws of q(z|x) when scoring; 0 takes the posterior mean.
        seed: Of the fit and the draws.

    Source: the learners of `docs/prior.md`; a density fitted to latents after training as in Ghosh et al. (2020),
        arXiv:1903.12436.
    """

    kind: Literal["full_gaussian", "mixture", "vamp", "importance"] = "mixture"
    n_components: tuple[int, ...] = (1, 5, 20)
    n_exemplars: int = 1000
    n_steps: int = 500
    n_draws: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_draws", self.n_draws, least=0)
        require_count("n_exemplars", self.n_exemplars, least=1)
        if self.kind not in MAKERS:
            raise ConfigError(f"`kind` must be one of {', '.join(MAKERS)}, but it is {self.kind!r}.")
        if not self.n_components or min(self.n_components) < 1:
            raise ConfigError(f"`n_components` must be positive sizes, but it is {self.n_components}.")

    def fit(self, model: JointModel, normals: Tensor) -> FittedDensity:
        """Fit the prior to the posteriors of normal images [N, C, H, W].

        Raises:
            DataError: If there are fewer than 20.
            DivergenceError: If an energy's learning diverged.
        """
        require_normals(normals, LEAST_NORMALS)
        posterior = _posteriors(model, normals)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, "init"))  # for an energy's weights
            prior, learner = MAKERS[self.kind](self, posterior)
        generator = named_generator(self.seed, "latent_density")
        with torch.enable_grad():
            fit_two_phase(learner, prior, posterior, n_steps=self.n_steps, generator=generator)
        return FittedDensity(prior.eval().requires_grad_(False), self.n_draws, self.seed)  # type: ignore[arg-type]


def _posteriors(model: JointModel, normals: Tensor) -> PosteriorLatents:
    parts = [inferred.posterior for inferred in inferred_batches(model, normals)]
    means = torch.cat([flatten_latents(part.mean) for part in parts])
    scales = torch.cat([flatten_latents(part.scale) for part in parts])
    return PosteriorLatents(means.double().cpu(), scales.double().cpu(), model.level_dims)


def _full_gaussian(options: LatentDensityScore, posterior: PosteriorLatents) -> Learned:
    prior = FullGaussianPrior(posterior.level_dims).to(posterior.mean)
    return prior, FullGaussianLearner(prior)


def _mixture(options: LatentDensityScore, posterior: PosteriorLatents) -> tuple[MixturePrior, MixtureLearner]:
    sizes = [n for n in options.n_components if n <= len(posterior) // LEAST_NORMALS] or [1]
    prior = MixturePrior(posterior.level_dims, max(sizes)).to(posterior.mean)
    return prior, MixtureLearner(prior, sizes)


def _vamp(options: LatentDensityScore, posterior: PosteriorLatents) -> Learned:
    n = min(options.n_exemplars, len(posterior))
    empty = posterior.mean.new_zeros(n, posterior.mean.shape[1])
    prior = VampPrior(posterior.level_dims, DiagonalNormal(empty, torch.ones_like(empty)))
    return prior.to(posterior.mean), ExemplarLearner(prior)


def _importance(options: LatentDensityScore, posterior: PosteriorLatents) -> Learned:
    base, base_learner = _mixture(options, posterior)
    prior = JointPrior(base, EnergyNetwork(posterior.level_dims).to(posterior.mean))
    stream = named_generator(options.seed, "latent_density", "prior")
    optimizer = Adam(prior.energy.parameters(), lr=1e-3)
    return prior, TiltedLearner(base_learner, ImportanceLearner(prior, optimizer, stream))


MAKERS: dict[str, Callable[[LatentDensityScore, PosteriorLatents], Learned]] = {
    "full_gaussian": _full_gaussian,
    "mixture": _mixture,
    "vamp": _vamp,
    "importance": _importance,
}
