"""The stability benchmark keeps what it measured before."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import prior_stability


def test_learners_that_are_not_asked_for_keep_their_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second call measures its own learners anew, and counts what was rolled back or gave up."""
    monkeypatch.chdir(tmp_path)
    Path("benchmarks/results").mkdir(parents=True)
    config = SimpleNamespace(data=SimpleNamespace(split="train", name="toy"))
    run = SimpleNamespace(model=lambda: SimpleNamespace(device="cpu"), config=lambda: config)
    for name in ("Run", "build_images", "ResidentImages", "infer_posteriors"):
        monkeypatch.setattr(prior_stability, name, lambda *args: run)

    def measure(learners: list[str], result: dict[str, Any]) -> dict[str, Any]:
        monkeypatch.setattr(prior_stability, "one_run", lambda r, z, name, seed: {"seed": seed, **result})
        monkeypatch.setattr(sys, "argv", ["x", "runs/toy", "--seeds", "2", "--learners", *learners])
        prior_stability.main()
        found: dict[str, Any] = json.loads(Path("benchmarks/results/prior_stability.json").read_text())
        return found

    fine = {"n_rollbacks": 0, "gave_up": False}
    measure(["flow", "nce"], fine)
    record = measure(["nce"], fine | {"n_rollbacks": 3})
    assert record["learners"]["flow"] == [{"seed": 0, **fine}, {"seed": 1, **fine}]
    assert [each["n_rollbacks"] for each in record["learners"]["nce"]] == [3, 3]
    assert "nce: 2 of 2 runs were rolled back or gave up" in capsys.readouterr().out
