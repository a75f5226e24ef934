"""Result files of earlier reproductions: their cells are tabulated and not run again; others' are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toy import found, toy_spec
from typer.testing import CliRunner

from hebm.cli import app
from hebm.errors import ConfigError
from hebm.reproduce import Outcome, cell_works, load_spec, reproduce, runner
from hebm.reproduce.cells import CellWork
from hebm.reproduce.engines import make_engine
from hebm.reproduce.plan import make_plan

Reproduce = Callable[..., Outcome]


@pytest.fixture
def run_toy(monkeypatch: pytest.MonkeyPatch) -> Reproduce:
    """Reproduces the toy with two seeds in a folder."""

    def run(folder: Path, **options: Any) -> Outcome:
        monkeypatch.setattr(runner, "load_spec", lambda name: toy_spec())
        return reproduce(
            "toy", **{"size": "smoke", "n_seeds": 2, "folder": folder, "device": "cpu", **options}
        )

    return run


def result_file(folder: Path, **changes: Any) -> Path:
    """The result file of a folder, without the cells' own results, as in ``benchmarks/results``."""
    file = json.loads((folder / "toy-smoke" / "result.json").read_text())
    file["cells"] = [{k: v for k, v in cell.items() if k != "results"} for cell in file["cells"]]
    path = folder / "copy.json"
    path.write_text(json.dumps(file | changes))
    return path


@pytest.mark.slow
def test_cells_of_an_earlier_file_are_tabulated_and_not_run(
    run_toy: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 0 from the file and seed 1 run here make the tables that running both makes; the page says so."""
    whole = run_toy(tmp_path / "whole")
    run_toy(tmp_path / "first", n_seeds=1)
    done: list[tuple[str, int]] = []

    def watched(name: str) -> Any:
        run_all = make_engine(name)

        def engine(works: list[CellWork]) -> Any:
            done.extend((work.cell.run, work.cell.seed) for work in works)
            return run_all(works)

        return engine

    pictured: list[Any] = []
    monkeypatch.setattr(runner, "make_engine", watched)
    monkeypatch.setattr(
        runner, "picture_sections", lambda works, plan, records: pictured.extend(records) or []
    )
    path = result_file(tmp_path / "first")
    rest = run_toy(tmp_path / "rest", earlier=path)
    assert sorted(done) == [("gaussian", 1), ("joint", 1), ("other", 1)]
    assert rest.tables == whole.tables
    assert "3 of 6 cells are taken from an earlier result file." in rest.text
    assert "earlier" not in whole.text
    assert [bool(record.get("earlier")) for record in rest.records] == [True, True, False, False, True, False]
    assert [record["seed"] for record in pictured] == [1, 1, 1]  # an earlier file has too little for pictures
    collected = run_toy(tmp_path / "elsewhere", earlier=result_file(tmp_path / "whole"), collect=True)
    assert collected.tables == whole.tables


@pytest.mark.slow
def test_what_is_finished_here_comes_before_an_earlier_file(run_toy: Reproduce, tmp_path: Path) -> None:
    """And a cell that failed earlier is run, or told of where nothing is run."""
    here = run_toy(tmp_path, n_seeds=1)
    assert run_toy(tmp_path, n_seeds=1, earlier=result_file(tmp_path)).records == here.records
    failed = [{k: v for k, v in cell.items() if k != "results"} | {"failed": "?"} for cell in here.records]
    again = run_toy(tmp_path / "again", n_seeds=1, earlier=result_file(tmp_path, cells=failed))
    assert found(again.records) == found(here.records)
    one = [here.records[0], *failed[1:]]
    told = run_toy(tmp_path / "told", n_seeds=1, earlier=result_file(tmp_path, cells=one), collect=True)
    assert [record.get("failed") for record in told.records] == [None, "?", "?"]
    assert ["results" in record for record in told.records] == [True, False, False]
    place = cell_works(make_plan(toy_spec(), "smoke", n_seeds=1), tmp_path / "told", "cpu")[0].place
    place.mkdir(parents=True, exist_ok=True)
    (place / "cell.json").write_text(json.dumps({**here.records[0], "failed": "here"}))
    numbers = run_toy(tmp_path / "told", n_seeds=1, earlier=result_file(tmp_path, cells=one), collect=True)
    assert [record.get("failed") for record in numbers.records] == [None, "?", "?"]


@pytest.mark.slow
def test_a_cell_of_another_configuration_is_not_taken(
    run_toy: Reproduce, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is run, and a warning names it."""
    here = run_toy(tmp_path, n_seeds=1)
    path = result_file(tmp_path)
    file = json.loads(path.read_text())
    file["cells"][1]["config_hash"] = "0" * 64
    path.write_text(json.dumps(file))
    again = run_toy(tmp_path / "again", n_seeds=1, earlier=path)
    assert [bool(record.get("earlier")) for record in again.records] == [True, False, True]
    assert again.tables == here.tables
    run, column = here.records[1]["run"], here.records[1]["column"]
    assert f"left out; the first is {run}, {column}, seed 0." in caplog.text
    assert "1 of 3 cells have another configuration than toy has now" in caplog.text


def test_files_of_other_tables_are_refused(run_toy: Reproduce, tmp_path: Path) -> None:
    """Another name, size or protocol, or no result file at all; nothing is written."""
    good = {"name": "toy", "size": "smoke", "protocol": "none", "measures": {}, "cells": []}
    path = tmp_path / "result.json"
    for key in ("name", "size", "protocol"):
        path.write_text(json.dumps(good | {key: "another"}))
        with pytest.raises(ConfigError, match=f"has another {key} than toy at size smoke"):
            run_toy(tmp_path / "out", earlier=path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="is not the result file of a reproduction"):
        run_toy(tmp_path / "out", earlier=path)
    with pytest.raises(ConfigError, match="cannot be read as a result file"):
        run_toy(tmp_path / "out", earlier=tmp_path / "nothing.json")
    assert not (tmp_path / "out").exists()


def test_the_command_shows_what_an_earlier_file_has(tmp_path: Path) -> None:
    """In the list of cells; several names at once are refused."""
    spec = load_spec("table3-anomaly")
    plan = make_plan(spec, "smoke", columns=["4"])
    hashes = {cell.run: cell.config.hash() for cell in plan.cells}
    cells = [
        {"run": run, "column": "4", "seed": 0, "config_hash": hashes[run]} for run in ("joint", "gaussian")
    ]
    cells[1]["failed"] = "?"
    good = {
        "name": "table3-anomaly",
        "size": "smoke",
        "protocol": spec.protocol,
        "measures": {},
        "cells": cells,
    }
    path = tmp_path / "result.json"
    path.write_text(json.dumps(good))
    call = ["reproduce", "table3-anomaly", "--size", "smoke", "--earlier", str(path), "--dry-run"]
    result = CliRunner().invoke(app, [*call, "--run", "gaussian", "--column", "4"])
    assert result.exit_code == 0, result.output
    states = [line.rpartition(": ")[2] for line in result.output.splitlines()[1:]]
    assert states == ["in the earlier result file", "to be done"]
    with pytest.raises(ConfigError, match="give that name alone"):
        raise CliRunner().invoke(app, [*call, "ood"]).exception  # type: ignore[misc]
