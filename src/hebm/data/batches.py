"""From an image set to batches x in [0, 1]^{B x C x H x W} on a device."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hebm.data.image_set import ImageSet
from hebm.randomness import named_generator

__all__ = ["ResidentImages", "epoch_order"]

_DEVICE_SHARE = 0.5  # of the free device memory that the images may take; the rest is the model's


def epoch_order(n_items: int, *, seed: int, epoch: int) -> Tensor:
    """Draw the order in which one epoch visits the items.

    Args:
        n_items: N.
        seed: The user's seed.
        epoch: Which pass over the data, from 0.

    Returns:
        A permutation of 0, ..., N - 1, int64 [N] on the CPU; a function of (N, seed, epoch) alone.
    """
    return torch.randperm(n_items, generator=named_generator(seed, "data", epoch))


class ResidentImages:
    """The whole uint8 set on the device if it fits, else left on the host and gathered batch by batch.

    On a CPU nothing is copied: the tensor shares the array's memory or file.

    Args:
        image_set: The images, N of them.
        device: Where batches are wanted.
    """

    def __init__(self, image_set: ImageSet, device: torch.device | str) -> None:
        self.device = torch.device(device)
        pixels = _share_memory(image_set.images)
        self._pixels = pixels.to(self.device) if _fits(pixels, self.device) else pixels
        # A tensor on the device: CUDA would multiply by 1/255 for a Python number, off by one ulp for some x.
        self._full_scale = torch.tensor(255.0, device=self.device)

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def place(self) -> torch.device:
        """Where the images are; indices that are there already are not copied for every batch."""
        return self._pixels.device

    def batch(self, indices: Tensor) -> Tensor:
        """Gather images and normalise them on the device: x / 255.

        Args:
            indices: Which items, int64 [B], on any device.

        Returns:
            float32 [B, C, H, W] in [0, 1], on the device.
        """
        chosen = self._pixels[indices.to(self._pixels.device)]
        return chosen.to(self.device).to(torch.float32) / self._full_scale


def _share_memory(images: NDArray[np.uint8]) -> Tensor:
    if images.flags.writeable:
        return torch.from_numpy(images)
    with warnings.catch_warnings():  # read-only memory is fine: nothing here writes to it
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(images)


def _fits(pixels: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return pixels.nbytes <= _DEVICE_SHARE * free_bytes
