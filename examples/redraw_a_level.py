"""Train on the embedded digits, then redraw each level given the others, and print how far the images move.

python examples/redraw_a_level.py          (about half a minute on two CPU cores)
"""

from pathlib import Path

import torch

import hebm
from hebm.report import image_grid, save_png

__all__ = ["main"]


def main(out: Path = Path("runs/example"), max_steps: int = 600) -> list[float]:
    """Root mean squared change of 64 reconstructions per redrawn level, top first, in units of pixels in [0, 1]."""
    config = hebm.load_config(
        "digits", [f"trainer.max_steps={max_steps}", f"trainer.energy_only_steps={max_steps // 2}"]
    )
    run = hebm.train(config, out, resume=True)
    model = hebm.load(run.directory)
    generator = torch.Generator().manual_seed(0)
    latents = model.sample_prior(64, generator=generator)
    images = model.decode(latents)
    changes = []
    for level, units in enumerate(model.level_dims):
        redrawn = model.decode(model.resample(latents, [level], generator=generator))
        changes.append((redrawn - images).square().mean().sqrt().item())
        pairs = torch.stack([images, redrawn], 1).flatten(0, 1)
        save_png(image_grid(pairs, n_columns=16), run.samples / f"redrawn-level-{level}.png")
        print(f"level {level} ({units} latents, {'top' if level == 0 else 'lower'}): {changes[-1]:.3f}")
    return changes


if __name__ == "__main__":
    main()
