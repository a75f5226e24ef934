"""What the commands share: consoles, devices, and where pictures go."""

from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from hebm.errors import ConfigError
from hebm.models import JointModel
from hebm.report import image_grid, save_png
from hebm.training import Run

__all__ = ["console", "device_named", "load_run", "save_grid", "say"]


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error."""
    return Console(stderr=stderr, soft_wrap=True)


def say(text: str) -> None:
    """Print one line as it is."""
    console().print(text, markup=False, highlight=False)


def device_named(name: str) -> torch.device:
    """The device a flag names; ``auto`` is a GPU if there is one.

    Raises:
        ConfigError: If it is not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device {name!r} is unknown; choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available to this PyTorch; use --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def load_run(directory: Path, device: str) -> tuple[Run, JointModel]:
    """A run and its averaged model on a device.

    Raises:
        RunDirectoryError: If it is not a run, or has no checkpoint.
    """
    run = Run(directory)
    return run, run.model().to(device_named(device))


def save_grid(images: Tensor, path: Path, *, n_columns: int) -> None:
    """Write images [N, C, H, W] in [0, 1] as one PNG and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(image_grid(images.cpu(), n_columns=n_columns), path)
    say(str(path))
