"""What ``metrics.jsonl`` tells: log records in order, events, and the stretches that were rolled back."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["History", "Record", "as_float", "read_history", "series"]

Record = Mapping[str, Any]


@dataclass
class History:
    """A training run as it was logged.

    Args:
        records: Log records of the path that led to the last step, steps rising.
        abandoned: Stretches that a rollback undid, each with the record before it.
        events: Event records in file order.
        duration_s: Time spent training, from the steps and the rate, and fitting the prior; None if not known.
        n_unreadable: Lines that are not JSON objects.
    """

    records: list[Record] = field(default_factory=list)
    abandoned: list[list[Record]] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    duration_s: float | None = None
    n_unreadable: int = 0

    @property
    def energy_only_from(self) -> float | None:
        """Last step logged before the energy began to learn alone; None if it never did."""
        for before, record in zip([{"step": 0}, *self.records], self.records, strict=False):
            if record.get("phase") == "energy":
                return as_float(before["step"])
        return None


def read_history(path: Path, *, batch_size: int | None, energy_only_batch_size: int | None = None) -> History:
    """Read a metrics file; one that does not exist gives an empty history.

    Args:
        path: ``metrics.jsonl``.
        batch_size: Images per step, which turns the rate into time.
        energy_only_batch_size: Latents per step while the energy learns alone; as many as images if None.
    """
    history, step = History(), 0.0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        record = _parsed(line)
        if record is None:
            history.n_unreadable += 1
        elif "event" in record:
            history.events.append(record)
            if history.duration_s is not None and math.isfinite(fitted := as_float(record.get("duration_s"))):
                history.duration_s += fitted
            if record["event"] in ("rollback", "resumed") and "step" in record:
                step = as_float(record["step"])
                _undo(history, step)
        else:
            if as_float(record["step"]) <= step:
                _undo(history, as_float(record["step"]) - 1)
            n_steps = as_float(record["step"]) - step
            alone = record.get("phase") == "energy" and energy_only_batch_size is not None
            size = energy_only_batch_size if alone else batch_size
            history.duration_s = _longer(history.duration_s, n_steps, record, size)
            step = as_float(record["step"])
            history.records.append(record)
    return history


def series(records: Sequence[Record], key: str, index: int | None = None) -> NDArray[np.float64]:
    """One quantity of all records; NaN where it is missing or not finite, so that a line has a gap there.

    Args:
        records: Log records.
        key: Name of the quantity.
        index: Item, where the quantity is a list.
    """
    values = [_item(record.get(key), index) for record in records]
    array = np.array([as_float(value) for value in values], dtype=np.float64)
    array[~np.isfinite(array)] = np.nan
    return array


def as_float(value: object) -> float:
    """A number, also where it was written as text ("nan", "inf"); NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except ValueError:
        return math.nan


def _item(value: object, index: int | None) -> object:
    if index is None:
        return value
    return value[index] if isinstance(value, list) and index < len(value) else None


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:  # cut off when the run was killed
        return None
    if not isinstance(record, dict) or ("event" not in record and math.isnan(as_float(record.get("step")))):
        return None
    return record


def _undo(history: History, step: float) -> None:
    """Move the records after a step from the path to the abandoned stretches."""
    n_kept = sum(as_float(record["step"]) <= step for record in history.records)
    if n_kept < len(history.records):
        history.abandoned.append(history.records[max(0, n_kept - 1) :])
        del history.records[n_kept:]


def _longer(total: float | None, n_steps: float, record: Record, batch_size: int | None) -> float | None:
    rate = as_float(record.get("images_per_s"))
    if batch_size is None or not (rate > 0 and n_steps > 0 and math.isfinite(rate)):
        return total
    return (total or 0.0) + n_steps * batch_size / rate
