"""Which images."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from hebm.config.base import Config

__all__ = ["DataConfig"]


class DataConfig(Config):
    """Which images, and how they are read."""

    name: str = "digits"
    path: Path | None = None
    """Folder or file, for the sources that need one; otherwise `HEBM_DATA`/name."""
    size: PositiveInt = 8
    """Width and height in pixels, 8 to 128."""
    channels: Literal[1, 3] = 1
    split: str = "train"
    """Split to train on (`extra` for the released SVHN protocol)."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """What to do with an image that cannot be read."""
    limit: PositiveInt | None = None
    """Use only the first so many images."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share held out for testing where the source has no test split."""
    held_out_labels: tuple[NonNegativeInt, ...] = ()
    """Anomaly protocol: train without this label, on 80 % of the pooled other images (docs/reproduction.md)."""
    labels: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    """Use only the images of these labels; all if null."""
    download: bool = True

    @model_validator(mode="after")
    def _labels_are_chosen_once(self) -> Self:
        if self.labels is not None and self.held_out_labels:
            raise ValueError(
                "data.labels chooses images within the official splits and data.held_out_labels makes other splits: "
                "set one of them, data.labels=null or data.held_out_labels=[]."
            )
        return self
