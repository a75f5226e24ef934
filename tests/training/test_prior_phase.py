"""Runs of every kind of prior: what learns when, resuming inside the second phase, loading and sampling."""

import math
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training.test_resume import final_bits, interrupt_during_step, logged
from tests.training.tiny import tiny_config
from torch import Tensor

import hebm
from hebm.build_prior import images_needed
from hebm.config import load_config
from hebm.errors import ConfigError, DataError, RunDirectoryError
from hebm.priors import JointPrior, MixturePrior, StagedEnergy
from hebm.training import InterruptedTrainingError, Run, train
from hebm.training.checkpoint import read_tensors
from hebm.training.devices import make_fabric
from hebm.training.session import Session
from hebm.training.state import TrainingState
from hebm.training.step import TrainingStep

LENGTHS = ("trainer.max_steps=8", "trainer.checkpoint_every_steps=4", "trainer.log_every_steps=3")
PHASES = ("trainer.energy_only_steps=9", "trainer.energy_only_batch_size=30", "trainer.lr_schedule=cosine")
MIXTURE = ("prior.base=mixture", "prior.n_components=[1, 3]")
VARIANTS = {
    "nce mixture": ("prior.kind=nce", "prior.n_stages=2", *MIXTURE, *PHASES),
    "mixture": ("prior.kind=mixture", "prior.n_components=[1, 3]"),
    "finetuned": ("prior.kind=importance", *MIXTURE, *PHASES, "trainer.finetune_steps=7"),
    "importance mixture": ("prior.kind=importance", *MIXTURE, *PHASES),
    "joint top_down": ("prior.kind=joint", "prior.base=top_down"),
    "joint mixture": ("prior.kind=joint", *MIXTURE, *PHASES),
    "persistent": ("prior.kind=persistent", "sampler.n_chains=50"),
    "flow": ("prior.kind=flow", "prior.flow_transforms=1", *PHASES),
    "recovery": ("prior.kind=recovery", "prior.noise_levels=[0.5, 0.9]", *PHASES),
}
TWO_PHASE = ("nce mixture", "importance mixture", "mixture", "joint mixture", "flow", "recovery")
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def config_of(variant: str, *overrides: str) -> hebm.RunConfig:
    return tiny_config(*LENGTHS, *VARIANTS[variant], *overrides)


@cache
def whole(variant: str) -> Run:
    """An uninterrupted run, all checkpoints kept."""
    directory = Path(mkdtemp()) / "run"
    return train(config_of(variant, "trainer.keep_checkpoints=9"), directory)


@cache
def gaussian_twin(schedule: str) -> Run:
    """The same joint steps with the prior N(0, I)."""
    config = tiny_config(*LENGTHS, "prior.kind=gaussian", f"trainer.lr_schedule={schedule}")
    return train(config, Path(mkdtemp()) / "twin")


def weights(run: Run, step: int, part: str, which: str = "model") -> dict[str, Tensor]:
    tensors = read_tensors(run.checkpoint(step), which)
    return {name: value for name, value in tensors.items() if name.startswith(f"{part}.")}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def events(run: Run) -> list[dict[str, Any]]:
    """Without what depends on the clock."""
    timeless = ({k: v for k, v in record.items() if k != "duration_s"} for record in run.metrics())
    return [record for record in timeless if "event" in record]


@pytest.mark.parametrize("variant", TWO_PHASE)
def test_the_nets_of_a_two_phase_run_are_the_gaussian_twins(variant: str) -> None:
    """Before the last joint step bit by bit; after it they rest at its averages, whatever the prior does."""
    trainer = config_of(variant).trainer
    run, twin = whole(variant), gaussian_twin(trainer.lr_schedule)
    last = 8 + trainer.energy_only_steps
    for part in ("generator", "encoder"):
        assert same(weights(run, 4, part), weights(twin, 4, part))
        averages = weights(twin, 8, part, "ema")
        for which in ("model", "ema"):
            assert same(weights(run, last, part, which), averages)
            assert same(weights(run, 8, part, which), averages)
    assert same(weights(run, 0, "prior"), weights(run, 4, "prior"))
    assert not same(weights(run, 4, "prior"), weights(run, last, "prior"))


@pytest.mark.parametrize("variant", ["joint top_down", "persistent"])
def test_the_prior_of_a_joint_run_learns_from_the_first_step(variant: str) -> None:
    """Base and energy both; the nets feel it."""
    run = whole(variant)
    for part in ("prior.energy", *(["prior.base"] if variant == "joint top_down" else [])):
        assert not same(weights(run, 0, part), weights(run, 4, part))
    assert not same(weights(run, 8, "encoder"), weights(gaussian_twin("constant"), 8, "encoder"))
    assert events(run) == []


@pytest.mark.parametrize("variant", ["joint top_down", "persistent"])
def test_what_the_nets_pay_besides_the_rate_is_the_priors_tilt(variant: str) -> None:
    """Up to log Z: log N(z; 0, I) - log p(z) = log N(z; 0, I) - log p₀(z) + E(z), with gradients in z alone."""
    config = config_of(variant)
    state = TrainingState(config, hebm.load(whole(variant).directory).requires_grad_(True))
    step = TrainingStep(config, state, make_fabric(config, device="cpu"))
    prior = state.model.prior
    assert isinstance(prior, JointPrior)
    flat = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    z = torch.split(flat, [3, 2], 1)
    white = -0.5 * flat.square().sum(1) - 2.5 * math.log(2 * math.pi)
    expected = white - prior.base.log_prob(z) + prior.energy(z)
    tilt = step._tilt(flat)
    torch.testing.assert_close(tilt, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        *(torch.autograd.grad(value.sum(), flat, retain_graph=True)[0] for value in (tilt, expected)),
        rtol=1e-4,
        atol=1e-5,
    )
    tilt.sum().backward()
    assert all(p.grad is None for p in prior.parameters())


@pytest.mark.parametrize("variant", TWO_PHASE)
def test_the_metrics_say_where_the_prior_phase_begins_and_what_was_fitted(variant: str) -> None:
    """One event at the last joint step; the candidates of a mixture with it; the steps after it are the prior's."""
    run = whole(variant)
    first, *rest = events(run)
    assert (first["event"], first["step"]) == ("prior_phase", 8)
    assert [(e["event"], e["step"]) for e in rest] == [("prior_fitted", 8)]
    candidates = rest[0].get("mixture_candidates", [])
    assert [c["n_components"] for c in candidates] == ([1, 3] if "mixture" in variant else [])
    lines = [record for record in run.metrics() if "event" not in record]
    assert [(r["step"], r["phase"]) for r in lines[:2]] == [(3, "joint"), (6, "joint")]
    assert "energy_data" not in lines[0]
    assert all(r["phase"] == "energy" and "distortion" not in r for r in lines[3:])
    if variant != "mixture":
        wanted = "log_prob_base" if variant == "flow" else "energy_data"
        assert wanted in lines[-1]


def test_a_fitted_base_does_not_move_in_the_prior_phase() -> None:
    """The mixture keeps its bits while the stages learn; all stages are active in the end."""
    run = whole("nce mixture")
    assert same(weights(run, 8, "prior.base"), weights(run, 17, "prior.base"))
    assert not same(weights(run, 8, "prior.energy"), weights(run, 17, "prior.energy"))
    model = run.model()
    assert isinstance(model.prior.energy, StagedEnergy)
    assert int(model.prior.energy.n_active) == 2


def test_the_average_of_the_prior_starts_anew_with_its_phase() -> None:
    """At the last joint step the averaged prior is the fitted one, not a mean with what it was before."""
    run = whole("mixture")
    assert same(weights(run, 8, "prior", "ema"), weights(run, 8, "prior", "model"))
    model = run.model()
    assert isinstance(model.prior, MixturePrior)
    assert model.prior.means.abs().max().item() > 0


@pytest.mark.parametrize(
    ("variant", "step"),
    [
        ("nce mixture", 10),
        ("nce mixture", 14),
        ("joint mixture", 11),
        ("importance mixture", 9),
        ("finetuned", 19),
        ("joint top_down", 5),
        ("flow", 10),
        ("recovery", 10),
    ],
)
def test_a_run_stopped_in_the_middle_ends_in_the_same_bits(
    variant: str, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the prior phase too, in either stage: no bit and no logged number changes."""
    config = config_of(variant, "trainer.keep_checkpoints=9")
    with monkeypatch.context() as patch:
        interrupt_during_step(step, patch)
        with pytest.raises(InterruptedTrainingError):
            train(config, tmp_path / "stopped")
    run = train(config, tmp_path / "stopped", resume=True)
    assert final_bits(run.directory) == final_bits(whole(variant).directory)
    assert logged(run.directory) == logged(whole(variant).directory)
    assert [e for e in events(run) if e["event"] != "resumed"] == events(whole(variant))


def test_a_run_cut_off_before_its_prior_phase_ends_in_the_same_bits(tmp_path: Path) -> None:
    """As after a crash: the checkpoints of the second phase and of its beginning are gone; it is begun again."""
    run = train(config_of("nce mixture", "trainer.keep_checkpoints=9"), tmp_path / "cut")
    for path in sorted(run.checkpoints.iterdir())[2:]:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    again = train(config_of("nce mixture", "trainer.keep_checkpoints=9"), tmp_path / "cut", resume=True)
    assert final_bits(again.directory) == final_bits(whole("nce mixture").directory)
    assert logged(again.directory) == logged(whole("nce mixture").directory)


@every_variant
def test_a_trained_prior_is_loaded_sampled_and_resampled(variant: str) -> None:
    """Pictures depend on what the prior learned; every level is redrawn with the others held bit-equal."""
    model = hebm.load(whole(variant).directory)
    images = model.sample(4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images, model.sample(4, generator=torch.Generator().manual_seed(0)))
    untrained = hebm.build_model(config_of(variant)).prior
    if isinstance(untrained, JointPrior) and isinstance(untrained.energy, StagedEnergy):
        assert int(untrained.energy.n_active) == 0
    before = model.sample_prior(4, generator=torch.Generator().manual_seed(0))
    for level in range(2):
        redrawn = model.resample(before, [level], generator=torch.Generator().manual_seed(1))
        assert torch.equal(redrawn[1 - level], before[1 - level])
        assert (redrawn[level] != before[level]).any()
        assert torch.isfinite(redrawn[level]).all()
    model.prior.load_state_dict(untrained.state_dict())
    assert not torch.equal(model.sample(4, generator=torch.Generator().manual_seed(0)), images)


def test_finetuning_moves_nets_and_energy_together_and_keeps_the_fitted_base() -> None:
    """From the end of the prior's phase on, which is that of the same run without it, bit by bit."""
    run, alone = whole("finetuned"), whole("importance mixture")
    assert same(weights(run, 16, "encoder"), weights(alone, 16, "encoder"))
    assert same(weights(run, 16, "prior"), weights(alone, 16, "prior"))
    for part in ("generator", "encoder", "prior.energy"):
        assert not same(weights(run, 16, part), weights(run, 24, part))
    assert same(weights(run, 16, "prior.base"), weights(run, 24, "prior.base"))


def test_finetuning_steps_are_logged_with_all_terms_at_their_own_rate() -> None:
    """Each phase has its name and runs through the schedule once."""
    lines = [record for record in whole("finetuned").metrics() if "event" not in record]
    assert [r["phase"] for r in lines] == [*["joint"] * 2, *["energy"] * 3, *["finetune"] * 3]
    trainer, last = config_of("finetuned").trainer, lines[-1]
    assert lines[-2]["step"] == 21
    factor = trainer.lr_decay + (1 - trainer.lr_decay) * 0.5 * (1 + math.cos(math.pi * 3 / 7))
    assert lines[-2]["lr"] == pytest.approx(trainer.finetune_lr * factor)
    assert lines[-2]["energy_lr"] == pytest.approx(trainer.energy.lr * factor)
    assert {"distortion", "energy_data", "rate"} <= last.keys()


def test_finetuning_visits_the_images_after_those_of_the_joint_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the prior alone use no images, so they leave no gap in the order."""
    seen: list[int] = []
    original = Session._batch

    def watched(session: Session, step: int) -> Tensor:
        seen.append(step)
        return original(session, step)

    monkeypatch.setattr(Session, "_batch", watched)
    train(config_of("finetuned"), Path(mkdtemp()) / "run")
    assert seen == list(range(8 + 7))


def test_finetuning_has_the_whole_bound_from_its_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warm-up of the rate belongs to the joint steps."""
    weights_seen: list[float] = []
    original = TrainingStep.__call__

    def watched(step: TrainingStep, x: Tensor, *, kl_weight: float, **options: Any) -> dict[str, Tensor]:
        weights_seen.append(kl_weight)
        return original(step, x, kl_weight=kl_weight, **options)

    monkeypatch.setattr(TrainingStep, "__call__", watched)
    train(config_of("finetuned", "objective.kl_warmup_steps=100"), Path(mkdtemp()) / "run")
    assert weights_seen == [pytest.approx((i + 1) / 100) for i in range(8)] + [1.0] * 7


def test_finetuning_needs_a_prior_of_one_stage_that_was_learned_alone() -> None:
    """The keys are named; a Gaussian twin of a finetuned run is not refused."""
    for overrides in (("prior.kind=joint",), ("prior.kind=nce", "prior.n_stages=2", *PHASES)):
        with pytest.raises(ConfigError, match=r"trainer\.finetune_steps .* prior\.training=two_phase"):
            tiny_config(*overrides, "trainer.finetune_steps=3")
    twin = tiny_config(*LENGTHS, "prior.kind=gaussian", "trainer.finetune_steps=3")
    assert train(twin, Path(mkdtemp()) / "twin").metrics()[-1]["step"] == 8


def test_a_run_that_fitted_its_prior_cannot_be_made_longer(tmp_path: Path) -> None:
    """The nets have been put to their averages: more joint steps would go on from there, which is another run."""
    train(config_of("mixture", "trainer.max_steps=3"), tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=r"trainer\.max_steps"):
        train(config_of("mixture", "trainer.max_steps=6"), tmp_path / "run", resume=True)


def test_a_prior_that_learns_by_steps_needs_steps() -> None:
    """The key is named; a prior that is fitted at once needs none."""
    for kind in ("nce", "recovery", "flow"):
        with pytest.raises(ConfigError, match=rf"prior\.kind={kind} .* trainer\.energy_only_steps"):
            tiny_config(f"prior.kind={kind}")
    assert tiny_config("prior.kind=mixture").trainer.energy_only_steps == 0


def test_the_folder_preset_learns_from_a_few_small_images(tmp_path: Path) -> None:
    """40 images of 32×32, two epochs: sizes beyond the 32 that are fitted are left out, and all is finite."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(40):
        tone = rng.integers(0, 255, (1, 1, 3)) + rng.integers(-40, 40, (32, 32, 3))
        Image.fromarray(tone.clip(0, 255).astype(np.uint8)).save(tmp_path / "images" / f"{i}.png")
    config = load_config(
        "folder",
        [
            f"data.path={tmp_path / 'images'}",
            "data.size=32",
            "model.levels=[{latents: 3, channels: 16}, {latents: 2, channels: 8}]",
            "prior.n_components=[1, 2, 20, 33]",
            "trainer.max_epochs=2",
            "trainer.batch_size=12",
            "trainer.energy_only_steps=20",
            "trainer.log_every_steps=10",
        ],
    )
    run = train(config, tmp_path / "run")
    fitted = next(e for e in events(run) if e["event"] == "prior_fitted")
    assert [c["n_components"] for c in fitted["mixture_candidates"]] == [1, 2, 20]
    assert fitted["mixture_left_out"] == [33]
    best = max(fitted["mixture_candidates"], key=lambda c: c["held_out_log_density"])
    assert best["held_out_log_density"] > -2 * 5 * 1.42  # twice the negative entropy of N(0, I)
    last = run.metrics()[-1]
    assert (last["phase"], last["step"]) == ("energy", 26)
    assert math.isfinite(last["energy_data"] - last["energy_prior"])
    assert torch.isfinite(hebm.load(run.directory).sample(4)).all()


@pytest.mark.parametrize(
    ("overrides", "limit", "needed"),
    [
        (("prior.kind=mixture", "prior.n_components=[90, 30]"), 32, 33),
        (("prior.kind=importance", "prior.base=mixture", "prior.n_components=[90, 30]"), 32, 33),
        (("prior.kind=vamp", "prior.n_components=[90, 30]"), 89, 90),
    ],
)
def test_too_few_images_for_the_prior_are_refused_before_any_work(
    overrides: tuple[str, ...], limit: int, needed: int, tmp_path: Path
) -> None:
    """A tenth of 33 images, 3, is held out, 30 are left; nothing is written. As many as are needed do train."""
    short = [*LENGTHS, *overrides, "prior.training=two_phase", "trainer.max_steps=1", *PHASES[1:]]
    short.append("trainer.energy_only_steps=1")
    with pytest.raises(DataError, match=f"{limit} training images, but {needed} are needed to fit a prior"):
        train(tiny_config(*short, f"data.limit={limit}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    train(tiny_config(*short, f"data.limit={needed}"), tmp_path / "run")


def test_a_prior_that_is_fitted_to_nothing_needs_no_more_than_a_batch() -> None:
    """A twin keeps the sizes of its run's mixture, and a mixture learned by gradient is fitted to no one."""
    sizes = "prior.n_components=[90]"
    for overrides in (
        ("prior.kind=gaussian", "prior.base=mixture"),
        ("prior.kind=mixture", "prior.training=joint"),
        ("prior.kind=joint", "prior.base=standard"),
    ):
        assert images_needed(tiny_config(*overrides, sizes).prior) == 1
