"""Pictures that belong to a suite's numbers, beside its result file: ``evaluation/SUITE-NAME.png``."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from hebm.evaluation.pictures import HierarchyMode, hierarchy_images, plane_images
from hebm.models import JointModel
from hebm.report.grid import image_grid, save_png

__all__ = ["write_suite_pictures"]

Grids = dict[str, tuple[Tensor, int]]
"""Images by name, with the number of columns they are laid out in."""

N_ITEMS, N_DRAWS = 6, 10
PLANE = torch.linspace(-3, 3, 15)
MODES: tuple[HierarchyMode, ...] = ("conditional", "pasted")


def write_suite_pictures(folder: Path, suite: str, model: JointModel, *, seed: int) -> list[Path]:
    """Draw what a suite has pictures of.

    Args:
        folder: Where to put them.
        suite: Name of the suite; most have none.
        model: The model.
        seed: The user's seed.

    Returns:
        The files, PNG.
    """
    if suite not in PICTURES:
        return []
    files = []
    for name, (images, n_columns) in PICTURES[suite](model, seed).items():
        files.append(folder / f"{suite}-{name}.png")
        save_png(image_grid(images.cpu(), n_columns=n_columns), files[-1])
    return files


def _redrawn_levels(model: JointModel, seed: int) -> Grids:
    """Each level redrawn, both ways; a row is a sample of the prior and its redraws."""
    return {
        f"level-{level}-{mode}": (
            hierarchy_images(model, level, n_items=N_ITEMS, n_draws=N_DRAWS, mode=mode, seed=seed),
            N_DRAWS + 1,
        )
        for level in range(len(model.level_dims))
        for mode in MODES
    }


def _plane(model: JointModel, seed: int) -> Grids:
    """The latent plane, where there are two latents in all."""
    if sum(model.level_dims) != 2:
        return {}
    return {"plane": (plane_images(model, values=PLANE), len(PLANE))}


PICTURES: dict[str, Callable[[JointModel, int], Grids]] = {
    "hierarchy": _redrawn_levels,
    "aggregate": _plane,
}
