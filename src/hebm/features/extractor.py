"""What a feature extractor is, and how features of many images are gathered.

A distance between features means nothing without the network they came from, so every extractor has a name
and a hash over its weights and architecture, and every result carries both.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hebm.errors import ImageShapeError
from hebm.metrics import GaussianStatistics

__all__ = ["FeatureExtractor", "extract_features", "feature_statistics", "image_batches", "weights_hash"]


class FeatureExtractor(Protocol):
    """Images to features: deterministic, in evaluation mode, without gradients.

    Images may be on any device; the features are on the extractor's.
    """

    @property
    def name(self) -> str:
        """The kind of extractor, e.g. ``inception``."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 that fixes weights and architecture, 64 hex digits."""
        ...

    @property
    def identifier(self) -> str:
        """``name@hash``, the hash cut to 12 digits: what results carry."""
        ...

    @property
    def is_standard_inception(self) -> bool:
        """Whether a Fréchet distance of these features may be called FID."""
        ...

    @property
    def dim(self) -> int:
        """Number of features D."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """Features of images, [B, C, H, W] in [0, 1] to [B, D] float32."""
        ...


def weights_hash(module: nn.Module, version: str) -> str:
    """Hash an architecture's version and every tensor of its state, in the order of their names."""
    digest = hashlib.sha256(version.encode())
    for name, value in sorted(module.state_dict().items()):
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def image_batches(images: NDArray[np.uint8], *, batch_size: int = 256) -> Iterator[Tensor]:
    """Cut 8-bit images [N, C, H, W] into float32 batches in [0, 1]."""
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ImageShapeError(f"images must be uint8 [N, C, H, W], got {images.dtype} {list(images.shape)}.")
    for first in range(0, len(images), batch_size):
        yield torch.tensor(images[first : first + batch_size]).float() / 255


def extract_features(extractor: FeatureExtractor, batches: Iterable[Tensor]) -> Tensor:
    """Gather the features of all batches.

    Args:
        extractor: The network.
        batches: Images, each [B, C, H, W] in [0, 1].

    Returns:
        Features on the CPU, [N, D] float32; [0, D] where there is no batch.
    """
    features = [extractor(batch).cpu() for batch in batches]
    return torch.cat(features) if features else torch.empty(0, extractor.dim)


def feature_statistics(extractor: FeatureExtractor, batches: Iterable[Tensor]) -> GaussianStatistics:
    """Mean and covariance of the features of all batches, one batch in memory at a time."""
    statistics = GaussianStatistics(extractor.dim)
    for batch in batches:
        statistics.update(extractor(batch))
    return statistics
