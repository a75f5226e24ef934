"""``hebm traverse``."""

from typing import Annotated

import torch
import typer

from hebm.cli.options import DeviceOption, RunArgument, SeedOption
from hebm.cli.output import load_run, save_grid
from hebm.evaluation import traverse_images

__all__ = ["traverse"]


def traverse(
    run_dir: RunArgument,
    width: Annotated[float, typer.Option(min=0.1, help="Sweep from -width to +width.")] = 2.5,
    points: Annotated[int, typer.Option(min=2, help="Values per unit.")] = 11,
    item: Annotated[int, typer.Option(min=0, help="Which sample of the prior is held.")] = 0,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Sweep every latent unit, all else held: one grid per level, one row per unit."""
    run, model = load_run(run_dir, device)
    values = torch.linspace(-width, width, points)
    for level in range(len(model.level_dims)):
        images = traverse_images(model, level, values=values, seed=seed, item=item)
        save_grid(images, run.samples / f"traverse-level-{level}.png", n_columns=points)
