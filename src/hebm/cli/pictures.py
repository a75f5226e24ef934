"""The pictures of a run's report, into ``samples/``."""

import torch

from hebm.evaluation import (
    held_out_images,
    hierarchy_images,
    images_from_prior,
    partial_reconstructions,
    traverse_images,
)
from hebm.features import image_batches
from hebm.models import JointModel
from hebm.report import image_grid, save_png
from hebm.training import Run

__all__ = ["write_pictures"]

N_IMAGES, N_COLUMNS = 64, 8
N_ITEMS, N_DRAWS = 6, 10
SWEEP = torch.linspace(-2.5, 2.5, 11)


def write_pictures(run: Run, model: JointModel, *, seed: int) -> None:
    """Render held-out images, reconstructions, samples of prior and base, and every level's grids."""
    n_levels = len(model.level_dims)
    x = torch.cat(list(image_batches(held_out_images(run.config()).images[:N_IMAGES])))
    grids = {
        "real": (x, N_COLUMNS),
        "reconstruction": (partial_reconstructions(model, x, n_kept=n_levels, seed=seed), N_COLUMNS),
        "prior": (torch.cat(list(images_from_prior(model, N_IMAGES, seed=seed))), N_COLUMNS),
        "base": (torch.cat(list(images_from_prior(model, N_IMAGES, seed=seed, n_steps=0))), N_COLUMNS),
    }
    for level in range(n_levels):
        redrawn = hierarchy_images(
            model, level, n_items=N_ITEMS, n_draws=N_DRAWS, mode="conditional", seed=seed
        )
        grids[f"hierarchy-level-{level}"] = (redrawn, N_DRAWS + 1)
        swept = traverse_images(model, level, values=SWEEP, seed=seed)
        grids[f"traverse-level-{level}"] = (swept, len(SWEEP))
    run.samples.mkdir(parents=True, exist_ok=True)
    for name, (images, n_columns) in grids.items():
        save_png(image_grid(images.cpu(), n_columns=n_columns), run.samples / f"{name}.png")
