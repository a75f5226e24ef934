"""Schedules: learning rate, KL weight, averaging constant; and what they do to a run."""

import math
from pathlib import Path

import pytest
import torch
from tests.training.tiny import tiny_config

from hebm.build import build_model
from hebm.errors import ConfigError
from hebm.training import train
from hebm.training.ema import EmaModel
from hebm.training.schedules import ema_decay_at, kl_weight_at, level_weights_at, lr_factor_at
from hebm.training.state import TrainingState


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("constant", 77, 1.0),
        ("exponential", 9, 1.0),
        ("exponential", 10, 0.9),
        ("exponential", 25, 0.81),
        ("cosine", 0, 1.0),
        ("cosine", 50, 0.95),
        ("cosine", 100, 0.9),
        ("cosine", 25, 0.9 + 0.1 * 0.5 * (1 + math.cos(math.pi / 4))),
    ],
)
def test_learning_rate_factors(kind: str, step: int, expected: float) -> None:
    """decay 0.9, 100 steps, 10 steps per epoch."""
    assert lr_factor_at(step, kind=kind, decay=0.9, n_steps=100, steps_per_epoch=10) == pytest.approx(
        expected
    )


def test_kl_weight_rises_linearly_to_one() -> None:
    """1/4, 2/4, 3/4, 1, 1; and 1 without warm-up."""
    assert [kl_weight_at(t, warmup_steps=4) for t in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert kl_weight_at(0, warmup_steps=0) == 1.0


def test_levels_fade_in_one_after_the_other() -> None:
    """A level that starts at 0 is whole at once; one that starts at 4 has 0 until then and 1 after two steps more."""
    seen = [level_weights_at(t, starts=(0, 4, 5), fade_steps=2) for t in (0, 4, 5, 6, 7)]
    assert seen == [(1, 0, 0), (1, 0, 0), (1, 0.5, 0), (1, 1, 0.5), None]
    assert level_weights_at(0, starts=(), fade_steps=2) is None


def test_a_level_that_has_not_started_learns_nothing_of_the_image(tmp_path: Path) -> None:
    """Until its start the bottom level costs its rate alone: that of the top level, which the image needs, stays, the
    bottom one's falls; with the starts exchanged it is the other way round."""
    top, bottom = (
        train(
            tiny_config(
                f"objective.level_start_steps={starts}",
                "trainer.max_steps=300",
                "trainer.autoencoder.lr=0.01",
                "objective.level_fade_steps=1",
            ),
            tmp_path / str(i),
        ).metrics()
        for i, starts in enumerate(([0, 299], [299, 0]))
    )
    before = [records[-2]["rate_per_level"] for records in (top, bottom)]
    assert before[0][0] > 10 * before[0][1]
    assert before[1][1] > 10 * before[1][0]


def test_a_run_that_ends_before_all_levels_have_entered_is_refused(tmp_path: Path) -> None:
    """The key is named and nothing is written."""
    config = tiny_config("objective.level_start_steps=[0, 25]", "objective.level_fade_steps=6")
    with pytest.raises(ConfigError, match=r"at step 31; lower objective\.level_start_steps"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_ema_follows_its_formula() -> None:
    """One update moves every parameter by exactly 1 - decay of the way."""
    model = build_model(tiny_config())
    ema = EmaModel(model)
    before = [p.clone() for p in ema.model.parameters()]
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    ema.update(model, 0.75)
    for old, new in zip(before, ema.model.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)
    assert ema_decay_at(0, decay=0.999) == 0.1
    assert ema_decay_at(10**6, decay=0.999) == 0.999


def test_schedules_reach_the_optimisers(tmp_path: Path) -> None:
    """The logged rates are the scheduled ones: cosine to a tenth at the end."""
    config = tiny_config("trainer.lr_schedule=cosine", "trainer.lr_decay=0.1", "trainer.log_every_steps=1")
    records = train(config, tmp_path / "run").metrics()
    assert records[0]["lr"] == pytest.approx(1e-3)
    expected = 1e-3 * lr_factor_at(29, kind="cosine", decay=0.1, n_steps=30, steps_per_epoch=10)
    assert records[-1]["lr"] == pytest.approx(expected)
    assert records[-1]["energy_lr"] == pytest.approx(expected / 10)


def test_gradient_clipping_bounds_the_update(tmp_path: Path) -> None:
    """With a tiny bound and plain gradients the nets hardly move; without it they do (weights of step 1)."""

    def moved(name: str, *overrides: str) -> float:
        run = train(
            tiny_config("trainer.max_steps=1", "trainer.autoencoder.betas=[0.0, 0.0]", *overrides),
            tmp_path / name,
        )
        start = run.model(step=0, weights="model") if (run.checkpoints / "step-00000000").exists() else None
        assert start is not None
        end = run.model(weights="model")
        return max(
            (a - b).abs().max().item() for a, b in zip(start.parameters(), end.parameters(), strict=True)
        )

    assert moved(
        "clipped", "trainer.autoencoder.grad_clip=1e-12", "trainer.energy.grad_clip=1e-12"
    ) < 1e-3 * moved("free")


def test_bf16_trains_and_keeps_latents_and_energies_in_float32(tmp_path: Path) -> None:
    """The loss curve stays within a few per cent of float32's; parameters stay float32."""
    full = train(tiny_config(), tmp_path / "full").metrics()
    run = train(tiny_config("trainer.precision=bf16"), tmp_path / "half")
    for a, b in zip(full, run.metrics(), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=0.05)
        assert b["loss"] != a["loss"]
    assert {p.dtype for p in run.model(weights="model").parameters()} == {torch.float32}


def test_energy_only_steps_hold_the_averaged_nets_and_move_the_energy(tmp_path: Path) -> None:
    """After the joint steps generator and encoder equal the averages of that moment; the energy goes on."""
    joint = train(tiny_config(), tmp_path / "joint").model()
    run = train(
        tiny_config("trainer.energy_only_steps=10", "trainer.energy_only_lr=3e-4"), tmp_path / "longer"
    )
    longer = run.model(weights="model")
    for name in ("generator", "encoder"):
        held, now = getattr(joint, name).state_dict(), getattr(longer, name).state_dict()
        assert all(torch.equal(held[key], now[key]) for key in held)
    assert longer.prior.energy is not None
    assert joint.prior.energy is not None
    pairs = zip(longer.prior.energy.parameters(), joint.prior.energy.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    last = run.metrics()[-1]
    assert (last["step"], last["phase"]) == (40, "energy")
    assert "distortion" not in last
    assert (last["lr"], last["energy_lr"]) == (0.0, pytest.approx(3e-4))


def test_averages_start_at_what_the_model_is_when_its_learner_is_made() -> None:
    """The learner of a mixture that learns with the nets tells its components apart: the averages know that too."""
    config = tiny_config(
        "prior.kind=mixture", "prior.n_components=[3]", "prior.training=joint", "prior.base=standard"
    )
    state = TrainingState(config, build_model(config))
    assert state.model.prior.means.abs().min().item() > 0  # type: ignore[attr-defined]
    for name, average in state.ema.model.state_dict().items():
        assert torch.equal(average, state.model.state_dict()[name]), name


def test_stages_are_not_learned_on_latents_that_move() -> None:
    """The keys that help are named; one stage may learn with the nets."""
    with pytest.raises(ConfigError, match=r"stages of nce need .* prior\.training=two_phase, or n_stages=1"):
        tiny_config("prior.kind=nce", "prior.n_stages=2", "prior.training=joint")
    assert not tiny_config("prior.kind=nce", "prior.training=joint").prior.is_two_phase
