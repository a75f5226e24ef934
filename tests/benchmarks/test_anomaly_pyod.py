"""PyOD's VAE on table 3's split, with a stand-in for PyOD: what it is told, and what becomes of its scores."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import anomaly_pyod

PAGE = "before\n<!-- anomaly pyod -->\n<!-- end -->\nafter\n"


class DarkIsOdd:
    """A detector whose score is known: minus the mean pixel."""

    def __init__(self, **options: Any) -> None:
        made.append(options)

    def fit(self, rows: NDArray[np.float32]) -> None:
        made[-1]["rows"] = rows

    def decision_function(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return -rows.mean(1)


made: list[dict[str, Any]] = []


def measure(*options: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many detectors one call of the command makes."""
    made.clear()
    monkeypatch.setattr(anomaly_pyod, "pyod_vae", DarkIsOdd)
    monkeypatch.setattr(sys, "argv", ["anomaly_pyod", "digits", "--limit", "300", "--out", ".", *options])
    anomaly_pyod.main()
    return len(made)


def test_cells_are_kept_and_the_page_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels in [0, 1], the KL's weight of the preset's likelihood, no cell twice, others with other options."""
    monkeypatch.chdir(tmp_path)
    Path("page.md").write_text(PAGE)
    options = ("--digits", "1", "4", "--page", "page.md")
    assert measure(*options, "--seeds", "0", monkeypatch=monkeypatch) == 2
    assert made[0]["beta"] == pytest.approx(2 * 0.1**2 / 64)
    assert made[0]["capacity"] > 1e6
    assert made[0]["rows"].shape[1] == 64
    assert 0.9 < made[0]["rows"].max() <= 1
    assert measure(*options, "--seeds", "0", "1", monkeypatch=monkeypatch) == 2
    record = json.loads(Path("anomaly_pyod-digits.json").read_text())
    cells = record["cells"]
    assert [(cell["digit"], cell["seed"]) for cell in cells] == [(1, 0), (4, 0), (1, 1), (4, 1)]
    page = Path("page.md").read_text()
    mean = sum(cell["auprc_trapezoid"] for cell in cells if cell["digit"] == 4) / 2
    assert f"{mean:.3f} ±" in page
    assert "Seeds a digit: 2." in page
    assert page.startswith("before\n")
    assert measure(*options, "--seeds", "0", "--epochs", "3", monkeypatch=monkeypatch) == 2


def test_without_pyod_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional."""
    from hebm.errors import MissingDependencyError

    monkeypatch.setitem(sys.modules, "pyod.models.vae", None)
    with pytest.raises(MissingDependencyError, match="hebm\\[bench\\]"):
        anomaly_pyod.pyod_vae()
