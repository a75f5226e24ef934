"""``hebm features``."""

from typing import Annotated

import typer

from hebm.build import build_images
from hebm.cli.options import DeviceOption
from hebm.cli.output import device_named, say
from hebm.config import load_config
from hebm.evaluation import held_out_images
from hebm.features import build_extractor

__all__ = ["features"]


def features(
    preset: Annotated[str, typer.Argument(help="Preset or YAML file whose data to use.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train and cache the feature network that `evaluate --suite samples` measures distances with."""
    config = load_config(preset, settings or [])
    train = build_images(config, config.data.split)
    extractor = build_extractor(
        config.evaluation.extractor, train, held_out_images(config), device=device_named(device)
    )
    accuracy = getattr(extractor, "test_accuracy", None)
    say(f"{extractor.identifier}" + (f" · test accuracy {accuracy:.4f}" if accuracy is not None else ""))
