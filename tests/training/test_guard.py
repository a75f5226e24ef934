"""Divergence rolls back, lowers the energy's rate, says so, and ends after a few tries."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.tiny import tiny_config

from hebm.config import GuardConfig
from hebm.errors import DivergenceError
from hebm.training import train
from hebm.training.checkpoint import read_meta
from hebm.training.guard import check_divergence, energy_lr_factor
from hebm.training.step import TrainingStep


def fault(monkeypatch: pytest.MonkeyPatch, *, at_step: int, times: int, spoil: str) -> list[int]:
    """Spoil an update at a step: the weights of a net become NaN, or the energy's explode; `times` times."""
    healthy = TrainingStep.__call__
    hits: list[int] = []

    def faulty(self: TrainingStep, x: torch.Tensor, **options: Any) -> dict[str, torch.Tensor]:
        if self.state.step == at_step and len(hits) < times:
            hits.append(at_step)
            net = self.state.model.generator if spoil == "generator" else self.state.model.prior.energy
            assert net is not None
            with torch.no_grad():
                for parameter in net.parameters():
                    if spoil == "explode":
                        parameter.mul_(1e3)
                    else:
                        parameter.fill_(math.nan)
        return healthy(self, x, **options)

    monkeypatch.setattr(TrainingStep, "__call__", faulty)
    return hits


@pytest.mark.parametrize("spoil", ["generator", "energy", "explode"])
def test_a_fault_is_rolled_back_and_training_ends_well(
    spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fault: back to the last checkpoint, half the energy's learning rate, finite weights at the end."""
    hits = fault(monkeypatch, at_step=17, times=1, spoil=spoil)
    events: list[dict[str, object]] = []
    run = train(tiny_config(), tmp_path / "run", progress=events.append)
    assert hits == [17]
    rollback = next(r for r in run.metrics() if r.get("event") == "rollback")
    assert rollback in events
    assert rollback["step"] == 10
    assert rollback["energy_lr"] == pytest.approx(0.5e-4)
    assert read_meta(run.checkpoint())["rollbacks"] == 1
    assert all(torch.isfinite(p).all() for p in run.model().parameters())
    assert run.metrics()[-1]["step"] == 30
    assert run.metrics()[-1]["energy_lr"] == pytest.approx(0.5e-4)


def test_a_fault_that_returns_ends_in_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After max_rollbacks tries the run stops, names the quantity and what to change, and keeps a good checkpoint."""
    fault(monkeypatch, at_step=13, times=99, spoil="energy")
    config = tiny_config("trainer.guard.max_rollbacks=2")
    with pytest.raises(DivergenceError, match=r"step 1\d .*2 rollbacks.*trainer\.energy\.lr"):
        train(config, tmp_path / "run")
    from hebm.training import Run

    run = Run(tmp_path / "run")
    assert [r["event"] for r in run.metrics() if "event" in r].count("rollback") == 2
    assert all(torch.isfinite(p).all() for p in run.model().parameters())


def test_a_fault_before_the_first_scheduled_checkpoint_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The initial state is a checkpoint too."""
    fault(monkeypatch, at_step=2, times=1, spoil="generator")
    run = train(tiny_config(), tmp_path / "run")
    assert next(r for r in run.metrics() if r.get("event") == "rollback")["step"] == 0


@pytest.mark.parametrize(
    ("means", "expected"),
    [
        ({"loss": 1.0, "energy_data": 2.0, "energy_prior": -7.9}, None),
        ({"loss": math.nan}, "loss is not finite"),
        ({"rate_per_level": [1.0, math.inf]}, "rate_per_level is not finite"),
        ({"energy_data": 5.1, "energy_prior": -5.0}, "energy gap"),
        ({"energy_data": -5.0, "energy_prior": 5.1}, "energy gap"),
    ],
)
def test_what_counts_as_divergence(means: dict[str, float | list[float]], expected: str | None) -> None:
    """Non-finite numbers, and a gap beyond the bound in either direction."""
    trouble = check_divergence(means, GuardConfig(max_energy_gap=10))
    assert (trouble is None) if expected is None else (expected in str(trouble))


def test_the_rate_falls_geometrically() -> None:
    """factor^rollbacks."""
    assert energy_lr_factor(3, GuardConfig(energy_lr_factor=0.5)) == 0.125


def test_a_rolled_back_run_that_is_stopped_resumes_with_the_lowered_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of rollbacks is part of the checkpoint."""
    fault(monkeypatch, at_step=17, times=1, spoil="energy")
    train(tiny_config("trainer.max_steps=20"), tmp_path / "run")
    run = train(tiny_config("trainer.max_steps=30"), tmp_path / "run", resume=True)
    assert run.metrics()[-1]["energy_lr"] == pytest.approx(0.5e-4)
    assert read_meta(run.checkpoint())["rollbacks"] == 1


def test_a_chain_lost_right_after_a_checkpoint_returns_to_that_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault at the very step of a checkpoint loses no more than that step, also where only one is kept."""
    fault(monkeypatch, at_step=20, times=1, spoil="energy")
    run = train(tiny_config("trainer.keep_checkpoints=1"), tmp_path / "run")
    assert next(r for r in run.metrics() if r.get("event") == "rollback")["step"] == 20
