"""All speed benchmarks in one command; JSON with hardware and versions, a short table last.

    python -m benchmarks.suite [--only langevin,growth] [--device cpu] [--threads 2] [--out FILE.json]

The file is named after the hardware; what it has of groups that are not asked for is kept. ``python -m
benchmarks.performance_page`` makes docs/performance.md of all of them. With ``--pythae PYTHON`` (an interpreter with
``pythae``) the step of its VAE is timed too.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.evaluation_steps import evaluation_rows
from benchmarks.growth import growth_exponents
from benchmarks.input_pipeline import input_rows
from benchmarks.langevin import langevin_rows
from benchmarks.memory import memory_rows
from benchmarks.performance_page import RESULTS, timed_rows
from benchmarks.timing import Limits, Row, measure_limits
from benchmarks.training_step import training_rows
from hebm.allocator import keep_freed_memory
from hebm.training.environment import describe_environment, hardware_name

__all__ = ["GROUPS", "main", "run_suite"]

GROUPS: dict[str, Callable[..., list[Row]]] = {
    "langevin": langevin_rows,
    "training": training_rows,
    "memory": memory_rows,
    "input": input_rows,
    "evaluation": evaluation_rows,
}


def run_suite(
    names: list[str],
    device: torch.device,
    *,
    kept: dict[str, Any] | None = None,
    quick: bool = False,
    pythae: str | None = None,
) -> dict[str, Any]:
    """Run the named groups (and ``growth``).

    Args:
        names: Which.
        device: Where.
        kept: An earlier result, whose other groups stay.
        quick: Two rounds of each, to see that everything runs; the figures are then worth nothing.
        pythae: Interpreter of an environment that holds ``pythae``.
    """
    started = time.perf_counter()
    limits = measure_limits(device)
    short: dict[str, Any] = {"budget_s": 0.0, "least": 2} if quick else {}
    groups: dict[str, Any] = {} if kept is None else dict(kept["groups"])
    for name, group in GROUPS.items():
        if name in names:
            groups[name] = [row.to_dict() for row in group(limits, device, **short)]
    if "growth" in names:
        groups["growth"] = growth_exponents(device, **short)
    if pythae is not None:
        groups["pythae"] = [_pythae(pythae)]
    return {
        "benchmark": "suite",
        **_conditions(device, quick=quick),
        "load_average": os.getloadavg(),
        "limits": vars(limits),
        "groups": {name: groups[name] for name in (*GROUPS, "growth", "pythae") if name in groups},
        "duration_s": time.perf_counter() - started,
    }


def _conditions(device: torch.device, *, quick: bool) -> dict[str, Any]:
    return {
        "quick": quick,
        "hardware": hardware_name(device),
        "environment": {**describe_environment(device, 1), "torchebm": _version("torchebm")},
        "threads": torch.get_num_threads(),
    }


def other_groups(
    path: Path, names: list[str], device: torch.device, *, quick: bool = False
) -> dict[str, Any] | None:
    """The result in a file if it has groups besides those to be measured; None if it has none, or there is no file.

    Raises:
        SystemExit: If those were measured under other conditions, so that the two would not make one table.
    """
    if not path.is_file():
        return None
    before = json.loads(path.read_text(encoding="utf-8"))
    others = sorted(set(before["groups"]) - set(names))
    differing = [key for key, now in _conditions(device, quick=quick).items() if before[key] != now]
    if others and differing:
        sys.exit(
            f"{path} has {', '.join(others)} measured with another {' and '.join(differing)}; measure all groups "
            "(without --only), or write to another file (--out)."
        )
    return before if others else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _pythae(interpreter: str) -> Any:
    script = Path(__file__).with_name("pythae_step.py")
    done = subprocess.run([interpreter, str(script)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(result: dict[str, Any]) -> str:
    """Medians in ms, the peers' paired ratios, and how far ours is from the floor."""
    lines = [f"{result['hardware']}, {result['threads']} threads; limits {_limits(result['limits'])}"]
    for row in timed_rows(result):
        ours = row["milliseconds"]["hebm"][1]
        peers = ", ".join(f"{name} {ratio[1]:.2f}x" for name, ratio in row["speedup"].items())
        floor = f"; {ours / row['floor_ms']:.1f} of floor ({row['floor_of']})" if row["floor_ms"] else ""
        against = f"; against {peers}" if peers else ""
        lines.append(f"{row['group']:14s} {row['case']}: {ours:.1f} ms{against}{floor}")
    lines += [
        f"growth         {g['what']} {g['sizes']}: exponent {g['exponent']:.2f}"
        for g in result["groups"].get("growth", [])
    ]
    return "\n".join(lines)


def _limits(limits: dict[str, float]) -> str:
    numbers = Limits(**limits)
    return (
        f"{numbers.gflop_per_s:.0f} GFLOP/s float32, {numbers.bf16_gflop_per_s:.0f} bf16, "
        f"{numbers.gbyte_per_s:.0f} GB/s copied"
    )


def file_name(hardware: str) -> str:
    """A file name of a device's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", hardware).strip("-").lower() + ".json"


def main(arguments: list[str] | None = None) -> None:
    """Measure, write JSON, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join([*GROUPS, "growth"]), help="groups, comma-separated")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="two rounds each, to see that it runs")
    parser.add_argument("--pythae", default=None, help="interpreter of an environment that holds pythae")
    chosen = parser.parse_args(arguments)
    names = chosen.only.split(",")
    if unknown := sorted(set(names) - {*GROUPS, "growth"}):
        sys.exit(f"unknown groups {unknown}; choose among {[*GROUPS, 'growth']}.")
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    device = torch.device(chosen.device)
    out = chosen.out or RESULTS / file_name(hardware_name(device))
    kept = other_groups(out, [*names, *(["pythae"] if chosen.pythae else [])], device, quick=chosen.quick)
    result = run_suite(names, device, kept=kept, quick=chosen.quick, pythae=chosen.pythae)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"\n{table(result)}\n\nwritten to {out}")


if __name__ == "__main__":
    main()
