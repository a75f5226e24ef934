"""Nets and images small enough for tests: two levels on 8×8 digits."""

import torch
from tests.training.tiny import tiny_config

from hebm.build import build_images, build_model
from hebm.data import ImageSet, ResidentImages
from hebm.models import JointModel

__all__ = ["digits", "fresh_model", "stream", "weights"]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fresh_model(seed: int = 0, *overrides: str) -> JointModel:
    """An untrained model."""
    return build_model(tiny_config(f"seed={seed}", *overrides))


def digits(split: str = "train", limit: int = 400) -> tuple[ResidentImages, ImageSet]:
    """Some digits, on the CPU, with their labels."""
    image_set = build_images(tiny_config(f"data.limit={limit}"), split)
    return ResidentImages(image_set, "cpu"), image_set


def weights(module: torch.nn.Module) -> torch.Tensor:
    """All parameters in one row."""
    return torch.cat([p.detach().flatten() for p in module.parameters()])
