"""A reproduction from its name to tables, plots, JSON and one HTML page; finished cells are kept and not run again."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hebm.errors import RunDirectoryError
from hebm.files import write_atomically
from hebm.reproduce.cells import CellWork, Record, ended_record, record_place
from hebm.reproduce.document import Section, to_html, to_markdown
from hebm.reproduce.earlier import earlier_records
from hebm.reproduce.engines import make_engine
from hebm.reproduce.pictures import picture_sections
from hebm.reproduce.plan import Plan, make_plan
from hebm.reproduce.plots import measure_svg
from hebm.reproduce.sections import outcome_sections
from hebm.reproduce.spec import load_spec
from hebm.reproduce.tables import Table, as_json, make_tables
from hebm.reproduce.verdict import Finding, findings
from hebm.training.environment import package_version

__all__ = ["Outcome", "Watch", "cell_works", "reproduce"]

Watch = Callable[[Record, int, int], None]
"""Called with the record of a cell that ended, the number of ended cells and that of all."""


@dataclass(frozen=True)
class Outcome:
    """What a reproduction found and where it is written.

    Args:
        folder: ``result.json``, ``table.md``, ``report.html``, ``plots/`` and ``cells/``.
        plan: What was done.
        records: One per cell that ended.
        tables: One per measure.
        findings: What the numbers decide, the unflattering ones first.
        sections: Everything in words, tables and plots.
    """

    folder: Path
    plan: Plan
    records: tuple[Record, ...]
    tables: tuple[Table, ...]
    findings: tuple[Finding, ...]
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        """Everything in Markdown."""
        return to_markdown(self.sections)


def reproduce(
    name: str,
    *,
    size: str = "small",
    n_seeds: int | None = None,
    folder: str | Path = "runs/reproduce",
    engine: str = "sequential",
    device: str = "auto",
    runs: Collection[str] = (),
    columns: Collection[str] = (),
    earlier: str | Path | None = None,
    collect: bool = False,
    watch: Watch | None = None,
) -> Outcome:
    """Run a table or figure of the paper, or what is left of it, and write what came out.

    Args:
        name: One of :func:`~hebm.reproduce.spec_names`.
        size: ``smoke``, ``small`` or ``full``.
        n_seeds: Number of seeds; the size's own if None.
        folder: Where all reproductions are kept; this one is in ``NAME-SIZE``, what it trains in ``trained``.
        engine: ``sequential``, ``local:N`` or ``ray``.
        device: ``auto``, ``cpu`` or ``cuda``.
        runs: Only these runs.
        columns: Only these columns.
        earlier: A result file of the same name and size, such as one of ``benchmarks/results``: cells that it has
            numbers of under the same configuration, and that are not finished here, are taken from it and not run.
        collect: Run nothing; tabulate what is finished, and say what failed.
        watch: Told of every cell that ends.

    Raises:
        ConfigError: If anything asked for is not there; nothing is written.
        MissingDataError: If no image set is there; nothing is written.
        RunDirectoryError: If there is nothing finished to collect.
        InterruptedTrainingError: If a signal stopped it; the same call goes on.
    """
    plan = make_plan(load_spec(name), size, n_seeds=n_seeds, runs=runs, columns=columns)
    run_all = make_engine(engine)
    place = _place(plan, folder)
    works = cell_works(plan, folder, device)
    records = _known(works, [] if earlier is None else earlier_records(Path(earlier), plan))
    if not collect:  # what failed is run again
        records = [record for record in records if "failed" not in record]
    if collect and not records:
        raise RunDirectoryError(f"{place} has no finished cell of {name}; run it without collecting first.")
    there = {record_place(record) for record in records}
    open_works = [] if collect else [work for work in works if work.cell.place not in there]
    for wave in _waves(open_works):
        for record in run_all(wave):
            records.append(record)
            if watch is not None:
                watch(record, len(records), len(works))
    return _written(place, plan, works, _in_order(records, plan))


def cell_works(plan: Plan, folder: str | Path, device: str = "auto") -> list[CellWork]:
    """All cells of a plan and where they are done; nothing is written.

    Args:
        plan: The plan.
        folder: Where all reproductions are kept.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    place = _place(plan, folder)
    return [CellWork(cell, place / "cells", place.parent / "trained", device) for cell in plan.cells]


def _known(works: list[CellWork], earlier: list[Record]) -> list[Record]:
    """One record per cell that ended: what is here before what is taken, and what has numbers before what failed."""
    ended = [record for work in works if (record := ended_record(work)) is not None]
    known: dict[tuple[str, str, int], Record] = {}
    for record in sorted([*ended, *earlier], key=lambda record: "failed" in record):
        known.setdefault(record_place(record), record)
    return list(known.values())


def _place(plan: Plan, folder: str | Path) -> Path:
    return Path(folder).absolute() / f"{plan.spec.name}-{plan.size}"


def _waves(works: list[CellWork]) -> tuple[list[CellWork], list[CellWork]]:
    """One cell per training first, which do not wait for each other; then those that take what these trained."""
    first: dict[Path, CellWork] = {}
    for work in works:
        first.setdefault(work.run.directory, work)
    return list(first.values()), [work for work in works if first[work.run.directory] is not work]


def _in_order(records: list[Record], plan: Plan) -> tuple[Record, ...]:
    """In the order of the plan, whichever ended first."""
    order = {cell.place: number for number, cell in enumerate(plan.cells)}
    return tuple(sorted(records, key=lambda record: order[record_place(record)]))


def _written(place: Path, plan: Plan, works: list[CellWork], records: tuple[Record, ...]) -> Outcome:
    tables = tuple(make_tables(plan, records))
    sections = tuple(outcome_sections(plan, records, tables))
    outcome = Outcome(place, plan, records, tables, tuple(findings(tables, plan.spec)), sections)
    _write(place / "result.json", json.dumps(_as_json(outcome), indent=1, allow_nan=False) + "\n")
    _write(place / "table.md", outcome.text)
    pictures = picture_sections(works, plan, [record for record in records if "earlier" not in record])
    _write(place / "report.html", to_html((*sections, *pictures)))
    for table in tables:
        _write(place / "plots" / f"{table.key}.svg", measure_svg(table, plan.spec))
    return outcome


def _as_json(outcome: Outcome) -> dict[str, Any]:
    plan = outcome.plan
    return {
        "name": plan.spec.name,
        "size": plan.size,
        "n_seeds": plan.n_seeds,
        "columns": list(plan.columns),
        "asked": {"run": list(plan.asked_runs), "column": list(plan.asked_columns)},
        "hebm_version": package_version(),
        "paper": plan.spec.paper,
        "protocol": plan.spec.protocol,
        "notes": list(plan.notes),
        "n_cells_missing": len(plan.cells) - sum("failed" not in record for record in outcome.records),
        "findings": [{"text": f.text, "is_good": f.is_good} for f in outcome.findings],
        "measures": {table.key: as_json(table) for table in outcome.tables},
        "text": outcome.text,
        "cells": list(outcome.records),
    }


def _write(path: Path, text: str) -> None:
    write_atomically(path, text.encode("utf-8"))
