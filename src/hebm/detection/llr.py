r"""The bound without the lowest levels, and the likelihood ratio of levels, under a joint prior.

With z_a the upper levels, z_b the k lowest ones and a prior p(z) = p₀(z) exp(-E(z)) / Z,

.. math:: \mathcal L^{>k} = E_{q(z_a|x)}\Big[ E_{p(z_b|z_a)} \log p(x|z_a, z_b) + \log p(z_a) - \log q(z_a|x) \Big],
    \qquad \log p(z_a) = \log p_0(z_a) + \log Z(z_a) - \log Z

.. math:: LLR^{>k} = \mathcal L - \mathcal L^{>k}, \qquad \mathcal L = E_q[\log p(x|z) + \log p(z) - \log q(z|x)]

The global log Z cancels in the ratio; the conditional normaliser Z(z_a) does not (:mod:`hebm.detection.conditional`).
Both bounds use the same draws of z_a.
"""

from dataclasses import astuple, dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hebm.detection.base import InferredScore
from hebm.detection.conditional import ConditionalDraws, ConditionalOptions, ConditionalSampler
from hebm.detection.inference import Inferred, common_draws, require_count
from hebm.distributions import standard_normal_log_prob
from hebm.errors import ConfigError
from hebm.latents import Latents
from hebm.priors import base_of
from hebm.randomness import derive_seed

__all__ = ["LevelsAbove", "LikelihoodRatio"]


class Bounds(NamedTuple):
    """L and L^{>k}, both up to log Z, each [B] nats in float64."""

    whole: Tensor
    above: Tensor


@dataclass(frozen=True)
class _WithoutLowestLevels(InferredScore):
    """Options of both scores, and the bounds that they are made of."""

    n_lowest: int = 1
    n_draws: int = 4
    n_base: int = 64
    n_decoded: int = 8
    pick: Literal["draws", "mode"] = "draws"
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("n_lowest", self.n_lowest, least=1)
        require_count("n_draws", self.n_draws, least=1)
        self._conditional()

    def _conditional(self) -> ConditionalOptions:
        return ConditionalOptions(self.n_base, self.n_decoded, self.pick)

    def _bounds(self, inferred: Inferred) -> Bounds:
        """Both bounds, worked out once for all scores of these options."""
        key = ("bounds", astuple(self))
        if key not in inferred.shared:
            inferred.shared[key] = self._compute_bounds(inferred)
        bounds: Bounds = inferred.shared[key]
        return bounds

    def _compute_bounds(self, inferred: Inferred) -> Bounds:
        """Both bounds; the part of the rates that N(0, I) gives is exact, the rest a mean over common draws."""
        n_levels = len(inferred.model.level_dims)
        n_above = n_levels - self.n_lowest
        if n_above < 1:
            raise ConfigError(
                f"`n_lowest` is {self.n_lowest}, but at least one of the model's {n_levels} levels must stay; lower it."
            )
        lowest = range(n_above, n_levels)
        sampler = ConditionalSampler(
            inferred.model.prior, lowest, self._conditional(), seed=derive_seed(self.seed, "llr")
        )
        draws = common_draws(inferred.posterior, self.n_draws, seed=self.seed)
        terms = [_terms(inferred, z, sampler.draw(z, i), n_above) for i, z in enumerate(draws)]
        whole, above = (torch.stack(parts).mean(0) for parts in zip(*terms, strict=True))
        rates = torch.stack(inferred.posterior.rate_per_level()).double()
        return Bounds(whole - rates.sum(0), above - rates[:n_above].sum(0))


@dataclass(frozen=True)
class LikelihoodRatio(_WithoutLowestLevels):
    r"""The likelihood ratio LLR^{>k} = L - L^{>k}: what the lowest k levels are needed for.

    Images whose upper levels already tell what they are have a small ratio; images that only the details of the lowest
    levels reconstruct have a large one.

    Args:
        n_lowest: k, at least 1 and less than the number of levels.
        n_draws: Common draws of q(z|x), at least 1.
        n_base: Base draws of the lowest levels for each of them.
        n_decoded: Of these, resampled by their weights, so many are decoded.
        pick: ``draws`` takes E_{p(z_b|z_a)}; ``mode`` the most probable of the base draws, as the reference code of
            hvae-oodd does.
        seed: Of all noise.

    Source: Havtorn et al. (2021), arXiv:2102.08248; the conditional normaliser is what a joint prior adds.
    """

    quantity = "the likelihood ratio"

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats; log Z does not enter.

        Raises:
            ConfigError: If the model has no more than k levels.
            UnsupportedError: If the base cannot draw the lowest levels given the others.
        """
        bounds = self._bounds(inferred)
        return bounds.whole - bounds.above


@dataclass(frozen=True)
class LevelsAbove(_WithoutLowestLevels):
    r"""Minus the bound L^{>k}, up to log Z, which is the same for all images.

    Args: those of :class:`LikelihoodRatio`.

    Source: Havtorn et al. (2021), arXiv:2102.08248.
    """

    quantity = "the bound of the upper levels"

    def values(self, inferred: Inferred) -> Tensor:
        """[B] nats; errors as of :class:`LikelihoodRatio`."""
        return -self._bounds(inferred).above


def _terms(inferred: Inferred, latents: Latents, redrawn: ConditionalDraws, n_above: int) -> Bounds:
    """Of one draw z ~ q(z|x): both bounds but for the rates to N(0, I)."""
    prior = inferred.model.prior
    standard = torch.stack([standard_normal_log_prob(z).double() for z in latents])
    marginal = base_of(prior).marginal_log_prob(latents, range(n_above)).double() + redrawn.log_normalizer
    return Bounds(
        prior.log_density(latents).double() - standard.sum(0) - inferred.distortion(latents),
        marginal - standard[:n_above].sum(0) - _mean_distortion(inferred, redrawn.latents),
    )


def _mean_distortion(inferred: Inferred, latents: Latents) -> Tensor:
    """Mean over the draws of each item, [B * R, d_l] per level to [B] nats, one draw per item at a time."""
    n_items = len(inferred.x)
    by_item = [z.view(n_items, -1, z.shape[1]) for z in latents]
    n = by_item[0].shape[1]
    values = [inferred.distortion(tuple(z[:, i] for z in by_item)).double() for i in range(n)]
    return torch.stack(values).mean(0)
