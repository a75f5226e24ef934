"""``hebm sample``."""

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from hebm.cli.options import DeviceOption, RunArgument, SeedOption
from hebm.cli.output import load_run, save_grid, say
from hebm.errors import ConfigError
from hebm.evaluation import images_from_prior
from hebm.report import image_grid, save_png

__all__ = ["sample"]


def sample(
    run_dir: RunArgument,
    n: Annotated[int, typer.Option(min=1, help="Number of images.")] = 64,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="FILE.png (one grid), FILE.npz (uint8 array `images`) or a folder of PNGs."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=0, help="Chain steps; as trained by default, 0 samples the base prior.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Generate images from the model's own prior."""
    run, model = load_run(run_dir, device)
    target = out or run.samples / f"sample-seed{seed}.png"
    if target.suffix not in (".png", ".npz", ""):
        raise ConfigError(f"--out {target} has an unknown type; end it with .png or .npz, or name a folder.")
    images = torch.cat([block.cpu() for block in images_from_prior(model, n, seed=seed, n_steps=steps)])
    if target.suffix == ".png":
        save_grid(images, target, n_columns=math.ceil(math.sqrt(n)))
    elif target.suffix == ".npz":
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(target, images=(images * 255).round().to(torch.uint8).numpy())
        say(str(target))
    else:
        target.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(images):
            save_png(image_grid(image[None], n_columns=1, scale=1, gap=0), target / f"{index:06d}.png")
        say(f"{n} images in {target}")
