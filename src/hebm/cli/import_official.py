"""``hebm import-official``."""

from pathlib import Path
from typing import Annotated

import typer

from hebm.cli.output import say
from hebm.released import import_official

__all__ = ["import_released"]


def import_released(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="Released file, or files, with netG, netI and netE."),
    ],
    run_dir: Annotated[Path, typer.Option(help="Where to write the run; must be empty or new.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What no weight tells, e.g. sampler.n_steps=60."),
    ] = None,
) -> None:
    """Import a checkpoint released by the paper's authors as a run; only tensors are read, never code."""
    run = import_official(files, run_dir, settings or ())
    config = run.config()
    latents = ", ".join(str(level.latents) for level in config.model.levels)
    say(f"{len(config.model.levels)} levels ({latents} latents, top first), joined by {config.model.merge}")
    say(str(run.directory))
