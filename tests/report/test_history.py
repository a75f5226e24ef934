"""Metrics files: what was kept, what a rollback undid, and how long it took."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_directories import ROLLED_BACK, log_record, make_run, write_metrics

from hebm.report.history import History, read_history, series
from hebm.report.run_files import read_run


def _history(folder: Path, records: list[dict[str, Any]], batch_size: int | None = 100) -> History:
    write_metrics(make_run(folder), records)
    return read_history(folder / "metrics.jsonl", batch_size=batch_size)


def test_a_rollback_takes_its_stretch_off_the_path(tmp_path: Path) -> None:
    history = _history(tmp_path, ROLLED_BACK)
    assert [record["step"] for record in history.records] == [50, 100, 150, 200]
    assert history.records[2]["loss"] == 1.5
    assert [[record["step"] for record in stretch] for stretch in history.abandoned] == [[100, 150]]
    assert [event["event"] for event in history.events] == ["diverged", "rollback"]


def test_the_duration_counts_abandoned_steps_too(tmp_path: Path) -> None:
    """Five intervals of 50 steps, 100 images each, at 1000 images per second: 25 s."""
    assert _history(tmp_path, ROLLED_BACK).duration_s == pytest.approx(25.0)


def test_the_duration_has_the_fit_of_the_prior_and_the_batches_of_its_phase(tmp_path: Path) -> None:
    """50 steps each of 100 images and of 500 latents, at 1000 a second, and 7 s of fitting: 5 + 7 + 25 s."""
    fitted = {"event": "prior_fitted", "step": 50, "duration_s": 7.0}
    records = [log_record(50), fitted, log_record(100, phase="energy")]
    write_metrics(make_run(tmp_path), records)
    history = read_history(tmp_path / "metrics.jsonl", batch_size=100, energy_only_batch_size=500)
    assert history.duration_s == pytest.approx(37.0)
    assert _history(tmp_path, records).duration_s == pytest.approx(17.0)


def test_a_run_is_timed_by_the_batches_of_its_configuration(tmp_path: Path) -> None:
    """Also those of the energy alone."""
    write_metrics(make_run(tmp_path), [log_record(50), log_record(100, phase="energy")])
    file = tmp_path / "config.yaml"
    file.write_text(
        file.read_text().replace("{batch_size: 100}", "{batch_size: 100, energy_only_batch_size: 500}")
    )
    assert read_run(tmp_path).history.duration_s == pytest.approx(30.0)


def test_without_a_batch_size_or_a_rate_the_duration_is_not_known(tmp_path: Path) -> None:
    assert _history(tmp_path, ROLLED_BACK, batch_size=None).duration_s is None
    assert _history(tmp_path, [log_record(50, images_per_s="nan")]).duration_s is None


def test_lines_cut_off_by_a_kill_are_counted(tmp_path: Path) -> None:
    write_metrics(make_run(tmp_path), [log_record(50)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('[]\n{"loss": 1}\n{"step": 1')
    history = read_history(tmp_path / "metrics.jsonl", batch_size=100)
    assert (len(history.records), history.n_unreadable) == (1, 3)


def test_series_have_a_gap_where_a_value_is_missing_or_not_finite() -> None:
    records = [{"a": 1}, {"a": "nan"}, {"a": "-inf"}, {}, {"a": [4.0]}, {"a": "2.5"}]
    np.testing.assert_array_equal(series(records, "a"), [1, np.nan, np.nan, np.nan, np.nan, 2.5])
    np.testing.assert_array_equal(series([{"a": [3, 4]}, {"a": [3]}], "a", 1), [4, np.nan])
