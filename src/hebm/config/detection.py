"""Scores, their calibration, and the suites that test them: ``ood``, ``anomaly``, ``attack``."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from hebm.config.base import Config

__all__ = ["AnomalyConfig", "AttackConfig", "DetectionConfig", "OodConfig", "OodSetConfig"]


class OodSetConfig(Config):
    """Images that do not belong: a set by name, or one that is made."""

    data: str
    """A data set's name; or constant (one colour per image), noise (uniform pixels), inverted (1 - x of training
    images), shuffled (their pixels in random places)."""
    split: str | None = None
    """test, or all where a share would be held out, if null."""
    path: Path | None = None
    """As data.path."""
    name: str | None = None
    """What results call it; data, and split and path if given, if null."""

    @property
    def label(self) -> str:
        """What results call it."""
        parts = (self.data, self.split, self.path.stem if self.path else None)
        return self.name or ":".join(part for part in parts if part)


def _ood_set(value: object) -> object:
    return {"data": value} if isinstance(value, str) else value


class OodConfig(Config):
    """Which images do not belong, and which scores are to find them (suite `ood`)."""

    pairs: tuple[Annotated[OodSetConfig, BeforeValidator(_ood_set)], ...] | None = None
    """Sets to tell from the test images; a name alone will do. Those usual for the data set if null, of which missing
    ones are left out."""
    scores: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "distortion",
        "energy",
        "log_joint",
        "elbo",
        "iwae",
        "prior_density",
        "rate",
        "rate:level=0",
        "l_above",
        "llr",
        "llr:n_lowest=2",
        "typicality",
        "latent_density",
        "combined",
    )
    """Names of scores, with options behind a colon; one that a model cannot give is left out with the reason."""
    declared: str = "combined"
    """The score that counts, chosen beforehand."""
    n_in: Annotated[int, Field(ge=2)] = 2000
    """Test images that are scored. Each pair has as many on both sides."""
    n_out: Annotated[int, Field(ge=2)] = 2000
    n_calibration: Annotated[int, Field(ge=2)] = 5000
    """Other test images, at most half of them, to which recipes are fitted."""
    n_train: Annotated[int, Field(ge=2)] = 10_000
    """Training images to which the pixel controls are fitted."""
    n_bootstrap: PositiveInt = 500

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        labels = [pair.label for pair in self.pairs or ()]
        for name, values in (("pairs", labels), ("scores", list(self.scores))):
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(
                    f"evaluation.ood.{name} has {twice[0]!r} twice; leave one out, or give it a name."
                )
        return self


class AttackConfig(Config):
    """Attacks on the encoder, and the defence by posterior chains (suite `attack`)."""

    n_pairs: Annotated[int, Field(ge=2)] = 10
    """Pairs of an image and a target for the latent attack."""
    penalties: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1024.0,
        4096.0,
        16384.0,
    )
    """C, nats per squared distance of the pixels in [0, 1]: the larger, the smaller the change of the image."""
    n_steps: PositiveInt = 200
    step_size: PositiveFloat = 0.1
    """Adam's first, in units of the pixels' range."""
    n_images: Annotated[int, Field(ge=2)] = 20
    """Images for the attack within an L∞ ball."""
    radii: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.1, 0.2)
    n_linf_steps: PositiveInt = 50
    n_restarts: PositiveInt = 5
    n_warmup: PositiveInt = 100
    """Moves of the defence that tune its step size."""
    n_draws: Annotated[int, Field(ge=2)] = 100
    """Moves of the defence after those, whose mean is decoded."""
    n_leapfrog: PositiveInt = 5
    target_acceptance: Annotated[float, Field(gt=0, lt=1)] = 0.9
    n_probe_images: Annotated[int, Field(ge=2)] = 5000
    """Training images whose latents and labels teach the classifier that is attacked, and whose posteriors' scales are
    the units in which the defence moves."""


class AnomalyConfig(Config):
    """Which scores are to find a label that training has not seen (suite `anomaly`)."""

    scores: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "log_joint",
        "distortion",
        "energy",
        "prior_density",
        "rate:level=0",
        "elbo",
        "latent_density",
        "combined",
    )
    """Names of scores; one that a model cannot give is left out with the reason."""
    declared: str = "prior_density"
    """The score that counts, chosen beforehand."""
    controls: bool = True
    """Whether the pixel controls are fitted too."""
    n_calibration: Annotated[int, Field(ge=2)] = 5000
    """Training images to which recipes are fitted."""
    n_train: Annotated[int, Field(ge=2)] = 10_000
    """Training images to which the pixel controls are fitted."""
    n_bootstrap: PositiveInt = 200


class DetectionConfig(Config):
    """What new images are judged by (`hebm detect`). Nothing of it changes the model."""

    score: str = "log_joint"
    """A score with its options (docs/detection.md), e.g. llr:n_lowest=2."""
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of normal images that may be called anomalous."""
    calibrate_after_training: bool = True
    """Whether training ends by calibrating the score on the test split and storing that in the checkpoint."""
    n_calibration: PositiveInt = 2000
    """Held-out images taken for it, at random; all if there are fewer."""
    fit_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of these that a score is fitted to first, where it needs normal images; the others calibrate."""
