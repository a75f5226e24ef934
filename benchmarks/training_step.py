"""Time the whole training step of ``svhn_sampling`` against the same step written naively, interleaved.

python benchmarks/training_step.py [--rounds 30] [--out benchmarks/results/training_step.json]
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lightning_fabric import Fabric

import hebm
from benchmarks.naive import NaiveTrainer
from hebm.training.environment import describe_environment
from hebm.training.state import TrainingState
from hebm.training.step import TrainingStep

__all__ = ["main"]

PRESET = "svhn_sampling"
BATCH = 100


def steps(x: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Both steps, on the same generator architecture, batch and chain length; counts asserted equal first."""
    config = hebm.load_config(PRESET)
    ours = TrainingState(config, hebm.build_model(config))
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    step = TrainingStep(config, ours, fabric)
    plain = hebm.build_model(config).generator.to(memory_format=torch.contiguous_format)
    naive = NaiveTrainer(plain, n_steps=config.sampler.n_steps)
    sizes = [sum(p.numel() for p in net.parameters()) for net in (naive.encoder, naive.energy)]
    assert sizes == [
        sum(p.numel() for p in net.parameters()) for net in (ours.model.encoder, ours.model.prior.energy)
    ]

    def our_step() -> None:
        step(x, kl_weight=1.0)
        ours.ema.update(ours.model, 0.999)

    return {"hebm": our_step, "naive": lambda: naive.step(2 * x - 1)}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    both = steps(torch.rand(BATCH, 3, 32, 32))
    for step in both.values():  # warm-up
        step()
        step()
    times: dict[str, list[float]] = {name: [] for name in both}
    for _ in range(arguments.rounds):
        for name, step in both.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(times["hebm"], times["naive"], strict=True)]
    result = {
        "benchmark": "training_step",
        "preset": PRESET,
        "batch": BATCH,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "median_ms": {name: 1e3 * statistics.median(values) for name, values in times.items()},
        "speedup_median": statistics.median(ratios),
        "speedup_quartiles": statistics.quantiles(ratios, n=4),
        "environment": describe_environment(torch.device("cpu"), 1),
    }
    for name, milliseconds in result["median_ms"].items():
        print(f"{name:8s} {milliseconds:8.1f} ms a step (median of {arguments.rounds})")
    print(f"naive / hebm, median of paired ratios: {result['speedup_median']:.2f}")
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
