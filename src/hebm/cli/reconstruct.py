"""``hebm reconstruct``."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from hebm.cli.options import DeviceOption, RunArgument, SeedOption
from hebm.cli.output import load_run, save_grid
from hebm.config import RunConfig
from hebm.data import ImageSet, load_images
from hebm.errors import ConfigError, DataError
from hebm.evaluation import held_out_images, partial_reconstructions
from hebm.features import image_batches
from hebm.report import interleave_rows

__all__ = ["reconstruct"]


def reconstruct(
    run_dir: RunArgument,
    images: Annotated[
        Path | None, typer.Argument(help="Folder of images, or .npz/.npy array; held-out images by default.")
    ] = None,
    levels: Annotated[
        str,
        typer.Option(
            help="all, or top:k to keep the k top levels and draw the rest from the conditional prior."
        ),
    ] = "all",
    n: Annotated[int, typer.Option(min=1, help="At most so many images.")] = 32,
    seed: SeedOption = 0,
    out: Annotated[Path | None, typer.Option(help="FILE.png; in the run directory by default.")] = None,
    device: DeviceOption = "auto",
) -> None:
    """Show images, and beneath them what the model makes of them."""
    run, model = load_run(run_dir, device)
    n_kept = _n_kept(levels, len(model.level_dims))
    chosen = _load(run.config(), images)
    x = torch.cat(list(image_batches(chosen.images[:n])))
    x_hat = partial_reconstructions(model, x, n_kept=n_kept, seed=seed).cpu()
    columns = min(16, len(x))
    name = "reconstruction" if levels == "all" else f"reconstruction-top{n_kept}"
    save_grid(
        interleave_rows(x, x_hat, n_columns=columns), out or run.samples / f"{name}.png", n_columns=columns
    )


def _n_kept(levels: str, n_levels: int) -> int:
    if levels == "all":
        return n_levels
    kept = levels.removeprefix("top:")
    if not levels.startswith("top:") or not kept.isdecimal() or not 0 <= int(kept) <= n_levels:
        raise ConfigError(
            f"--levels {levels!r} is not understood; write all, or top:k with k from 0 to {n_levels}."
        )
    return int(kept)


def _load(config: RunConfig, images: Path | None) -> ImageSet:
    if images is None:
        return held_out_images(config)
    if not images.exists():
        raise DataError(f"{images} does not exist; give a folder of images, or a .npz or .npy file.")
    kind = "folder" if images.is_dir() else "array"
    section = config.data
    return load_images(
        kind, "all", path=images, size=section.size, channels=section.channels, on_error=section.on_error
    )
