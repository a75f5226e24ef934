"""Calibrated detectors: verdicts, parts, explanations, and their place in a checkpoint."""

import dataclasses
import json
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.detection.encoder_calls import encoder_calls
from tests.training.tiny import tiny_config
from torch import Tensor

from hebm.build import build_images, build_model
from hebm.config import RunConfig
from hebm.data import ResidentImages
from hebm.detection import (
    SCORES,
    AnomalyScore,
    Detector,
    ScoreRecipe,
    anomaly_parts,
    build_score,
    calibrate,
    conformal_p_values,
    explain,
    part_names,
    score_images,
)
from hebm.detection.combined import Combined
from hebm.detection.distortion import Distortion
from hebm.detection.energy import LatentEnergy
from hebm.detection.explain import residual_map
from hebm.detection.llr import LevelsAbove, LikelihoodRatio
from hebm.detection.log_joint import LogJoint
from hebm.detection.parts import breaks_first
from hebm.detection.prior_density import PriorDensity
from hebm.detection.state import pack, unpack
from hebm.errors import CheckpointError, ConfigError, DataError, UnsupportedError
from hebm.models import JointModel
from hebm.randomness import named_generator
from hebm.training import Run, calibrate_run, detectors, load_detector, train
from hebm.training.checkpoint import read_meta, verify_checkpoint
from hebm.training.detectors import calibration_items, detector_file


@cache
def model_of(*overrides: str) -> JointModel:
    """An untrained tiny model."""
    return build_model(tiny_config(*overrides)).eval()


@cache
def digits(split: str) -> Tensor:
    """Images of the embedded digits, [N, 1, 8, 8]."""
    images = build_images(tiny_config("data.limit=null"), split)
    return ResidentImages(images, "cpu").batch(torch.arange(len(images)))


def detector_of(score: str = "log_joint") -> Detector:
    """Calibrated on 150 digits."""
    return calibrate(model_of(), digits("test")[:150], score)


def test_verdicts_are_those_of_the_score_and_its_calibration() -> None:
    """Score, p-value and verdict by the functions they are made of; p = 30 / 150 is anomalous at a rate of 0.2."""
    x = digits("train")[:400]
    detector = calibrate(model_of(), digits("test")[:149], "log_joint")
    found = detector(model_of(), x, rate=0.2)
    expected = score_images(model_of(), x, "log_joint")
    assert torch.equal(found.score, expected)
    calibration = score_images(model_of(), digits("test")[:149], "log_joint")
    assert torch.equal(found.p_value, conformal_p_values(calibration, expected))
    assert (found.p_value == 0.2).any()
    assert torch.equal(found.anomalous, found.score > detector.threshold(0.2))
    assert 0 < int(found.anomalous.sum()) < 400
    assert found.most_anomalous(3) == expected.argsort(descending=True)[:3].tolist()


def test_verdicts_do_not_depend_on_the_batch() -> None:
    """Neither its size nor the other images."""
    detector, x = detector_of("rate"), digits("train")[:30]
    whole, parts = detector(model_of(), x, rate=0.1), detector(model_of(), x, rate=0.1, batch_size=7)
    torch.testing.assert_close(whole.score, parts.score)
    assert whole.breaks_first == parts.breaks_first
    alone = detector(model_of(), x[4:5], rate=0.1)
    torch.testing.assert_close(alone.score, whole.score[4:5])


ONE_OF_EACH = [
    "distortion:n_draws=2",
    "energy",
    "log_joint",
    "elbo:n_draws=2",
    "iwae:n_samples=2",
    "rate",
    "prior_density",
    "llr:n_base=4,n_decoded=2",
    "l_above:n_base=4,n_decoded=2",
    "typicality",
    "regret:n_steps=2",
    "latent_density:kind=full_gaussian",
    "combined",
    "combined:method=mahalanobis",
]


def test_no_score_is_left_out_of_the_counts_below() -> None:
    """Every name."""
    assert {name.partition(":")[0] for name in ONE_OF_EACH} == SCORES.keys()


@pytest.mark.parametrize("score", ONE_OF_EACH)
def test_a_batch_is_encoded_once_for_the_score_and_all_parts(score: str) -> None:
    """In judging and in calibrating; what fits a recipe is encoded once more. The parts are those of the images."""
    model, x = model_of(), digits("train")[:10]
    with encoder_calls(model) as calls:
        detector = calibrate(model, digits("test")[:120], score, batch_size=50)
    assert calls == ([60, 50, 10] if isinstance(build_score(score), ScoreRecipe) else [50, 50, 20])
    with encoder_calls(model) as calls:
        found = detector(model, x, rate=0.1, batch_size=4)
    assert calls == [4, 4, 2]
    assert torch.equal(found.score, score_images(model, x, detector.score, batch_size=4))
    for batch, rows in zip(x.split(4), (slice(4), slice(4, 8), slice(8, 10)), strict=True):
        for name, values in anomaly_parts(model, batch).items():
            assert torch.equal(found.parts[name][rows], values)


def test_every_batch_is_judged_in_eval_mode_without_gradients() -> None:
    """In judging, fitting and calibrating; the model's own mode comes back."""
    model, x, seen = build_model(tiny_config()).train(), digits("test")[:120], []
    model.encoder.register_forward_hook(
        lambda module, *_: seen.append(module.training or torch.is_grad_enabled())
    )
    for score in ("distortion", "typicality"):
        calibrate(model, x, score, batch_size=50)(model, x[:5], rate=0.1)
        assert model.training
    assert seen == [False] * 8


def test_a_score_of_ones_own_is_called_with_the_images_as_they_came() -> None:
    """In a detector and as a part; it need not know how ours share the encoding."""

    def brightness(model: JointModel, x: Tensor) -> Tensor:
        assert x.dtype == torch.float64  # the model is in float32
        return x.mean((1, 2, 3))

    model, x = model_of(), digits("train")[:5].double()
    detector = dataclasses.replace(detector_of(), score=brightness)
    assert torch.equal(detector(model, x, rate=0.1).score, x.mean((1, 2, 3)))
    combined = Combined((build_score("distortion"), brightness)).fit(model, digits("test")[:60].double())
    surprise = combined.tails[1].surprise(x.mean((1, 2, 3)))  # type: ignore[union-attr]
    assert torch.equal(combined.surprises(model, x)[:, 1], surprise)  # type: ignore[union-attr]


def test_batches_of_nothing_are_refused() -> None:
    """When judging and before a recipe is fitted."""
    with pytest.raises(ConfigError, match="`batch_size` must be at least 1"):
        detector_of()(model_of(), digits("train")[:2], rate=0.1, batch_size=0)
    with pytest.raises(ConfigError, match="`batch_size` must be at least 1"):
        calibrate(model_of(), digits("test")[:2], "typicality", batch_size=0)


def test_a_rate_out_of_reach_is_refused_before_anything_is_scored() -> None:
    """The message names how many images are needed."""
    with pytest.raises(ConfigError, match="at least 199 calibration images, but there are 150"):
        detector_of()(model_of(), torch.full((1, 9, 9, 9), torch.nan), rate=0.005)


def test_a_recipe_is_not_calibrated_on_the_images_it_was_fitted_to() -> None:
    """A share fits, the others calibrate; all of either is refused."""
    normals = digits("test")[:150]
    detector = calibrate(model_of(), normals, "typicality", fit_share=0.4, seed=3)
    assert len(detector.calibration) == 90
    assert all(len(values) == 90 for values in detector.part_calibration.values())
    fitted_to_all = build_score("typicality").fit(model_of(), normals)
    assert detector.score.entropy != fitted_to_all.entropy  # type: ignore[attr-defined]
    for share, n_fit in ((0.1, 0), (0.9, 2)):
        with pytest.raises(DataError, match=f"'typicality' .* {share} leave {n_fit} to fit; hold out more"):
            calibrate(model_of(), normals[:2], "typicality", fit_share=share)


def test_parts_are_levels_from_the_top_then_pixels_then_the_energy() -> None:
    """The energy only where there is one; values by the scores they are."""
    x = digits("train")[:5]
    assert part_names(model_of()) == ["level_0", "level_1", "pixels", "energy"]
    assert part_names(model_of("prior.kind=gaussian")) == ["level_0", "level_1", "pixels"]
    parts = anomaly_parts(model_of(), x)
    for name, score in {"level_1": "rate:level=1", "pixels": "distortion", "energy": "energy"}.items():
        assert torch.equal(parts[name], score_images(model_of(), x, score))


def test_the_part_that_breaks_first_has_the_smallest_p_value_then_the_largest_excess() -> None:
    """By hand: image 0 by p-value, 1 and 2 beyond all normals in both parts."""
    steps = torch.arange(100.0, dtype=torch.float64)
    calibration = {"a": steps, "b": 10 * steps - 2000}
    parts = {
        "a": torch.tensor([98.5, 200.0, 200.0], dtype=torch.float64),  # excess 150.5 / 24.75 = 6.08
        "b": torch.tensor([-1100.0, -10.0, 10.0], dtype=torch.float64),  # 6.04 and 6.12
    }
    assert breaks_first(calibration, parts) == ["a", "a", "b"]


def test_the_map_is_the_squared_residual_in_units_of_normal_images() -> None:
    """By hand on two pixels and two channels; a pixel that never differs is kept from lighting up."""
    x = torch.tensor([[[[0.5, 0.1]], [[0.5, 0.0]]]])
    reconstruction = torch.tensor([[[[0.1, 0.0]], [[0.2, 0.0]]]])
    usual = torch.tensor([[[0.2, 0.0]], [[0.2, 0.0]]])
    floor = 0.1 * 0.2
    expected = torch.tensor([[[0.25 / (0.4 + floor), 0.01 / floor]]])
    torch.testing.assert_close(residual_map(x, reconstruction, usual=usual), expected)


def test_an_explanation_changes_one_level_at_a_time() -> None:
    """Of level l the picture is the decoded latents with that level redrawn; seeds decide the draw; modes are kept."""
    model, x = model_of(), digits("train")[:3]
    detector = detector_of()
    shown, again, other = (explain(model, detector, x, seed=seed) for seed in (0, 0, 1))
    latents = model.encode(x).mean
    torch.testing.assert_close(shown.reconstructions, model.decode(latents))
    assert len(shown.redrawn) == 2
    for level in (0, 1):
        generator = named_generator(0, "explain", level)
        expected = model.decode(model.resample(latents, [level], generator=generator))
        torch.testing.assert_close(shown.redrawn[level], expected)
        assert torch.equal(shown.redrawn[level], again.redrawn[level])
        assert not torch.equal(shown.redrawn[level], other.redrawn[level])
        assert not torch.equal(shown.redrawn[level], shown.reconstructions)
    usual = (digits("test")[:150] - model.decode(model.encode(digits("test")[:150]).mean)).square().mean(0)
    torch.testing.assert_close(detector.residual, usual)
    torch.testing.assert_close(
        shown.residual, residual_map(x, shown.reconstructions, usual=usual), rtol=1e-4, atol=1e-6
    )
    assert not model.training


@pytest.mark.parametrize(
    "score",
    [
        "llr:n_base=4,n_decoded=2",
        "typicality",
        "combined",
        "combined:method=mahalanobis",
        "latent_density:kind=full_gaussian",
        "latent_density:n_components=(1,2)",
        "latent_density:kind=vamp,n_exemplars=20",
        "latent_density:kind=importance,n_steps=2,n_components=(2,)",
    ],
)
def test_fitted_scores_survive_tensors_and_json(score: str) -> None:
    """Scores of new images are the same after a round trip through what is stored."""
    detector, x = calibrate(model_of(), digits("test")[:260], score), digits("train")[:6]
    packed, tensors = pack(detector.score)
    again = unpack(json.loads(json.dumps(packed)), {name: t.clone() for name, t in tensors.items()})
    assert type(again) is type(detector.score)
    assert torch.equal(again(model_of(), x), detector.score(model_of(), x))


LEVELS = {"n_lowest": 2, "n_draws": 4, "n_base": 64, "n_decoded": 8, "pick": "draws", "seed": 5}


@pytest.mark.parametrize(
    ("score", "packed"),
    [
        (LikelihoodRatio(2, seed=5), {"class": "llr.LikelihoodRatio", "fields": LEVELS}),
        (LevelsAbove(2, seed=5), {"class": "llr.LevelsAbove", "fields": LEVELS}),
        (Distortion(3, 5), {"class": "distortion.Distortion", "fields": {"n_draws": 3, "seed": 5}}),
        (LogJoint(3, 5), {"class": "log_joint.LogJoint", "fields": {"n_draws": 3, "seed": 5}}),
        (PriorDensity(3, 5), {"class": "prior_density.PriorDensity", "fields": {"n_draws": 3, "seed": 5}}),
        (LatentEnergy(3, 5), {"class": "energy.LatentEnergy", "fields": {"n_draws": 3, "seed": 5}}),
    ],
)
def test_what_a_checkpoint_holds_of_a_score_is_its_class_and_fields(
    score: AnomalyScore, packed: dict[str, object]
) -> None:
    """As in checkpoints that are there already, so that they can still be read."""
    assert pack(score) == (packed, {})
    assert unpack(packed, {}) == score


def test_nothing_but_scores_of_this_room_is_put_together() -> None:
    """A stored class from elsewhere, or one that is no score, is refused; so is a field that cannot be stored."""
    for name in (
        "inference.evaluating",
        "os.system",
        "scores.SCORES",
        "calibration.Tensor",
        "expected.ExpectedScore",
    ):
        with pytest.raises(CheckpointError, match="calibrate again"):
            unpack({"class": name, "fields": {}}, {})
    with pytest.raises(UnsupportedError, match="object"):
        pack({"odd": object()})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A tiny run; its detector is stored at the end of training."""
    return train(tiny_config(), tmp_path_factory.mktemp("detector") / "run", device="cpu")


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy to change."""
    shutil.copytree(trained.directory, tmp_path / "run")
    return Run(tmp_path / "run")


def test_training_ends_with_a_detector_of_the_held_out_images(trained: Run) -> None:
    """What is stored is what calibration gives; only held-out images calibrate."""
    stored = load_detector(trained)
    assert stored is not None
    config, model = trained.config(), trained.model()
    held_out = build_images(config, "test")
    x = ResidentImages(held_out, "cpu").batch(torch.arange(len(held_out)))
    assert torch.equal(stored.detector.calibration, score_images(model, x, "log_joint"))
    assert list(stored.detector.part_calibration) == part_names(model)
    assert stored.transform.size == 8
    assert stored.transform.channels == 1
    assert stored.about["sampler"]["n_steps"] == 5
    again = calibrate(model, x, "log_joint")
    assert torch.equal(again.residual, stored.detector.residual)
    verify_checkpoint(trained.checkpoint())


def test_calibration_images_are_a_random_choice_by_the_runs_seed() -> None:
    """As many as asked for, in the order of the set."""

    def items(n: int, *overrides: str) -> list[int]:
        return calibration_items(500, tiny_config(f"detection.n_calibration={n}", *overrides)).tolist()

    assert items(600) == list(range(500))
    assert len(items(50)) == 50
    assert items(50) == sorted(items(50)) != list(range(50))
    assert items(50) != items(50, "seed=1")


def test_another_score_is_stored_beside(run: Run) -> None:
    """Both are found by their names; one that was not calibrated is not there."""
    assert load_detector(run, "distortion") is None
    made = calibrate_run(run, "rate:level=1")
    found = load_detector(run, "rate:level=1")
    assert found is not None
    assert found.detector.score == made.detector.score
    assert torch.equal(found.detector.calibration, made.detector.calibration)
    assert load_detector(run, "rate:level=0") is None
    assert load_detector(run) is not None
    assert isinstance(calibrate_run(run, "distortion").detector.score, Distortion)


@pytest.mark.parametrize(("score", "share"), [("log_joint", 1.0), ("typicality", 0.7)])
def test_a_rate_that_a_calibration_will_not_allow_is_refused_before_it(
    run: Run, score: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the number of images that will calibrate, those that fit a recipe left out; the smallest rate goes through."""
    config = change(run, "detection.fit_share=0.3")
    n = round(share * len(build_images(config, "test")))
    made = calibrate_run(run, score, rate=1 / (n + 1))
    assert len(made.detector.calibration) == n
    assert np.isfinite(made.detector.threshold(1 / (n + 1)))
    monkeypatch.setattr(detectors, "calibrate", lambda *_, **__: pytest.fail("it was calibrated"))
    with pytest.raises(ConfigError, match=f"at least {n + 1} calibration images, but there are {n};"):
        calibrate_run(run, score, rate=1 / (n + 2))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        calibrate_run(run, score, rate=0)


@pytest.mark.parametrize("damage", ["json", "tensors", "missing tensors", "not json"])
def test_a_damaged_detector_is_refused(run: Run, damage: str) -> None:
    """By hash; the message says how to get a new one, and training goes on from the checkpoint all the same."""
    file = detector_file(run.checkpoint(), "log_joint")
    tensors = file.with_suffix(".safetensors")
    if damage == "json":
        file.write_text(file.read_text().replace('"n_held_out": ', '"n_held_out": 1'))
    elif damage == "tensors":
        tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x01")
    elif damage == "missing tensors":
        tensors.unlink()
    else:
        file.write_text("{")
    with pytest.raises(CheckpointError, match="--recalibrate"):
        load_detector(run)
    assert run.model() is not None
    train(run.config(), run.directory, resume=True, device="cpu")
    assert load_detector(run) is not None


def change(run: Run, text: str) -> RunConfig:
    """Change a run's stored configuration."""
    config = run.config().with_overrides([text])
    (run.directory / "config.yaml").write_text(config.to_yaml())
    return config


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("sampler.n_steps=9", False),
        ("prior.activation=silu", False),
        ("data.name=array", False),
        ("detection.false_positive_rate=0.01", True),
        ("data.on_error=skip", True),
    ],
)
def test_a_detector_of_other_settings_is_refused(run: Run, text: str, fits: bool) -> None:
    """What decides the model's answers, or the images' way to it, must be as it was; the rest may change."""
    change(run, text)
    if fits:
        assert load_detector(run) is not None
        return
    with pytest.raises(CheckpointError, match="belongs to other weights or settings"):
        load_detector(run)


def test_a_detector_of_other_weights_is_refused(run: Run) -> None:
    """As when files of two checkpoints are mixed."""
    older, last = run.checkpoint(20), run.checkpoint()
    for suffix in (".json", ".safetensors"):
        shutil.copy(detector_file(last, "log_joint").with_suffix(suffix), older)
    with pytest.raises(CheckpointError, match="weights_sha256"):
        load_detector(run, step=20)


def test_going_on_keeps_or_renews_the_detector(run: Run) -> None:
    """A finished run resumed keeps its files; a longer one gets a detector of the new weights, old ones are pruned."""
    file = detector_file(run.checkpoint(), "log_joint")
    before = file.read_bytes()
    train(run.config(), run.directory, resume=True, device="cpu")
    assert file.read_bytes() == before
    train(
        tiny_config("trainer.max_steps=60", "detection.score=distortion"),
        run.directory,
        resume=True,
        device="cpu",
    )
    assert not file.exists()
    newest = load_detector(run, "distortion")
    assert newest is not None
    assert newest.about["weights_sha256"] == read_meta(run.checkpoint())["sha256"]["ema.safetensors"]


def test_training_on_the_test_split_cannot_calibrate_and_says_so(tmp_path: Path) -> None:
    """Training itself succeeds."""
    events: list[dict[str, object]] = []
    config = tiny_config("data.split=test", "trainer.max_steps=2")
    run = train(config, tmp_path / "run", device="cpu", progress=events.append)
    assert load_detector(run) is None
    (event,) = [e for e in events if e.get("event") == "not_calibrated"]
    assert "no held-out normal images" in str(event["reason"])
    with pytest.raises(DataError, match=r"data\.split=train"):
        calibrate_run(run)


def test_calibration_after_training_can_be_left_out_and_a_wrong_score_is_refused_first(
    tmp_path: Path,
) -> None:
    """detection.calibrate_after_training=false stores nothing; an unknown score stops training before it begins."""
    quiet = tiny_config("detection.calibrate_after_training=false", "trainer.max_steps=2")
    assert load_detector(train(quiet, tmp_path / "quiet", device="cpu")) is None
    with pytest.raises(ConfigError, match="log_joint"):
        train(tiny_config("detection.score=log_joints"), tmp_path / "wrong", device="cpu")
    assert not (tmp_path / "wrong").exists()


def test_a_detector_is_a_value() -> None:
    """Frozen."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        detector_of().name = "other"  # type: ignore[misc]
