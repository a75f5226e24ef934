"""``hebm hierarchy``."""

from typing import Annotated

import typer

from hebm.cli.options import DeviceOption, RunArgument, SeedOption
from hebm.cli.output import load_run, save_grid
from hebm.errors import ConfigError
from hebm.evaluation import hierarchy_images

__all__ = ["hierarchy"]


def hierarchy(
    run_dir: RunArgument,
    mode: Annotated[
        str, typer.Option(help="conditional (drawn given the other levels) or pasted (the paper's way).")
    ] = "conditional",
    items: Annotated[int, typer.Option(min=1, help="Held items, one per row.")] = 8,
    draws: Annotated[int, typer.Option(min=1, help="Redraws per item.")] = 10,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Redraw one level at a time, the others held: one grid per level, level 0 is the top."""
    if mode not in ("conditional", "pasted"):
        raise ConfigError(f"--mode {mode!r} is unknown; choose conditional or pasted.")
    run, model = load_run(run_dir, device)
    suffix = "" if mode == "conditional" else "-pasted"
    for level in range(len(model.level_dims)):
        images = hierarchy_images(
            model, level, n_items=items, n_draws=draws, mode="pasted" if suffix else "conditional", seed=seed
        )
        save_grid(images, run.samples / f"hierarchy{suffix}-level-{level}.png", n_columns=draws + 1)
