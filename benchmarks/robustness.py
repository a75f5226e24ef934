"""Attack runs and their Gaussian twins, with and without the defence, and compare them pair by pair.

HEBM_DATA=DIR python -m benchmarks.robustness runs/prior_gap/fashion_mnist-seed0 runs/prior_gap/fashion_mnist-seed1 …

Every run must have a twin (``hebm train … --twin``); one seed of training a run. Result files that are there for the
same configuration are read, not made again. A run and its twin are attacked on the same images, so differences are
paired. Two standard errors stand beside a mean difference: ``se_runs``, from the runs' own means, and ``se_pairs``,
from the pairs of images within the runs; the verdict needs more than two of the larger. The numbers go to
``benchmarks/results/attack-DATA.json``; ``python -m benchmarks.attack_page`` puts them into docs/detection.md.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import hebm
from hebm.errors import RunDirectoryError
from hebm.evaluation import evaluate
from hebm.training import Run
from hebm.training.environment import hardware_name

__all__ = ["auddc_table", "compare", "main", "summarise"]

SYSTEMS = ("without_defence", "with_defence")
COMPARISONS = {
    "joint with defence - twin": (("joint", "with_defence"), ("twin", "without_defence")),
    "joint with defence - twin with defence": (("joint", "with_defence"), ("twin", "with_defence")),
    "joint - twin": (("joint", "without_defence"), ("twin", "without_defence")),
    "joint with defence - joint": (("joint", "with_defence"), ("joint", "without_defence")),
    "twin with defence - twin": (("twin", "with_defence"), ("twin", "without_defence")),
}
SHOWN = ("joint with defence - twin", "joint with defence - twin with defence")
Values = list[float | None]


def attacked(run: Run, seed: int, settings: list[str]) -> dict[str, Any]:
    """The run's result file; made where there is none of this configuration and seed."""
    file = run.evaluation / "attack.json"
    wanted = run.config().with_overrides(settings).hash()
    record = json.loads(file.read_text()) if file.is_file() else {}
    if (record.get("config_hash"), record.get("seed")) != (wanted, seed):
        record = json.loads(evaluate(run, "attack", seed=seed, overrides=settings).read_text())
    return dict(record)


def measures(results: dict[str, Any]) -> dict[str, dict[str, Values]]:
    """Values per image, by measure and system; measures are named as ``auddc all`` and ``latent_skl all 0.1``."""
    found: dict[str, dict[str, Values]] = {}
    for level, row in results["per_level"].items():
        found[f"auddc {level}"] = {s: row["latent"][s]["auddc"]["per_image"] for s in SYSTEMS}
        for entry in row["linf"]:
            for key in ("ms_ssim_reconstruction", "latent_skl", "accuracy"):
                if entry[SYSTEMS[0]][key] is not None:
                    name = f"{key} {level} {entry['radius']:g}"
                    found[name] = {s: entry[s][key]["per_image"] for s in SYSTEMS}
    return found


def summarise(per_run: list[Values]) -> dict[str, Any]:
    """Mean over runs of the runs' means, sd over runs, and both standard errors.

    Args:
        per_run: Of every run one value per image; None where an image has none.
    """
    kept = [[value for value in values if value is not None] for values in per_run]
    kept = [values for values in kept if len(values) > 1]
    if not kept:
        return {"mean": None, "sd": None, "se_runs": None, "se_pairs": None, "per_run": []}
    means = [statistics.fmean(values) for values in kept]
    sd = statistics.stdev(means) if len(means) > 1 else None
    within = [statistics.variance(values) / len(values) for values in kept]
    return {
        "mean": statistics.fmean(means),
        "sd": sd,
        "se_runs": None if sd is None else sd / len(means) ** 0.5,
        "se_pairs": sum(within) ** 0.5 / len(means),
        "per_run": means,
    }


def compare(runs: list[dict[str, dict[str, dict[str, Values]]]]) -> dict[str, dict[str, Any]]:
    """Every measure's mean in each of the four cells, and the paired differences with their verdicts.

    Args:
        runs: Per run the :func:`measures` of ``joint`` and ``twin``.
    """
    table: dict[str, dict[str, Any]] = {}
    for measure in runs[0]["joint"]:
        cells = {
            f"{kind} {system}": summarise([run[kind][measure][system] for run in runs])
            for kind in ("joint", "twin")
            for system in SYSTEMS
        }
        differences = {
            name: _verdict(summarise([_paired(run, measure, *sides) for run in runs]))
            for name, sides in COMPARISONS.items()
        }
        table[measure] = {"cells": cells, "differences": differences}
    return table


def _paired(
    run: dict[str, dict[str, dict[str, Values]]],
    measure: str,
    first: tuple[str, str],
    second: tuple[str, str],
) -> Values:
    pairs = zip(run[first[0]][measure][first[1]], run[second[0]][measure][second[1]], strict=True)
    return [None if a is None or b is None else a - b for a, b in pairs]


def _verdict(found: dict[str, Any]) -> dict[str, Any]:
    """Whether the difference is beyond two standard errors, of which the larger counts."""
    if found["mean"] is None:
        return {**found, "verdict": "not measured"}
    error = max(found["se_pairs"], found["se_runs"] or 0.0)
    if abs(found["mean"]) <= 2 * error:
        return {**found, "verdict": "no difference beyond two standard errors"}
    return {**found, "verdict": "higher" if found["mean"] > 0 else "lower"}


def _text(found: dict[str, Any]) -> str:
    if found["mean"] is None:
        return "–"
    return f"{found['mean']:.3f} ± {max(found['se_pairs'], found['se_runs'] or 0.0):.3f}"


def auddc_table(table: dict[str, dict[str, Any]]) -> str:
    """The area under every curve in Markdown; the larger of both standard errors."""
    head = "| AUDDC, mean ± standard error | joint | joint + defence | twin | twin + defence | {} |"
    lines = [head.format(" | ".join(SHOWN)), "| --- " * (5 + len(SHOWN)) + "|"]
    for measure, row in table.items():
        if measure.startswith("auddc"):
            cells = [
                _text(row["cells"][f"{kind} {system}"]) for kind in ("joint", "twin") for system in SYSTEMS
            ]
            gains = [row["differences"][name] for name in SHOWN]
            cells += [f"{_text(gain)}: {gain['verdict']}" for gain in gains]
            lines.append(f"| {measure.removeprefix('auddc ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Attack, compare, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--seed", type=int, default=0, help="of the attacked images and all noise")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], help="evaluation.attack.KEY=VALUE"
    )
    arguments = parser.parse_args()
    records = []
    for directory in arguments.runs:
        run = Run(directory)
        twin = run.twin
        if twin is None:
            raise RunDirectoryError(f"{directory} has no twin; train it with hebm train … --twin.")
        pair = {"joint": run, "twin": twin}
        records.append({k: attacked(r, arguments.seed, arguments.settings) for k, r in pair.items()})
    data = {Run(directory).config().data.name for directory in arguments.runs}
    if len(data) > 1:
        raise RunDirectoryError(
            f"runs on one data set are expected, but these are on {', '.join(sorted(data))}."
        )
    table = compare([{k: measures(r["results"]) for k, r in record.items()} for record in records])
    record = {
        "benchmark": "robustness",
        "data": data.pop(),
        "runs": [str(directory) for directory in arguments.runs],
        "seed": arguments.seed,
        "settings": arguments.settings,
        "hebm_version": hebm.__version__,
        "hardware": hardware_name(),
        "duration_s": [{k: r["duration_s"] for k, r in record.items()} for record in records],
        "table": table,
        "curves": [{k: _curves(r["results"]) for k, r in record.items()} for record in records],
    }
    path = Path("benchmarks/results") / f"attack-{record['data']}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(auddc_table(table))


def _curves(results: dict[str, Any]) -> dict[str, Any]:
    return {
        level: {system: row["latent"][system]["curve"] for system in SYSTEMS}
        for level, row in results["per_level"].items()
    }


if __name__ == "__main__":
    main()
