"""Images per second from disk to device, against a ``DataLoader`` whose items are opened and resized by PIL.

A folder of JPEG files twice as wide as the images that training wants. Ours decodes it once, in parallel, to bytes
that stay in memory (on the device, where they fit); so there are two rows: the first pass, with the decoding, and every
later one. The loader decodes in every pass, which is what a plain pipeline does.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.timing import Floor, Limits, Row, compare
from hebm.data import ResidentImages, epoch_order, load_images

__all__ = ["input_rows"]

SIZE, BATCH = 32, 100


def write_images(folder: Path, n: int) -> None:
    """n JPEG files of smooth random colours, 2·SIZE wide."""
    coarse = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    for i, pixels in enumerate(coarse):
        image = Image.fromarray(pixels).resize((2 * SIZE, 2 * SIZE), Image.Resampling.BICUBIC)
        image.save(folder / f"{i:05d}.jpg", quality=90)


class PilFolder(Dataset[Tensor]):
    """Opens, resizes and scales one file per item."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        """[3, SIZE, SIZE] in [0, 1]."""
        with Image.open(self.files[index]) as image:
            resized = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
            return torch.from_numpy(np.asarray(resized, dtype=np.uint8).copy()).permute(2, 0, 1).float() / 255


def our_pass(images: ResidentImages, epoch: int) -> Iterator[Tensor]:
    """All batches of an epoch."""
    for indices in epoch_order(len(images), seed=0, epoch=epoch).split(BATCH):
        yield images.batch(indices)


def _read(folder: Path, device: torch.device) -> ResidentImages:
    images = load_images("folder", "all", path=folder, size=SIZE, channels=3)
    return ResidentImages(images, device)


def input_rows(
    limits: Limits, device: torch.device, *, n_images: int = 2000, budget_s: float = 10.0, least: int = 3
) -> list[Row]:
    """First and later passes, the loader with no worker and with two."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, n_images)
        dataset, resident = PilFolder(folder), _read(folder, device)
        ours = resident.batch(torch.arange(20)).cpu()
        theirs = torch.stack([dataset[i] for i in range(20)])
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().mean() < 2 / 255, "both pipelines must give the same pictures"

        def loader(n_workers: int) -> int:
            batches = DataLoader(dataset, BATCH, shuffle=True, num_workers=n_workers)
            return sum(len(batch.to(device)) for batch in batches)

        peers = {
            "PIL DataLoader": lambda: loader(0),
            "PIL DataLoader, 2 workers": lambda: loader(2),
        }
        n_bytes = n_images * 3 * SIZE**2 * (1 + 4) / 1e9
        floor = Floor(0, n_bytes)
        first = {"hebm": lambda: sum(len(batch) for batch in our_pass(_read(folder, device), 0)), **peers}
        later = {"hebm": lambda: sum(len(batch) for batch in our_pass(resident, 0)), **peers}
        assert later["hebm"]() == n_images
        options = {"limits": limits, "budget_s": budget_s, "least": least, "n_images": n_images}
        case = f"{n_images} JPEG files of {2 * SIZE} pixels to batches of {BATCH} at {SIZE}"
        return [
            compare("input", f"first pass, {case}", first, **options),
            compare("input", f"later passes, {case}", later, floor=floor, **options),
        ]
