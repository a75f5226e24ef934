"""What a run ran on: versions and hardware, for ``environment.json`` and result files."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["describe_environment", "hardware_name", "package_version"]

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "lightning-fabric", "safetensors")


def package_version() -> str:
    """Version of this library."""
    try:
        return version("hebm")
    except PackageNotFoundError:
        return "unknown"


def hardware_name(device: torch.device | str = "cpu") -> str:
    """Name of the device that computed: the GPU's, or the processor's with its thread count."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_processor()} ({torch.get_num_threads()} threads)"


def describe_environment(device: torch.device, world_size: int) -> dict[str, Any]:
    """Versions, hardware and number of processes."""
    return {
        "hebm_version": package_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version(name) for name in PACKAGES},
        "hardware": hardware_name(device),
        "n_cpus": os.cpu_count(),
        "device": str(device),
        "world_size": world_size,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
