"""Train a preset and its Gaussian twin over seeds, evaluate both, and report mean ± sd of every number.

HEBM_DATA=DIR python -m benchmarks.prior_gap fashion_mnist --seeds 0 1 2

Runs are kept in ``runs/prior_gap/`` and finished ones are not repeated. The table goes to the terminal, the numbers
of every seed to ``benchmarks/results/prior_gap-PRESET.json``.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import hebm
from hebm.evaluation import evaluate
from hebm.reproduce.cost import training_cost
from hebm.training import shares_first_phase, twin_config
from hebm.training.environment import hardware_name

__all__ = ["main"]

FIELDS = (
    "fd_prior", "fd_base", "fd_longer_chain", "fd_reconstruction", "fd_train_posterior", "fd_halves", "prior_gap",
    "prior_gap_attainable", "precision", "recall", "mse", "ssim",
)  # fmt: skip


def run_one(config: hebm.RunConfig, directory: Path, *, twin: hebm.Run | None = None) -> dict[str, Any]:
    """Train and evaluate one run, or read what is there: its results, training minutes and extractor.

    Args:
        config: Its configuration.
        directory: Where it is.
        twin: Its Gaussian twin, whose nets it takes over where they would be the same; the minutes count them.
    """
    run = hebm.train(config, directory, resume=True, nets_of=twin if shares_first_phase(config) else None)
    file = run.evaluation / "samples.json"
    if not file.is_file():
        evaluate(run, "samples")
    record = json.loads(file.read_text())
    logs = [r for r in run.metrics() if "event" not in r]
    seconds = training_cost(run)["training_s"]
    assert seconds is not None  # logged: it is finished
    last = {
        key: logs[-1][key] for key in ("rate_per_level", "energy_data", "energy_prior") if key in logs[-1]
    }
    events = [r for r in run.metrics() if "event" in r]
    numbers = {field: record["results"][field] for field in FIELDS}
    return {
        **numbers,
        "training_minutes": seconds / 60,
        "extractor": record["results"]["extractor"],
        "events": events,
    } | last


def summary(runs: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and sample standard deviation of every number over seeds; no deviation of a single one."""
    values = {field: [run[field] for run in runs] for field in (*FIELDS, "training_minutes")}
    return {
        field: {"mean": statistics.fmean(v), "sd": statistics.stdev(v) if len(v) > 1 else None}
        for field, v in values.items()
    }


def _text(value: dict[str, float | None]) -> str:
    return f"{value['mean']:.3g}" + ("" if value["sd"] is None else f" ± {value['sd']:.2g}")


def main() -> None:
    """Train, evaluate, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    name = Path(arguments.preset).stem
    runs: dict[str, list[dict[str, Any]]] = {"model": [], "gaussian": []}
    for seed in arguments.seeds:
        directory = Path("runs/prior_gap") / f"{name}-seed{seed}"
        config = hebm.load_config(arguments.preset, [f"seed={seed}"])
        runs["gaussian"].append(run_one(twin_config(config), directory / "twin"))
        runs["model"].append(run_one(config, directory, twin=hebm.Run(directory / "twin")))
    results = {kind: summary(values) for kind, values in runs.items()}
    ratios = [g["prior_gap"] / j["prior_gap"] for j, g in zip(runs["model"], runs["gaussian"], strict=True)]
    record = {
        "benchmark": "prior_gap",
        "preset": name,
        "seeds": arguments.seeds,
        "hebm_version": hebm.__version__,
        "hardware": hardware_name(),
        "gap_ratio": {"mean": statistics.fmean(ratios), "values": ratios},
        "summary": results,
        "runs": runs,
    }
    path = Path("benchmarks/results") / f"prior_gap-{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"| {name}, {len(ratios)} seeds | the preset's prior | Gaussian twin |\n| --- | --- | --- |")
    for field in results["model"]:
        print(f"| {field} | {' | '.join(_text(results[kind][field]) for kind in results)} |")
    print(f"prior gap of the twin / of the preset, per seed: {', '.join(f'{r:.1f}' for r in ratios)}")


if __name__ == "__main__":
    main()
