"""Devices and processes: the one place where a Fabric is made."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric

from hebm.config import RunConfig
from hebm.errors import ConfigError

__all__ = ["deterministic_kernels", "make_fabric"]


def make_fabric(config: RunConfig, *, device: str = "auto", devices: int = 1) -> Fabric:
    """Make and launch the Fabric of a training run.

    One process needs no launcher. With several, this process starts the others, unless ``torchrun`` or SLURM has
    started them already; their number then counts.

    Args:
        config: The run's configuration; gives nodes and batch size.
        device: ``auto``, ``cpu`` or ``cuda``.
        devices: Processes per machine.

    Raises:
        ConfigError: If the device is not there, or the batch does not divide among the processes.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device {device!r} is unknown; choose auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available to this PyTorch; use --device cpu.")
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    n_processes = devices * config.trainer.num_nodes
    if config.trainer.batch_size % n_processes:
        raise ConfigError(
            f"trainer.batch_size = {config.trainer.batch_size} does not divide among {n_processes} processes; "
            f"make it a multiple of {n_processes}."
        )
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=config.trainer.num_nodes,
        strategy="ddp" if n_processes > 1 else "auto",
        precision="32-true",  # bf16 is the training step's own: Fabric's would round images and latents too
    )
    fabric.launch()
    return fabric


@contextmanager
def deterministic_kernels(device: torch.device) -> Iterator[None]:
    """Deterministic kernels while training on a GPU, restored afterwards; CPU kernels are deterministic already."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before
