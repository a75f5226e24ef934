"""Scores of many images, a few at a time: 200, whose activations are memory that a CPU's allocator keeps."""

from collections.abc import Iterator

import torch
from torch import Tensor

from hebm.detection.base import AnomalyScore
from hebm.detection.inference import Inferred, infer
from hebm.errors import DataError
from hebm.models import JointModel

__all__ = ["BATCH", "in_batches", "inferred_batches", "require_normals"]

BATCH = 200


def in_batches(model: JointModel, x: Tensor, score: AnomalyScore, batch_size: int = BATCH) -> Tensor:
    """Scores of images [N, C, H, W], at most `batch_size` at a time: [N]."""
    return torch.cat([score(model, batch) for batch in torch.split(x, batch_size)])


def inferred_batches(model: JointModel, x: Tensor, batch_size: int = BATCH) -> Iterator[Inferred]:
    """Checked images [N, C, H, W], at most `batch_size` at a time, for several scores of each batch."""
    return (infer(model, batch) for batch in torch.split(x, batch_size))


def require_normals(normals: Tensor, least: int) -> None:
    """Check that there are enough normal images.

    Raises:
        DataError: If there are fewer.
    """
    if len(normals) < least:
        raise DataError(
            f"at least {least} normal images are expected, but there are {len(normals)}; hold out more of the training "
            "set."
        )
