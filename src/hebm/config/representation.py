"""The suites that look at what levels hold."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hebm.config.base import Config

__all__ = ["AggregateConfig", "HierarchyConfig", "ProbeConfig", "SampleEfficiencyConfig"]


class ProbeConfig(Config):
    """Classifiers of each level's codes (suites `probe` and `disentangle`)."""

    n_seeds: Annotated[int, Field(ge=2)] = 3
    n_epochs: PositiveInt = 10
    """Passes over the training codes."""
    min_steps: PositiveInt = 500
    """Steps there are at least, where the training codes are few."""
    batch_size: PositiveInt = 250
    lr: PositiveFloat = 0.02
    """Falls linearly to zero."""


class HierarchyConfig(Config):
    """What each level holds (suite `hierarchy`)."""

    n_images: Annotated[int, Field(ge=2)] = 5000
    """Held-out images whose latents are told apart; I(x; z) can be at most the logarithm of their number."""
    n_swaps: Annotated[int, Field(ge=2)] = 5000
    """Pairs of held-out images that exchange a level."""
    n_redrawn: Annotated[int, Field(ge=2)] = 5000
    """Samples whose levels are redrawn."""
    attributes: tuple[str, ...] | None = None
    """Factors that swaps are judged by, where the images have several; all if null. Each needs a classifier."""


class AggregateConfig(Config):
    """Prior against aggregate posterior, where latents are few (suite `aggregate`)."""

    n_samples: Annotated[int, Field(ge=2)] = 2000
    """Draws of each; posteriors are those of twice as many held-out images, or of all there are."""
    n_long_steps: PositiveInt = 1000
    """Steps of the longer chains that stand beside the model's own."""
    n_resamples: PositiveInt = 200
    """Of the intervals, and of the levels that samples of one law reach."""
    n_points: PositiveInt = 600
    """Draws that are written out, to be plotted."""


class SampleEfficiencyConfig(Config):
    """How few labels a linear probe of the codes needs (suite `sample_efficiency`)."""

    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (
        0.01,
        0.03,
        0.1,
        0.3,
        1.0,
    )
    """Shares of the training images that keep their labels, rising."""
    n_subsets: PositiveInt = 3
    """Subsets per share; one at 1.0, where there is only one."""
    weight_variances: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        0.001,
        0.01,
        0.1,
        1.0,
        10.0,
    )
    """Variances of the probe's weights to choose from, within each subset (scikit-learn's C)."""
    controls: tuple[Literal["simclr", "bigan", "untrained", "pca", "pixels"], ...] = (
        "simclr",
        "bigan",
        "untrained",
        "pca",
        "pixels",
    )
    """What is probed beside the run; simclr and bigan train its architecture from scratch."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Images per step of simclr and bigan."""
    simclr_steps: PositiveInt = 400
    simclr_lr: PositiveFloat = 1e-3
    simclr_temperature: PositiveFloat = 0.5
    bigan_steps: PositiveInt = 400
    bigan_lr: PositiveFloat = 2e-4
    """Of generator and encoder; the discriminator's is four times that."""

    @model_validator(mode="after")
    def _shares_rise(self) -> Self:
        if list(self.shares) != sorted(set(self.shares)):
            raise ValueError("evaluation.sample_efficiency.shares must rise, each named once.")
        return self
