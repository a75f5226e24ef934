"""The benchmark of the prior gap: a run and its twin over seeds, to one file."""

import json
import sys
from pathlib import Path

import pytest
import torch
from benchmarks.prior_gap import main
from tests.training.tiny import tiny_config

import hebm

TWO_PHASE = (
    "prior.kind=importance",
    "prior.base=mixture",
    "prior.n_components=[2]",
    "trainer.energy_only_steps=4",
)
CHEAP = ("trainer.max_steps=3", "evaluation.n_samples=40", "evaluation.extractor=random_conv")


def test_both_are_trained_once_and_the_minutes_count_the_nets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The twin lends its nets; the file has every seed; a second call repeats nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "tiny.yaml").write_text(
        tiny_config(*TWO_PHASE, *CHEAP, "trainer.log_every_steps=1").to_yaml()
    )
    monkeypatch.setattr(sys, "argv", ["prior_gap", "tiny.yaml", "--seeds", "0"])
    main()
    run = hebm.Run(tmp_path / "runs" / "prior_gap" / "tiny-seed0")
    assert run.twin is not None
    nets = [r.model().generator.state_dict() for r in (run, run.twin)]
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])
    assert "nets_taken" in [record.get("event") for record in run.metrics()]
    found = json.loads((tmp_path / "benchmarks" / "results" / "prior_gap-tiny.json").read_text())
    model, twin = found["runs"]["model"][0], found["runs"]["gaussian"][0]
    assert model["training_minutes"] > twin["training_minutes"] > 0
    assert found["gap_ratio"]["values"] == [twin["prior_gap"] / model["prior_gap"]]
    assert f"{twin['prior_gap'] / model['prior_gap']:.1f}" in capsys.readouterr().out
    before = run.checkpoint().stat().st_mtime_ns
    main()
    assert run.checkpoint().stat().st_mtime_ns == before
