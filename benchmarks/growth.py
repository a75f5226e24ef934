"""How the cost grows with the work: exponents of time in K, batch, number of levels, and image size.

An exponent is the slope of log time over log size by least squares, with the extent of the sizes beside it; 1 is
proportional, and under 1 says that fixed costs still matter at these sizes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.langevin import ETA, langevin_prior
from benchmarks.timing import interleaved
from benchmarks.training_step import our_step
from hebm.samplers import ShortRunLangevin

__all__ = ["growth_exponents", "slope"]

BATCH = 20  # images, where the network grows


def slope(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Least-squares slope of log seconds over log size."""
    x, y = [math.log(s) for s in sizes], [math.log(t) for t in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - mean_x) ** 2 for a in x)


def _chain(n_steps: int, batch: int, dims: tuple[int, ...], device: torch.device) -> Callable[[], object]:
    density = langevin_prior(dims, 100, 2, device).density()
    start = tuple(torch.randn(batch, d, device=device) for d in dims)
    return lambda: ShortRunLangevin(n_steps, ETA)(density, start)


def _image_step(size: int, n_levels: int, device: torch.device) -> Callable[[], object]:
    levels = ",".join(["{latents: 10, channels: 64}"] * n_levels)
    overrides = (f"data.size={size}", f"model.levels=[{levels}]", "model.merge=add")
    return our_step("svhn_sampling", overrides, device, BATCH)[0]


def growth_exponents(
    device: torch.device,
    *,
    budget_s: float = 3.0,
    least: int = 3,
    sizes: dict[str, Sequence[int]] | None = None,
) -> list[dict[str, Any]]:
    """Sizes, median milliseconds and exponent of each kind of growth."""
    chosen = {
        "Langevin steps K": (15, 60, 240),
        "chains": (100, 1000, 10_000),
        "levels of the training step": (2, 3, 4),
        "image size of the training step": (32, 64, 128),
        **(sizes or {}),
    }
    make: dict[str, Callable[[int], Callable[[], object]]] = {
        "Langevin steps K": lambda n: _chain(n, 1000, (10,) * 5, device),
        "chains": lambda n: _chain(60, n, (10,) * 5, device),
        "levels of the training step": lambda n: _image_step(32, n, device),
        "image size of the training step": lambda n: _image_step(n, 3, device),
    }
    results = []
    for name, values in chosen.items():
        candidates = {str(value): make[name](value) for value in values}
        times = interleaved(candidates, budget_s=budget_s, least=least, most=20)
        medians = [sorted(seconds)[len(seconds) // 2] for seconds in times.values()]
        results.append(
            {
                "what": name,
                "sizes": list(values),
                "milliseconds": [1e3 * seconds for seconds in medians],
                "exponent": slope([float(value) for value in values], medians),
            }
        )
        print(f"growth | {name}: {results[-1]['exponent']:.2f}", flush=True)
    return results
