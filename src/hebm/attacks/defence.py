r"""The defence: what the encoder said is corrected by the model, with a few hundred HMC moves.

.. math:: p(z|x_a) \propto p(x_a|z)\, p_0(z)\, e^{-E(z)}, \qquad z^{(0)} \sim q(z|x_a)

An attack moves the encoder's answer, not the generator's: under p(z|x_a) the wrong latents explain the attacked image
badly, and a chain that starts there walks away. The prior enters with its energy. The chains move in units of their
own, :math:`z = s \odot u`, which leaves the target as it is.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hebm.distributions import DiagonalNormal
from hebm.errors import ConfigError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.models import JointModel, LatentPosterior
from hebm.randomness import NoiseSource
from hebm.samplers import HMC, adapt_step_size, evaluate_state, run_chain
from hebm.samplers.langevin import LogDensity

__all__ = ["Defended", "HMCDefence", "posterior_density"]

VARIANCE_FLOOR = 1e-6  # the encoder's own; a chain that did not move has no variance


class Defended(NamedTuple):
    """What a defence says about images.

    ``posterior``: a normal with the mean and variance of each chain's kept positions, [B, d_l] per level;
    ``acceptance``: mean over the kept moves, [B]; ``step_size``: the adapted one, in the chains' units.
    """

    posterior: LatentPosterior
    acceptance: Tensor
    step_size: float


def posterior_density(model: JointModel, x: Tensor) -> LogDensity:
    """log p(x|z) + log p₀(z) - E(z) up to a constant, as a sampler sees it: [B] nats, differentiable in z.

    Args:
        model: The model; none of its parameters gets a gradient from the chains.
        x: Images in [0, 1], [B, C, H, W]; row i of the latents belongs to image i.
    """
    prior = model.prior.density()

    def density(latents: Latents) -> Tensor:
        return model.log_likelihood(x, latents) + prior(latents)

    return density


@dataclass(frozen=True)
class HMCDefence:
    """Warm-up moves that tune one step size, then moves whose positions are kept.

    Args:
        n_warmup: Moves that tune the step size; they are the burn-in too.
        n_draws: Moves after them, of which every position is kept; at least 2.
        n_leapfrog: Leapfrog steps per move.
        step_size: Where the search for the step size ε starts, in the chains' units.
        target_acceptance: The acceptance that it looks for.

    Raises:
        ConfigError: If a number is out of range.

    Source: Kuzina et al. (2022), arXiv:2203.09940, who decode where the chain ends; here its mean is decoded, as the
        encoder's is.
    """

    n_warmup: int = 100
    n_draws: int = 100
    n_leapfrog: int = 5
    step_size: float = 0.1
    target_acceptance: float = 0.9

    def __post_init__(self) -> None:
        if self.n_draws < 2:
            raise ConfigError(f"`n_draws` is {self.n_draws}; a variance needs 2 or more.")

    def __call__(
        self,
        log_density: LogDensity,
        start: Latents,
        *,
        scale: Latents | None = None,
        generator: NoiseSource = None,
    ) -> Defended:
        """Run one chain per row.

        The rows share the step size and, by a :class:`~hebm.randomness.CommonGenerator` of one copy, the noise: what
        differs between two rows differs because of their images. Give images that are to be independent of one
        another calls of their own.

        Args:
            log_density: :func:`posterior_density` of the images.
            start: Where the chains start, e.g. draws of q(z|x_a), [B, d_l] per level.
            scale: Units in which the chains move, positive, [d_l] per level; 1 if None. Units that are in use have a
                posterior many times narrower than those that are not, and one step size cannot suit both.
            generator: Source of the noise; the global stream if None.

        Raises:
            NonFiniteError: If the density is not finite where a chain starts.
        """
        unit = scale or tuple(torch.ones_like(z[0]) for z in start)

        def in_units(latents: Latents) -> Tensor:
            return log_density(tuple(z * u for z, u in zip(latents, unit, strict=True)))

        kernel = HMC(self.step_size, self.n_leapfrog)
        warm = adapt_step_size(
            kernel,
            in_units,
            evaluate_state(in_units, tuple(z / u for z, u in zip(start, unit, strict=True))),
            n_steps=self.n_warmup,
            initial_step_size=self.step_size,
            target_acceptance=self.target_acceptance,
            generator=generator,
        )
        draws = run_chain(
            kernel, in_units, warm.state, self.n_draws, step_size=warm.step_size, generator=generator
        )
        positions = draws.positions * flatten_latents(tuple(u[None] for u in unit))
        dims = [z.shape[1] for z in start]
        means = unflatten_latents(positions.mean(0), dims)
        variances = unflatten_latents(positions.var(0).clamp(min=VARIANCE_FLOOR), dims)
        levels = (
            DiagonalNormal(mean, variance.sqrt()) for mean, variance in zip(means, variances, strict=True)
        )
        return Defended(LatentPosterior(tuple(levels)), draws.acceptance.mean(0), warm.step_size)
