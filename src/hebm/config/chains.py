"""The suites that need a normaliser or long chains: ``likelihood`` and ``mcmc``."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from hebm.config.base import Config

__all__ = ["LikelihoodConfig", "McmcConfig"]


class McmcConfig(Config):
    """Whether the prior's chains converge (suite `mcmc`). Lengths are gradient evaluations per chain."""

    steps: Annotated[tuple[NonNegativeInt, ...], Field(min_length=2)] = (
        0,
        15,
        30,
        60,
        150,
        300,
        600,
        1000,
        2500,
        10_000,
    )
    """Where the chains are looked at; the greatest is their length."""
    max_steps: dict[Literal["langevin", "mala", "hmc", "tempering", "independence"], PositiveInt] = Field(
        default_factory=dict
    )
    """Shorter chains of a sampler, by its name."""
    what_k_buys: tuple[PositiveInt, ...] = (15, 30, 60, 150, 300)
    """Numbers of steps at which samples of the run's own chains are compared with images."""
    long_chain_steps: PositiveInt = 2500
    n_chains: PositiveInt = 1000
    n_samples_fd: PositiveInt = 2000
    """Samples per Fréchet distance, which depends on their number."""
    n_warmup: PositiveInt = 300
    """Moves that tune a step size before the chains start."""
    n_leapfrog: PositiveInt = 10
    n_replicas: Annotated[int, Field(ge=2)] = 10


class LikelihoodConfig(Config):
    """Bounds on log p(x) and log Z, and what each level's share of the energy is worth (`--suite likelihood`)."""

    n_images: Annotated[int, Field(ge=2)] = 10_000
    """Held-out images, and as many of training; all there are, if there are fewer."""
    n_importance: PositiveInt = 100
    """Posterior draws per image."""
    n_images_1000: Annotated[int, Field(ge=2)] = 200
    """Of these, images with 1000 importance samples each."""
    n_images_conditional: Annotated[int, Field(ge=2)] = 200
    """Of these, images on which each level's gain is measured."""
    n_prior_samples: Annotated[int, Field(ge=2)] = 2000
    n_base_draws: Annotated[int, Field(ge=2)] = 100_000
    """Draws from the base whose plain weights give log Z."""
    n_conditional_draws: Annotated[int, Field(ge=2)] = 2000
    """The same for each image and level."""
    min_ess_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Effective share of plain weights below which log Z is annealed instead."""
    min_conditional_ess: PositiveFloat = 200.0
    """Effective number of plain weights below which an image's log Z is annealed."""
    n_particles: Annotated[int, Field(ge=2)] = 2048
    n_conditional_particles: Annotated[int, Field(ge=4)] = 64
    """Per image."""
    n_pilot: Annotated[int, Field(ge=2)] = 512
    """Particles that choose the temperatures and step sizes."""
    ess_share: Annotated[float, Field(gt=0, lt=1)] = 0.98
    """Effective share that a change of temperature keeps."""
    conditional_ess_share: Annotated[float, Field(gt=0, lt=1)] = 0.95
    n_leapfrog: PositiveInt = 3
    n_equilibrate: NonNegativeInt = 50
    """Moves on the prior before the annealing back to the base."""
