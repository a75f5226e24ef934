"""``hebm reproduce``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hebm.cli.options import DeviceOption
from hebm.cli.output import device_named, say
from hebm.errors import ConfigError
from hebm.reproduce import (
    Plan,
    cell_state,
    cell_works,
    earlier_records,
    load_spec,
    make_plan,
    record_place,
    reproduce,
    spec_names,
)

__all__ = ["reproduce_names"]

EVERYTHING = "all"


def reproduce_names(
    names: Annotated[list[str], typer.Argument(help="Names of tables, figures and ablations, or all.")],
    size: Annotated[str, typer.Option(help="smoke, small or full.")] = "small",
    seeds: Annotated[int | None, typer.Option(min=1, help="Number of seeds; each size has its own.")] = None,
    out: Annotated[Path, typer.Option(help="Where reproductions are kept.")] = Path("runs/reproduce"),
    engine: Annotated[str, typer.Option(help="sequential, local:N (N processes) or ray.")] = "sequential",
    device: DeviceOption = "auto",
    run: Annotated[list[str] | None, typer.Option(help="Only this run; may be repeated.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Only this column; may be repeated.")] = None,
    earlier: Annotated[
        Path | None,
        typer.Option(
            help="A result file of this name and size; cells of it that are not here are taken over."
        ),
    ] = None,
    collect: Annotated[
        bool, typer.Option("--collect", help="Run nothing, tabulate what is finished, say what failed.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells, what is left of them, and stop.")
    ] = False,
) -> None:
    """Run a table or figure of the paper from training to verdict; the same command goes on where it was stopped."""
    wanted = spec_names() if EVERYTHING in names else list(dict.fromkeys(names))
    device_named(device)
    if earlier is not None and len(wanted) > 1:
        raise ConfigError(f"{earlier} is the result file of one name; give that name alone.")
    plans = [
        make_plan(load_spec(name), size, n_seeds=seeds, runs=run or (), columns=column or ())
        for name in wanted
    ]
    if dry_run:
        for plan in plans:
            _list_cells(plan, out, earlier)
        return
    for name in wanted:
        say(f"{name}, size {size}")
        outcome = reproduce(
            name,
            size=size,
            n_seeds=seeds,
            folder=out,
            engine=engine,
            device=device,
            runs=run or (),
            columns=column or (),
            earlier=earlier,
            collect=collect,
            watch=_tell,
        )
        say(outcome.text)
        say(str(outcome.folder / "report.html"))


def _list_cells(plan: Plan, out: Path, earlier: Path | None) -> None:
    say(f"{plan.spec.name}: {plan.spec.title}; {plan.spec.sized(plan.size).cost}")
    for note in plan.notes:
        say(f"  {note}")
    taken = [] if earlier is None else earlier_records(earlier, plan)
    there = {record_place(record) for record in taken if "failed" not in record}
    for work in cell_works(plan, out):
        cell, state = work.cell, cell_state(work)
        if state != "finished" and cell.place in there:
            state = "in the earlier result file"
        how = f"weights of {cell.parent.key}" if cell.parent else f"{cell.config.data.name}, trained"
        say(f"  {cell.key} ({how}): {state}")


def _tell(record: dict[str, Any], n_done: int, n_cells: int) -> None:
    name = f"{record['column']} · {record['run']} · seed {record['seed']}"
    if "failed" in record:
        say(f"  {n_done}/{n_cells} {name} failed: {record['failed']}")
        return
    say(
        f"  {n_done}/{n_cells} {name}: trained {record['training_s']:.0f} s, evaluated {record['evaluation_s']:.0f} s"
    )
