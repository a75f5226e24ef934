"""All 70,000 images of MNIST in one file, so that `data.holdout` divides them at random and not by writer.

HEBM_DATA=DIR python -m benchmarks.mixed_mnist runs/mixed_mnist.npz

MNIST's training and test images come from different writers, and so do the halves of its test images; a distance to the
test images then measures writers as well as priors. docs/prior.md compares priors on both divisions.
"""

import argparse
from pathlib import Path

import numpy as np

from hebm.data import load_images

__all__ = ["main"]


def main() -> None:
    """Read both splits, write one array."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    target = parser.parse_args().file
    parts = [load_images("mnist", split) for split in ("train", "test")]
    target.parent.mkdir(parents=True, exist_ok=True)
    images = np.concatenate([part.images for part in parts])
    np.savez_compressed(target, images=images[:, 0], labels=np.concatenate([part.labels for part in parts]))
    print(f"{len(images)} images in {target}")


if __name__ == "__main__":
    main()
