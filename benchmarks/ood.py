"""The suite `ood` on several runs and their Gaussian twins, over training seeds.

HEBM_DATA=DIR python -m benchmarks.ood runs/fashion_mnist-seed0 runs/fashion_mnist-seed1 runs/fashion_mnist-seed2

Every run is a cell of its prior's column: a twin goes to `gaussian`, a run with prior.kind=top_down to `top_down`,
where the score `llr` is the likelihood ratio of a hierarchical VAE. The seed of a cell is that of its training, and
divides its images. A directory with nothing but `twin/` is a twin alone. Finished cells are kept in ``runs/ood/`` and
used again as long as configuration and checkpoint are the same; the table goes to
``benchmarks/results/ood-DATA.json``, which docs/detection.md is made from (``benchmarks.ood_tables``).
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from hebm.config import RunConfig
from hebm.evaluation import evaluate_ood
from hebm.files import write_atomically
from hebm.training.checkpoint import checkpoint_step
from hebm.training.environment import hardware_name, package_version
from hebm.training.run import Run

__all__ = ["main"]

MEASURES = ("auroc", "auprc", "auprc_trapezoid", "fpr80", "fpr95")
Json = dict[str, Any]


def column_of(config: RunConfig) -> str:
    """A column is a kind of prior."""
    prior = config.prior
    return (
        prior.kind
        if prior.base == "standard" or prior.kind == "gaussian"
        else f"{prior.kind}_on_{prior.base}"
    )


def runs_in(directories: Iterable[Path]) -> list[Run]:
    """The runs of some directories, and their twins."""
    places = [place for directory in directories for place in (directory, directory / "twin")]
    return [Run(place) for place in places if (place / "config.yaml").is_file()]


def cell(run: Run, overrides: list[str], folder: Path) -> Json:
    """One run's results, kept if they were measured before."""
    config = run.config().with_overrides(overrides)
    column = column_of(config)
    about = {
        "column": column,
        "seed": config.seed,
        "config_hash": config.hash(),
        "checkpoint_step": checkpoint_step(run.checkpoint()),
    }
    path = folder / f"{column}-seed{config.seed}.json"
    if path.is_file():
        kept: Json = json.loads(path.read_text())
        if about.items() <= kept.items():
            return kept
    started = time.perf_counter()
    results = evaluate_ood(run.model(), config, seed=config.seed)
    found = {**about, "duration_s": time.perf_counter() - started, "results": results}
    write_atomically(path, (json.dumps(found, indent=1, allow_nan=False) + "\n").encode())
    return found


def summary(cells: list[Json]) -> Json:
    """Mean, sample standard deviation (null for one seed) and values over seeds: column, pair, group, row, measure."""
    table: Json = {}
    for each in cells:
        for pair, found in each["results"]["pairs"].items():
            for group in ("controls", "scores"):
                for name, row in found[group].items():
                    for measure in MEASURES:
                        place = table
                        for key in (each["column"], pair, group, name):
                            place = place.setdefault(key, {})
                        place.setdefault(measure, []).append(row[measure])
    return _spread(table)


def _spread(table: Any) -> Any:
    if isinstance(table, dict):
        return {key: _spread(value) for key, value in table.items()}
    sd = statistics.stdev(table) if len(table) > 1 else None
    return {"mean": statistics.fmean(table), "sd": sd, "values": table}


def main() -> None:
    """Evaluate, keep, merge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], help="evaluation.ood.key=value"
    )
    parser.add_argument("--name", help="of the result file; the data set's by default")
    arguments = parser.parse_args()
    runs = runs_in(arguments.runs)
    if not runs:
        parser.error("none of these directories holds a run, nor a twin")
    places = [(column_of(run.config()), run.config().seed) for run in runs]
    if twice := [place for place in places if places.count(place) > 1]:
        parser.error(f"two runs would be in the cell {twice[0]}; give them one at a time, with --name")
    names = {run.config().data.name for run in runs}
    if len(names) > 1:
        parser.error(
            f"the runs are on several data sets ({', '.join(sorted(names))}); give those of one at a time"
        )
    data = arguments.name or names.pop()
    folder = Path("runs/ood") / data
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    for run, (column, seed) in zip(runs, places, strict=True):
        cells.append(cell(run, arguments.overrides, folder))
        print(f"{data} {column} seed {seed}: {cells[-1]['results']['verdict']}", flush=True)
    record = {
        "benchmark": "ood",
        "data": data,
        "hebm_version": package_version(),
        "hardware": hardware_name(),
        "n_threads": torch.get_num_threads(),
        "overrides": arguments.overrides,
        "summary": summary(cells),
        "cells": cells,
    }
    path = Path("benchmarks/results") / f"ood-{data}.json"
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
