"""Generator and encoder."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from hebm.config.base import Config

__all__ = ["LevelConfig", "ModelConfig"]


class LevelConfig(Config):
    """One level of the hierarchy."""

    latents: PositiveInt
    channels: PositiveInt


class ModelConfig(Config):
    """Generator and encoder."""

    levels: Annotated[tuple[LevelConfig, ...], Field(min_length=1)]
    """Top first."""
    merge: Literal["add", "concat"] = "concat"
    likelihood: Literal["gaussian", "gaussian_learned", "bernoulli", "discretized_logistic"] = "gaussian"
    likelihood_scale: PositiveFloat = 0.3
    """Standard deviation on the [-1, 1] scale; the paper's weight G is 1 / (2 scale²)."""
    top_width: PositiveInt | None = None
    """Hidden width of the generator's top dense layers; the top level's channels if null."""
