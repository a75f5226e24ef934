"""A two-phase run that takes the nets of its Gaussian twin is the run that trains them itself."""

import json
import math
from pathlib import Path

import pytest
import torch
from tests.training.test_prior_phase import (
    LENGTHS,
    TWO_PHASE,
    config_of,
    events,
    gaussian_twin,
    same,
    weights,
    whole,
)
from tests.training.test_resume import final_bits, interrupt_during_step, logged
from tests.training.tiny import tiny_config

from hebm.config import RunConfig
from hebm.errors import CheckpointError, ConfigError, DivergenceError, NonFiniteError, RunDirectoryError
from hebm.learners import MixtureLearner, PosteriorLatents
from hebm.training import InterruptedTrainingError, Run, check_run_directory, train
from hebm.training.checkpoint import read_meta
from hebm.training.step import TrainingStep


def grafted(config: RunConfig, directory: Path, *, resume: bool = False) -> Run:
    """A run on the nets of the twin that goes with it."""
    return train(
        config, directory, resume=resume, nets_of=gaussian_twin(config.trainer.lr_schedule), progress=None
    )


@pytest.mark.parametrize("variant", [*TWO_PHASE, "finetuned"])
def test_a_run_on_its_twins_nets_ends_in_the_same_bits(variant: str, tmp_path: Path) -> None:
    """Weights, averages, optimisers and random streams; no image is shown to the nets again before finetuning."""
    run = grafted(config_of(variant), tmp_path / "run")
    assert final_bits(run.directory) == final_bits(whole(variant).directory)
    assert [r["step"] for r in run.metrics() if r.get("phase") == "joint"] == [3, 6, 8]
    energy = [line for line in logged(run.directory) if "'phase', 'joint'" not in line]
    expected = [line for line in logged(whole(variant).directory) if "'phase', 'joint'" not in line]
    assert energy[1:] == expected[1:]  # the first interval of the whole run holds joint steps, too
    assert all(record.get("images_per_s", 1) > 0 for record in run.metrics())
    taken, *rest = events(run)
    assert taken == {"event": "nets_taken", "step": 8, "of": taken["of"]}
    assert rest == events(whole(variant))


def test_only_the_prior_takes_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The joint steps are not repeated."""

    def refused(*_: object, **__: object) -> None:
        pytest.fail("a joint step was taken")

    monkeypatch.setattr(TrainingStep, "__call__", refused)
    grafted(config_of("importance mixture"), tmp_path / "run")


def test_a_grafted_run_stopped_in_the_middle_ends_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Resuming goes on from its own checkpoint and does not take the nets again."""
    config = config_of("importance mixture")
    with monkeypatch.context() as patch:
        interrupt_during_step(11, patch)
        with pytest.raises(InterruptedTrainingError):
            grafted(config, tmp_path / "run")
    run = grafted(config, tmp_path / "run", resume=True)
    assert final_bits(run.directory) == final_bits(whole("importance mixture").directory)
    assert [e["event"] for e in events(run)].count("nets_taken") == 1


def test_a_fault_rolls_back_to_where_the_grafted_run_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though its first step is no multiple of the checkpoint interval; later checkpoints count from there."""
    healthy, hits = TrainingStep.prior_only, []

    def faulty(self: TrainingStep, posterior: PosteriorLatents) -> dict[str, torch.Tensor]:
        if self.state.step in (10, 15) and len(hits) < 2 and self.state.step not in hits:
            hits.append(self.state.step)
            with torch.no_grad():
                for parameter in self.state.model.prior.parameters():
                    parameter.fill_(math.nan)
        return healthy(self, posterior)

    monkeypatch.setattr(TrainingStep, "prior_only", faulty)
    keys = ("trainer.checkpoint_every_steps=5", "trainer.keep_checkpoints=1")
    twin = train(tiny_config(*LENGTHS, "prior.kind=gaussian", *keys), tmp_path / "twin")
    config = config_of("importance mixture", "trainer.lr_schedule=constant", *keys)
    run = train(config, tmp_path / "run", nets_of=twin)
    assert hits == [10, 15]
    assert [e["step"] for e in events(run) if e["event"] == "rollback"] == [8, 13]
    assert [path.name for path in sorted(run.checkpoints.glob("step-*"))] == [
        "step-00000013",
        "step-00000017",
    ]
    assert read_meta(run.checkpoint())["first_step"] == 8
    assert all(torch.isfinite(p).all() for p in run.model().parameters())


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (("seed=1",), RunDirectoryError, "other values of seed"),
        (("trainer.max_steps=9",), RunDirectoryError, r"other values of trainer\.max_steps"),
        (("objective.kl_warmup_steps=5",), RunDirectoryError, r"objective\.kl_warmup_steps"),
        (("prior.training=joint",), ConfigError, r"prior\.training=two_phase"),
        (("prior.kind=gaussian", "trainer.finetune_steps=0"), ConfigError, "learns with the nets"),
    ],
)
def test_nets_of_another_training_are_refused(
    overrides: tuple[str, ...], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """Before anything is written."""
    with pytest.raises(error, match=message):
        grafted(config_of("joint mixture", *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_is_free_to_differ_is_the_prior_and_its_learning(tmp_path: Path) -> None:
    """One twin serves every prior."""
    keys = ("prior.width=24", "sampler.n_steps=3", "trainer.energy.lr=1e-3", "trainer.energy_only_steps=4")
    run = grafted(config_of("importance mixture", *keys), tmp_path / "run")
    assert same(weights(run, 12, "encoder"), weights(whole("importance mixture"), 17, "encoder"))


def test_a_run_that_is_no_twin_or_not_finished_is_refused(tmp_path: Path) -> None:
    """Another prior's run; a twin that stopped before its last step."""
    config = config_of("importance mixture")
    with pytest.raises(
        RunDirectoryError, match=r"prior importance; take the nets of a run with prior\.kind=gaussian"
    ):
        train(config, tmp_path / "run", nets_of=whole("importance mixture"))
    twin = train(
        tiny_config(*LENGTHS, "prior.kind=gaussian", "trainer.lr_schedule=cosine"), tmp_path / "twin"
    )
    for file in (last := twin.checkpoint()).iterdir():
        file.unlink()
    last.rmdir()
    with pytest.raises(RunDirectoryError, match="no checkpoint of step 8"):
        train(config, tmp_path / "run", nets_of=twin)
    assert not (tmp_path / "run").exists()


def test_damaged_nets_are_refused(tmp_path: Path) -> None:
    """By hash, before anything is written."""
    twin = train(
        tiny_config(*LENGTHS, "prior.kind=gaussian", "trainer.lr_schedule=cosine"), tmp_path / "twin"
    )
    (twin.checkpoint() / "ema.safetensors").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="altered"):
        train(config_of("importance mixture"), tmp_path / "run", nets_of=twin)
    assert not (tmp_path / "run").exists()


def test_nets_whose_log_is_lost_are_taken_and_refused_checkpoints_are_told(tmp_path: Path) -> None:
    """Weights are what counts; a run that begins anew because its own checkpoints are damaged says so in its log."""
    twin = train(
        tiny_config(*LENGTHS, "prior.kind=gaussian", "trainer.lr_schedule=cosine"), tmp_path / "twin"
    )
    twin.metrics_file.unlink()
    config = config_of("importance mixture")
    run = train(config, tmp_path / "run", nets_of=twin)
    for path in run.checkpoints.glob("step-*"):
        (path / "ema.safetensors").write_bytes(b"no weights")
    again = train(config, tmp_path / "run", resume=True, nets_of=twin)
    assert final_bits(again.directory) == final_bits(whole("importance mixture").directory)
    assert {"nets_taken", "checkpoint_refused"} <= {event["event"] for event in events(again)}


def test_a_fit_that_is_not_finite_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to roll back to."""

    def broken(*_: object, **__: object) -> None:
        raise NonFiniteError("the mixture is not finite.")

    monkeypatch.setattr(MixtureLearner, "prepare", broken)
    with pytest.raises(
        DivergenceError, match=r"cannot be fitted to the latents of .*the mixture is not finite"
    ):
        grafted(config_of("mixture", "trainer.lr_schedule=cosine"), tmp_path / "run")


def test_a_directory_with_nothing_but_its_own_twin_may_be_trained_into(tmp_path: Path) -> None:
    """That of another configuration may not: reports would show it as this run's."""
    twin = train(tiny_config("prior.kind=gaussian", "trainer.max_steps=2"), tmp_path / "run" / "twin")
    check_run_directory(Run(tmp_path / "run"), tiny_config("trainer.max_steps=2"), resume=False)
    with pytest.raises(RunDirectoryError, match=r"twin was started with other values of seed"):
        check_run_directory(Run(tmp_path / "run"), tiny_config("trainer.max_steps=2", "seed=1"), resume=False)
    assert json.loads((twin.checkpoint() / "meta.json").read_text())["first_step"] == 0
