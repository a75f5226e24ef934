"""``hebm evaluate``."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from hebm.cli.options import DeviceOption, RunArgument, SeedOption
from hebm.cli.output import console, device_named, say
from hebm.evaluation import evaluate, suite_names
from hebm.training import Run

__all__ = ["evaluate_run"]

LONGEST_LIST = 8


def evaluate_run(
    run_dir: RunArgument,
    suite: Annotated[list[str], typer.Option(help="Suite, or all; may be repeated.")],
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="evaluation.key=value, for this time only; repeatable.")
    ] = None,
) -> None:
    """Evaluate a run, and its Gaussian twin where RUN/twin is there; writes RUN/evaluation/SUITE.json."""
    names = suite_names(suite)
    run = Run(run_dir)
    runs = [run for run in (run, run.twin) if run is not None]
    for each in runs:
        each.checkpoint()
    for name in names:
        files = [
            evaluate(each, name, seed=seed, device=device_named(device), overrides=settings or ())
            for each in runs
        ]
        _print_results(name, [each.config().prior.kind for each in runs], files)
        for file in files:
            say(str(file))


def _print_results(suite: str, headings: list[str], files: list[Path]) -> None:
    columns = [json.loads(file.read_text())["results"] for file in files]
    table = Table(box=None, pad_edge=False)
    for heading in (suite, *headings):
        table.add_column(heading)
    for key, value in columns[0].items():
        if _is_short(value):
            table.add_row(key, *(_text(column.get(key)) for column in columns))
    console().print(table)


def _is_short(value: object) -> bool:
    """A single value, or a few numbers: an interval, one number per level."""
    if isinstance(value, list):
        return len(value) <= LONGEST_LIST and all(isinstance(item, int | float) for item in value)
    return value is not None and not isinstance(value, dict)


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
