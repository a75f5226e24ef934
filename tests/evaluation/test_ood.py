"""The suite on images that do not belong: who sees which images, what is left out, and what is told."""

import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.tiny import tiny_config
from torch import Tensor

from hebm.build import build_images, build_model
from hebm.config import OodSetConfig, RunConfig
from hebm.data import ResidentImages
from hebm.detection import build_score, score_images
from hebm.detection.controls import PcaError, PixelScore, fit_controls
from hebm.errors import ConfigError, DataError, MissingDataError
from hebm.evaluation import evaluate, evaluate_ood, together
from hebm.evaluation import ood as suite
from hebm.evaluation.ood_rows import Ranked
from hebm.evaluation.ood_sets import load_ood_sets, split_normals, usual_sets
from hebm.metrics import percentile_interval, ranking
from hebm.models import JointModel
from hebm.training.loop import train

SMALL = [
    "n_in=60", "n_out=50", "n_calibration=70", "n_train=80", "n_bootstrap=20", "scores=[distortion,energy]",
    "declared=distortion", "pairs=[noise,inverted]",
]  # fmt: skip


def small_config(*overrides: str) -> RunConfig:
    """The tiny run, the suite with few images."""
    return tiny_config(*(f"evaluation.ood.{text}" for text in [*SMALL, *overrides]))


def rows(images: Tensor) -> set[bytes]:
    """Images as a set."""
    return {(255 * x).round().byte().numpy().tobytes() for x in images}


def every_image(split: str) -> set[bytes]:
    images = build_images(tiny_config(), split)
    return rows(ResidentImages(images, "cpu").batch(torch.arange(len(images))))


# who sees which images


def test_controls_recipes_and_measures_share_no_image() -> None:
    """Training images; two halves of the test images, together all of them; divided by seed."""
    config = small_config("n_in=1000", "n_calibration=1000", "n_train=1000")
    first, again, other = (split_normals(config, seed=seed) for seed in (0, 0, 1))
    parts = [rows(part) for part in (first.train, first.calibration, first.evaluation)]
    assert [len(part) for part in (first.train, first.calibration, first.evaluation)] == [200, 100, 100]
    assert parts[0] == every_image("train")
    assert parts[1] | parts[2] == every_image("test")
    assert all(not (a & b) for a, b in combinations(parts, 2))
    assert torch.equal(first.evaluation, again.evaluation)
    assert rows(other.evaluation) != parts[2]


def test_numbers_of_images_are_at_most_those_asked_for() -> None:
    """Caps of all three parts, and of what does not belong."""
    config = small_config()
    normals = split_normals(config, seed=0)
    assert [len(part) for part in (normals.train, normals.calibration, normals.evaluation)] == [80, 70, 60]
    sets, _ = load_ood_sets(config, normals, seed=0)
    assert {name: len(x) for name, x in sets.items()} == {"noise": 50, "inverted": 50}


def test_a_test_split_too_small_to_halve_is_refused() -> None:
    """Four images are the least."""
    with pytest.raises(DataError, match=r"test split has 3 images.* data.holdout"):
        split_normals(small_config().with_overrides(["data.limit=3"]), seed=0)


@dataclass(frozen=True)
class Recorder:
    """A recipe that remembers what it was fitted to, and a score that does nothing."""

    seen: list[Tensor]

    def fit(self, model: JointModel, normals: Tensor) -> "Recorder":
        """Remember."""
        self.seen.append(normals)
        return self

    def __call__(self, model: JointModel, x: Tensor) -> Tensor:
        """The images' mean."""
        return x.flatten(1).double().mean(1)


def test_recipes_are_fitted_once_and_to_the_calibration_half_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to what is scored, and not once per pair."""
    seen: list[Tensor] = []
    monkeypatch.setattr(
        suite, "build_score", lambda name: Recorder(seen) if name == "typicality" else build_score(name)
    )
    config = small_config("scores=[typicality,distortion]")
    evaluate_ood(build_model(config), config, seed=3)
    assert len(seen) == 1
    assert torch.equal(seen[0], split_normals(config, seed=3).calibration)


def test_controls_are_fitted_to_training_images_with_as_many_components_as_latents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """5 latents on two levels."""
    seen: list[tuple[Tensor, int]] = []

    def record(normals: Tensor, *, n_components: int) -> dict[str, PixelScore]:
        seen.append((normals, n_components))
        return fit_controls(normals, n_components=n_components)

    monkeypatch.setattr(suite, "fit_controls", record)
    config = small_config("scores=[distortion]")
    evaluate_ood(build_model(config), config, seed=3)
    ((normals, n_components),) = seen
    assert torch.equal(normals, split_normals(config, seed=3).train)
    assert n_components == 3 + 2


# what does not belong


def test_made_images_are_what_they_are_called() -> None:
    """8-bit grey levels; one colour; uniform pixels; the training images' negatives; their pixels elsewhere."""
    config = small_config("pairs=[constant,noise,inverted,shuffled]", "n_out=70")
    normals = split_normals(config, seed=0)
    sets, left_out = load_ood_sets(config, normals, seed=0)
    assert left_out == {}
    for x in sets.values():
        assert x.shape == (70, 1, 8, 8)
        assert torch.allclose((255 * x).round() / 255, x, atol=1e-6)
    constant, noise = sets["constant"], sets["noise"]
    assert torch.equal(constant.flatten(2).amax(2), constant.flatten(2).amin(2))
    assert len(rows(constant)) > 40
    assert noise.mean().item() == pytest.approx(0.5, abs=5 * (1 / 12) ** 0.5 / noise.numel() ** 0.5)
    assert noise.var().item() == pytest.approx(1 / 12, rel=0.05)
    assert torch.equal(sets["inverted"], 1 - normals.train[:70])
    shuffled, originals = sets["shuffled"].flatten(1), normals.train[:70].flatten(1)
    assert torch.equal(shuffled.sort(1).values, originals.sort(1).values)
    assert not torch.equal(shuffled, originals)
    again, _ = load_ood_sets(config, normals, seed=0)
    assert all(torch.equal(sets[name], again[name]) for name in sets)
    other, _ = load_ood_sets(config, normals, seed=1)
    assert not torch.equal(other["noise"], noise)


def test_pixels_of_all_channels_move_together() -> None:
    """A shuffled colour image keeps its colours."""
    config = small_config("pairs=[shuffled]").with_overrides(["data.channels=3"])
    normals = split_normals(config, seed=0)
    sets, _ = load_ood_sets(config, normals, seed=0)
    assert torch.equal(sets["shuffled"][:, 0], sets["shuffled"][:, 2])


def test_images_of_a_path_come_in_the_model_s_shape(tmp_path: Path) -> None:
    """Colour of 12 × 12 to grey of 8 × 8, all of them, under the file's name."""
    path = tmp_path / "odd.npy"
    np.save(path, np.full((30, 12, 12, 3), 51, dtype=np.uint8))
    config = small_config(f"pairs=[{{data: array, path: {path}}}]")
    sets, _ = load_ood_sets(config, split_normals(config, seed=0), seed=0)
    assert {name: x.shape for name, x in sets.items()} == {"array:odd": (30, 1, 8, 8)}
    assert torch.allclose(sets["array:odd"], torch.full((30, 1, 8, 8), 0.2))


def test_a_usual_set_that_is_missing_is_left_out_and_one_named_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note for the first, an error for the second."""
    monkeypatch.setenv("HEBM_DATA", str(tmp_path))
    monkeypatch.setattr("hebm.evaluation.ood_sets.usual_sets", lambda _: usual_sets("cifar10"))
    config = small_config("pairs=null").with_overrides(["data.download=false"])
    normals = split_normals(config, seed=0)
    sets, left_out = load_ood_sets(config, normals, seed=0)
    assert list(sets) == ["constant", "noise"]
    assert "svhn_sample/" in left_out["svhn_sample"]
    named = config.with_overrides(["evaluation.ood.pairs=[noise, svhn_sample]"])
    with pytest.raises(MissingDataError, match="svhn_sample"):
        load_ood_sets(named, normals, seed=0)
    monkeypatch.setattr("hebm.evaluation.ood_sets.usual_sets", lambda _: usual_sets("cifar10")[:1])
    with pytest.raises(DataError, match="no set to compare with: svhn_sample"):
        evaluate_ood(build_model(config), config, seed=0)


def test_every_known_set_has_something_it_is_usually_told_from() -> None:
    """Never itself; made images for a set of one's own."""
    for name in ("mnist", "fashion_mnist", "kmnist", "cifar10", "svhn_sample", "digits", "folder"):
        chosen = [pair.data for pair in usual_sets(name)]
        assert chosen
        assert name not in chosen
    assert [pair.data for pair in usual_sets("fashion_mnist")] == ["mnist", "kmnist"]


def test_sets_are_named_in_the_configuration() -> None:
    """By a word, or with a split, a path and a name; two may not have the same one."""
    pairs = small_config(
        "pairs=[kmnist, {data: kmnist, split: train}, {data: noise, name: snow}]"
    ).evaluation.ood.pairs
    assert pairs is not None
    assert [pair.label for pair in pairs] == ["kmnist", "kmnist:train", "snow"]
    assert OodSetConfig(data="folder", path=Path("a/cats")).label == "folder:cats"
    with pytest.raises(ConfigError, match=r"evaluation.ood.pairs has 'noise' twice"):
        small_config("pairs=[noise, noise]")
    with pytest.raises(ConfigError, match=r"evaluation.ood.scores has 'elbo' twice"):
        small_config("scores=[elbo, elbo]")


# what is measured


def test_rows_are_the_measures_of_the_scores_on_equally_many_images() -> None:
    """Recomputed outside of the suite: the first 50 of 60 normal images against 50 that are hardly other ones."""
    config = small_config("pairs=[noise, {data: digits, split: train, name: near}]")
    model = build_model(config)
    results = evaluate_ood(model, config, seed=1)
    normals = split_normals(config, seed=1)
    near = load_ood_sets(config, normals, seed=1)[0]["near"]
    expected = {
        ("scores", "distortion"): lambda x: score_images(model, x, "distortion"),
        ("controls", "pca"): PcaError(sum(model.level_dims)).fit(normals.train),
    }
    for (group, name), score in expected.items():
        row = results["pairs"]["near"][group][name]
        found = ranking(score(normals.evaluation[:50]), score(near))
        assert 0.3 < found.auroc < 0.7
        assert {key: row[key] for key in found._asdict()} == pytest.approx(found._asdict())
        assert (row["n_in"], row["n_out"], row["base_rate"]) == (50, 50, 0.5)
        for key in found._asdict():
            low, high = row[f"{key}_interval"]
            assert 0 <= low <= high <= 1
    assert results["pairs"]["noise"]["controls"]["pca"]["auroc"] > 0.99  # far from digits: the sign is right


def test_the_time_is_that_of_a_thousand_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that ticks once per look: 60 + 50 + 50 images in a second."""
    monkeypatch.setattr(together.time, "perf_counter", iter(range(1000)).__next__)
    config = small_config("scores=[distortion]")
    assert evaluate_ood(build_model(config), config, seed=0)["scoring_s_per_1000"] == {
        "distortion": 1000 / 160
    }


def test_results_are_a_function_of_the_seed() -> None:
    """The same seed gives the same file, timing aside; another one other images."""
    config = small_config()
    model = build_model(config)
    first, again, other = (evaluate_ood(model, config, seed=seed)["pairs"] for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_margins_are_paired_over_images() -> None:
    """Against itself no difference in any resample; against its reverse twice what it is above chance."""
    generator = torch.Generator().manual_seed(0)
    low, high = torch.randn(80, generator=generator), torch.randn(80, generator=generator) + 1
    ours = Ranked(low, high, n_resamples=50, seed=0)
    worse = Ranked(low + torch.randn(80, generator=generator), high, n_resamples=50, seed=0)
    assert ours.margin_over(ours) == {"control_auroc": ours.value.auroc, "difference": 0, "interval": [0, 0]}
    margin = ours.margin_over(worse)
    assert margin["difference"] == ours.value.auroc - worse.value.auroc > 0
    assert margin["interval"][0] < margin["difference"] < margin["interval"][1]
    assert ours.to_json()["fpr80_interval"] == percentile_interval(ours.resampled.fpr80)
    reverse = ours.margin_over(ours, reversed_sign=True)
    assert reverse["control_auroc"] == 1 - ours.value.auroc
    assert reverse["difference"] == pytest.approx(2 * ours.value.auroc - 1)
    assert reverse["interval"][1] - reverse["interval"][0] > 0.05


def margin(auroc: float, difference: float, low: float) -> dict[str, object]:
    return {"control_auroc": auroc, "difference": difference, "interval": [low, 1.0]}


def test_the_verdict_takes_png_size_at_its_best_and_wants_an_interval_above_zero() -> None:
    """A raw size that is small on the other set counts with its sign reversed; a margin within its noise is none."""
    margins = {
        "png_size": margin(0.02, 0.96, 0.9), "png_size_reversed": margin(0.98, 0.01, -0.01),
        "png_size_distance": margin(0.9, 0.09, 0.05), "pca": margin(0.7, 0.29, 0.2),
        "nearest_neighbour": margin(0.8, 0.2, 0.1),
    }  # fmt: skip
    pair = {"scores": {"elbo": {"auroc": 0.99}}, "declared_over": margins}
    assert suite._verdict("mnist", pair, "elbo") == (
        "mnist: elbo does not beat beyond chance the size of a PNG file (AUROC 0.990 against 0.980) and beats the "
        "best other control, nearest_neighbour (0.800)."
    )
    margins["png_size_reversed"] = margin(0.98, 0.01, 0.005)
    margins["nearest_neighbour"] = margin(0.995, -0.005, -0.01)
    text = suite._verdict("mnist", pair, "elbo")
    assert "elbo beats the size of a PNG file (AUROC 0.990 against 0.980) and does not beat the best" in text
    margins["nearest_neighbour"] = margin(0.8, 0.2, 0.0)
    assert "and does not beat beyond chance the best other" in suite._verdict("mnist", pair, "elbo")


def test_margins_cover_every_control_and_the_reversed_png_size() -> None:
    """The reversed one mirrors the raw one."""
    config = small_config()
    pair = evaluate_ood(build_model(config), config, seed=0)["pairs"]["inverted"]
    margins = pair["declared_over"]
    assert margins.keys() == {*pair["controls"], "png_size_reversed"}
    for name, row in pair["controls"].items():
        assert margins[name]["difference"] == pytest.approx(
            pair["scores"]["distortion"]["auroc"] - row["auroc"]
        )
    assert margins["png_size_reversed"]["control_auroc"] == pytest.approx(
        1 - pair["controls"]["png_size"]["auroc"]
    )


def test_a_score_that_a_model_cannot_give_is_left_out_with_the_reason() -> None:
    """The energy of a Gaussian prior; were it the declared one, the verdict says so."""
    config = small_config("declared=energy").with_overrides(["prior.kind=gaussian"])
    results = evaluate_ood(build_model(config), config, seed=0)
    assert "energy" in results["left_out"]["energy"]
    assert list(results["pairs"]["noise"]["scores"]) == ["distortion"]
    assert results["pairs"]["noise"]["declared_over"] is None
    assert "noise: this model has no score 'energy', which was declared." in results["verdict"]


def test_a_recipe_that_needs_more_normal_images_than_there_are_is_left_out() -> None:
    """The other scores are measured."""
    config = small_config("scores=[combined,distortion]", "n_calibration=10")
    results = evaluate_ood(build_model(config), config, seed=0)
    assert list(results["left_out"]) == ["combined"]
    assert list(results["pairs"]["noise"]["scores"]) == ["distortion"]


def test_an_unknown_score_is_refused_before_any_image_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the scores, or as the declared one."""
    monkeypatch.setattr(suite, "split_normals", lambda *_, **__: pytest.fail("images were read"))
    for change in ("scores=[distortion,elboo]", "declared=elboo"):
        config = small_config(change)
        with pytest.raises(ConfigError, match=r"'elboo'.*'elbo'"):
            evaluate_ood(build_model(config), config, seed=0)


def test_the_declared_score_is_measured_even_if_it_is_not_listed() -> None:
    """And only once if it is."""
    config = small_config("scores=[distortion]", "declared=log_joint")
    results = evaluate_ood(build_model(config), config, seed=0)
    assert list(results["pairs"]["noise"]["scores"]) == ["distortion", "log_joint"]


def test_all_default_scores_run_on_a_trained_run(tmp_path: Path) -> None:
    """The result file of `evaluate`: every score or the reason why not, with the fields of the contract."""
    small = [f"evaluation.ood.{text}" for text in SMALL if not text.startswith(("scores", "declared"))]
    config = tiny_config("trainer.max_steps=10", *small, "evaluation.ood.pairs=[noise]")
    run = train(config, tmp_path / "run", device="cpu")
    content = json.loads(evaluate(run, "ood", seed=0).read_text())
    results, ood = content["results"], config.evaluation.ood
    assert content["suite"] == "ood"
    assert results["declared"] == ood.declared == "combined"
    assert results["scoring_s_per_1000"].keys() == results["pairs"]["noise"]["scores"].keys()
    assert {*results["pairs"]["noise"]["scores"], *results["left_out"]} == {*ood.scores}
    assert list(results["left_out"]) == ["llr:n_lowest=2"]  # two levels, so one may go
    for group in ("controls", "scores"):
        for row in results["pairs"]["noise"][group].values():
            assert row.keys() >= {
                "auroc",
                "auprc",
                "fpr80",
                "fpr95",
                "auprc_trapezoid",
                "n_in",
                "n_out",
                "base_rate",
            }
