"""Cells of an earlier result file, so that a table goes on where the runs behind its numbers are gone.

A result file keeps of every cell what its tables show. The rest of the cell's results, its run and its pictures are
not in it, so such a cell is tabulated, and nothing else.
"""

import json
import logging
from pathlib import Path
from typing import Any

from hebm.errors import ConfigError
from hebm.reproduce.cells import Record, record_place
from hebm.reproduce.plan import Plan

__all__ = ["earlier_records"]

_LOGGER = logging.getLogger("hebm")


def earlier_records(path: Path, plan: Plan) -> list[Record]:
    """Records, marked as ``earlier``, of those cells of a plan that a result file has; failed ones say why.

    Those of another configuration than the plan's are left out, with a warning.

    Args:
        path: ``result.json`` of a reproduction, or its copy.
        plan: What is reproduced.

    Raises:
        ConfigError: If the file is none, or one of another name, size or protocol.
    """
    file = _read(path)
    spec = plan.spec
    expected = {"name": spec.name, "size": plan.size, "protocol": spec.protocol}
    for key, value in expected.items():
        if file[key] != value:
            raise ConfigError(
                f"{path} has another {key} than {spec.name} at size {plan.size}: its numbers do not belong in this "
                "table."
            )
    planned = {cell.place: cell.config for cell in plan.cells}
    there = [cell for cell in file["cells"] if record_place(cell) in planned]
    same = [cell for cell in there if cell.get("config_hash") in planned[record_place(cell)].hashes()]
    if n_others := len(there) - len(same):
        first = next(cell for cell in there if cell not in same)
        _LOGGER.warning(
            f"{path}: {n_others} of {len(there)} cells have another configuration than {spec.name} has now and are "
            f"left out; the first is {first['run']}, {first['column']}, seed {first['seed']}."
        )
    return [{**cell, "earlier": True} | _found(file, plan, cell) for cell in same]


def _read(path: Path) -> dict[str, Any]:
    try:
        file = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a result file: {error}.") from None
    if not isinstance(file, dict) or not {"name", "size", "protocol", "measures", "cells"} <= file.keys():
        raise ConfigError(f"{path} is not the result file of a reproduction.")
    return file


def _found(file: dict[str, Any], plan: Plan, cell: Record) -> Record:
    return {} if "failed" in cell else {"results": _results(file, plan, cell)}


def _results(file: dict[str, Any], plan: Plan, cell: Record) -> dict[str, Any]:
    """The numbers of one cell at the places where a table looks for them."""
    rows = {row.key: row for row in plan.spec.all_rows}
    results: dict[str, Any] = {}
    for key, table in file["measures"].items():
        for line in table["rows"]:
            row, measure = rows.get(line["row"]), plan.spec.measures.get(key)
            if row is None or measure is None or row.run != cell["run"]:
                continue
            values = line["columns"].get(cell["column"], {"values": {}})["values"]
            if (value := values.get(str(cell["seed"]))) is not None:
                _put(results, measure.path.format_map(row.fields).split("."), value)
    return results


def _put(results: dict[str, Any], path: list[str], value: float) -> None:
    *folders, name = path
    for folder in folders:
        results = results.setdefault(folder, {})
    results[name] = value
