"""One cell of a reproduction: train, evaluate, keep; what is finished is read, what was broken off goes on."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from hebm.build import build_model
from hebm.errors import HebmError, RequestError
from hebm.evaluation import write_suite
from hebm.files import write_atomically
from hebm.models import JointModel
from hebm.reproduce.cost import training_cost
from hebm.reproduce.plan import Cell
from hebm.training import InterruptedTrainingError, Run, train
from hebm.training.checkpoint import load_weights, read_tensors
from hebm.training.environment import hardware_name

__all__ = ["CellWork", "Record", "cell_state", "finished_record", "record_place", "run_cell"]

Record = dict[str, Any]
HASH_DIGITS = 12


@dataclass(frozen=True)
class CellWork:
    """A cell and where it is done; goes to another process as it is.

    Args:
        cell: The cell.
        folder: Folder of the records of all cells.
        trained: Folder of what is trained, which other reproductions share: a run is named by what its training
            depends on, so that what one table has trained the next one only evaluates.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    cell: Cell
    folder: Path
    trained: Path
    device: str = "auto"

    @property
    def place(self) -> Path:
        """The cell's own folder."""
        return self.folder / self.cell.key

    @property
    def run(self) -> Run:
        """The run whose weights are evaluated."""
        cell = self.cell.parent or self.cell
        return Run(self.trained / cell.config.training_hash()[:HASH_DIGITS])

    @property
    def results(self) -> Path:
        """Where its suites leave their files; cells of other reproductions that evaluate the same share them."""
        return self.run.directory / "results" / self.cell.config.hash()[:HASH_DIGITS]


def finished_record(work: CellWork) -> Record | None:
    """What a finished cell found, or None; a cell that failed is not finished."""
    record = ended_record(work)
    return None if record is None or "failed" in record else record


def ended_record(work: CellWork) -> Record | None:
    """What a cell found or why it failed, or None if neither is known."""
    file = work.place / "cell.json"
    if not file.is_file():
        return None
    record: Record = json.loads(file.read_text(encoding="utf-8"))
    ended = "failed" in record or set(work.cell.suites) <= record["results"].keys()
    return record if ended else None


def cell_state(work: CellWork) -> str:
    """What is left to do: ``finished``, ``run begun or trained already`` (by any reproduction), or ``to be done``."""
    if finished_record(work) is not None:
        return "finished"
    return "run begun or trained already" if work.run.exists() else "to be done"


def record_place(record: Record) -> tuple[str, str, int]:
    """Where a record stands in the tables: run, column and seed, as ``Cell.place``."""
    return record["run"], record["column"], record["seed"]


def run_cell(work: CellWork) -> Record:
    """Train and evaluate one cell, or read what an earlier call found.

    Returns:
        ``run``, ``column``, ``seed``, ``config_hash``, ``trained`` (the run's folder among those of all
        reproductions), ``hardware``, ``training_s`` (of this call; next to nothing where another reproduction has
        trained the same), ``evaluation_s`` and ``results`` by suite, with what the run took in all under ``cost``; in
        place of the last three ``failed``, a message, if it failed while running.

    Raises:
        RequestError: If the cell cannot be run at all.
        InterruptedTrainingError: If a signal stopped it; the next call goes on.
    """
    if (record := finished_record(work)) is not None:
        return record
    cell, started = work.cell, time.perf_counter()
    record = {
        "run": cell.run,
        "column": cell.column,
        "seed": cell.seed,
        "config_hash": cell.config.hash(),
        "trained": work.run.directory.name,
        "hardware": hardware_name(_device(work.device)),
    }
    try:
        _train(work)
        trained = time.perf_counter()
        results = _evaluated(work)
        record |= {
            "training_s": trained - started,
            "evaluation_s": time.perf_counter() - trained,
            "results": {**results, "cost": training_cost(work.run)},
        }
    except RequestError:
        raise
    except InterruptedTrainingError as error:
        raise InterruptedTrainingError(
            f"stopped by a signal in {cell.key}; the same command goes on there."
        ) from error
    except HebmError as error:
        record["failed"] = str(error)
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    write_atomically(work.place / "cell.json", text.encode())
    return record


def _train(work: CellWork) -> None:
    """Train what the cell needs, go on, or find it done; who comes second waits for who came first.

    A cell that takes weights comes this way, too: those of a run that broke off are nobody's result.
    """
    config = (work.cell.parent or work.cell).config
    work.trained.mkdir(parents=True, exist_ok=True)
    with FileLock(work.run.directory.with_suffix(".lock")):
        train(config, work.run.directory, resume=True, device=work.device, progress=_silent)


def _evaluated(work: CellWork) -> dict[str, Any]:
    """Results of all suites; those that were finished before are read."""
    cell, model, results = work.cell, None, {}
    for suite in cell.suites:
        file = work.results / f"{suite}.json"
        if not file.is_file():
            model = model or _model(work).to(_device(work.device))
            write_suite(work.results, suite, model, cell.config, work.run.checkpoint(), seed=cell.seed)
        results[suite] = json.loads(file.read_text(encoding="utf-8"))["results"]
    return results


def _model(work: CellWork) -> JointModel:
    """The run's averaged weights in the model of this cell's configuration; a parent's energy may be left out."""
    model = build_model(work.cell.config)
    path, needed = work.run.checkpoint(), model.state_dict().keys()
    weights = read_tensors(path, "ema")
    load_weights(model, {name: weight for name, weight in weights.items() if name in needed}, path)
    return model.eval().requires_grad_(False)


def _device(name: str) -> torch.device:
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _silent(record: dict[str, Any]) -> None:
    """Progress is told cell by cell."""
