"""Train on a folder of normal images, then ask what in another folder does not belong, and where it breaks.

The normal images are drawn here: dark discs on a light ground. The folder to judge has fresh discs and, among them,
discs with a scratch, squares, and discs that are too large. With images of your own, start from the preset `folder`.

python examples/detect_folder.py          (about half a minute on two CPU cores)
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import hebm
from hebm.data import ResidentImages
from hebm.data.given import read_given_images
from hebm.training import load_detector

__all__ = ["draw", "main"]

SIZE = 16
KINDS = ("scratch", "square", "large")


def draw(kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """One picture [16, 16]: a ``disc``, or what is not one."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2 + 0.5
    x, y = x - rng.uniform(-2, 2), y - rng.uniform(-2, 2)
    radius = 7.0 if kind == "large" else rng.uniform(3, 4.5)
    distance = np.maximum(abs(x), abs(y)) if kind == "square" else np.hypot(x, y)
    tone = 0.85 + 0.05 * rng.standard_normal() - rng.uniform(0.4, 0.6) / (1 + np.exp(3 * (distance - radius)))
    if kind == "scratch":
        tone[abs(y - rng.uniform(-0.5, 0.5) * x) < 0.7] = 1.0
    noisy = tone + 0.02 * rng.standard_normal(tone.shape)
    return (255 * noisy.clip(0, 1)).round().astype(np.uint8)


def write_images(folder: Path, names_and_kinds: list[tuple[str, str]], seed: int) -> None:
    """One PNG per name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name, kind in names_and_kinds:
        Image.fromarray(draw(kind, rng)).save(folder / f"{name}.png")


def main(
    out: Path = Path("runs/detect-example"), max_steps: int = 600, n_normal: int = 1500
) -> dict[str, float]:
    """Share of images called anomalous at a false-positive rate of 5 %, by kind."""
    write_images(out / "normal", [(f"{i:04d}", "disc") for i in range(n_normal)], seed=0)
    to_judge = [(f"disc-{i:03d}", "disc") for i in range(200)]
    to_judge += [(f"{kind}-{i:03d}", kind) for kind in KINDS for i in range(20)]
    write_images(out / "new", to_judge, seed=1)

    config = hebm.load_config(
        "digits",
        [
            "data.name=folder",
            f"data.path={out / 'normal'}",
            f"data.size={SIZE}",
            "data.holdout=0.3",
            "model.levels=[{latents: 8, channels: 64}, {latents: 4, channels: 32}, {latents: 2, channels: 16}]",
            "model.likelihood_scale=0.1",
            "trainer.batch_size=50",
            f"trainer.max_steps={max_steps}",
            f"trainer.energy_only_steps={max_steps // 3}",
        ],
    )
    run = hebm.train(config, out / "run", resume=True)

    stored = load_detector(run)  # calibrated on the held-out 30 % when training ended
    assert stored is not None
    new = read_given_images(out / "new", stored.transform)
    x = ResidentImages(new, "cpu").batch(torch.arange(len(new)))
    found = stored.detector(hebm.load(run.directory), x, rate=0.05)
    kinds = np.array([name.split("-")[0] for name in new.item_names or ()])
    shares = {}
    for kind in ("disc", *KINDS):
        rows = np.flatnonzero(kinds == kind)
        shares[kind] = found.anomalous[rows].double().mean().item()
        parts = [found.breaks_first[i] for i in rows]
        often = max(set(parts), key=parts.count)
        print(f"{kind}: {shares[kind]:.0%} of {len(rows)} anomalous; most break first in: {often}")
    print(f"as a table and a page: hebm detect {run.directory} {out / 'new'}")
    return shares


if __name__ == "__main__":
    main()
