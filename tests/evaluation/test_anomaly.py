"""Suite `anomaly`: held-out images, base rate, scores and controls in the right roles."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import IsolationForest
from torch import Tensor

from hebm.build import build_images, build_model
from hebm.config import RunConfig, load_config
from hebm.detection.controls.isolation_forest import IsolationForestScore
from hebm.errors import ConfigError, ImageShapeError
from hebm.evaluation import anomaly, evaluate
from hebm.evaluation.anomaly import evaluate_anomaly, worst_average_precision
from hebm.evaluation.together import ScoredTogether
from hebm.metrics import ranking
from hebm.models import JointModel
from hebm.training import train

SETTINGS = [
    "model.levels=[{latents: 3, channels: 16}, {latents: 2, channels: 8}]",
    "prior.kind=gaussian", "prior.base=standard", "trainer.energy_only_steps=0", "data.limit=120",
    "evaluation.anomaly.scores=[distortion, prior_density, energy]", "evaluation.anomaly.n_calibration=60",
    "evaluation.anomaly.n_train=80", "evaluation.anomaly.n_bootstrap=20",
    "detection.calibrate_after_training=false",
]  # fmt: skip


def config(*overrides: str) -> RunConfig:
    """Digits without the 4, few images, a model without an energy."""
    return load_config("digits", [*SETTINGS, "data.held_out_labels=[4]", *overrides])


@pytest.fixture(scope="module")
def model() -> JointModel:
    """Untrained: the suite does not care."""
    return build_model(config()).eval()


def test_anomalies_are_the_positives_and_every_image_counts(
    model: JointModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An oracle that gives 1 to the held-out digit has areas of 1; its negative the lowest possible ones."""
    settings = config("data.limit=null", "evaluation.anomaly.controls=false")
    fours = build_images(settings, "anomalies")
    known = {image.tobytes() for image in fours.images}

    def oracle(name: str) -> Callable[[JointModel, Tensor], Tensor]:
        def score(model: JointModel, x: Tensor) -> Tensor:
            pixels = (255 * x).round().byte().numpy()
            is_four = torch.tensor([image.tobytes() in known for image in pixels], dtype=torch.float64)
            return is_four if name == "distortion" else -is_four

        return score

    monkeypatch.setattr(anomaly, "build_score", oracle)
    results = evaluate_anomaly(model, settings, seed=0)
    right, wrong = results["scores"]["distortion"], results["scores"]["prior_density"]
    assert (right["auroc"], right["auprc"], right["auprc_trapezoid"]) == (1, 1, 1)
    assert wrong["auroc"] == 0
    assert (right["n_in"], right["n_out"]) == (results["n_normal"], results["n_anomalous"]) == (324, 181)
    assert right["base_rate"] == results["base_rate"] == 181 / 505


def test_the_floor_is_the_value_of_the_perfectly_wrong_order() -> None:
    """Against scikit-learn's average precision; for MNIST's counts the values known of the published split."""
    for n_normal, n_anomalous in ((7, 3), (1, 5), (120, 100)):
        order = torch.arange(n_normal + n_anomalous, dtype=torch.float64)
        wrong = ranking(order[n_anomalous:], order[:n_anomalous])
        assert worst_average_precision(n_normal, n_anomalous) == pytest.approx(wrong.auprc, abs=1e-12)
    counts = {(12425, 7877): 0.226, (12636, 6824): 0.200, (12738, 6313): 0.188, (12542, 7293): 0.212,
              (12609, 6958): 0.204}  # fmt: skip
    for (normal, anomalous), floor in counts.items():
        assert worst_average_precision(normal, anomalous) == pytest.approx(floor, abs=1e-3)


def test_nothing_but_training_images_is_fitted_to(model: JointModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes and controls see images of the training part, neither tested ones nor anomalies."""
    settings = config("data.limit=null")
    parts = {
        name: {i.tobytes() for i in build_images(settings, name).images}
        for name in ("train", "test", "anomalies")
    }
    alone = parts["train"] - parts["test"] - parts["anomalies"]
    seen: list[Tensor] = []
    right = anomaly.score_together

    def watch(*given: Any, normals: Tensor) -> ScoredTogether:
        seen.append(normals)
        return right(*given, normals=normals)

    monkeypatch.setattr(anomaly, "score_together", watch)
    monkeypatch.setattr(anomaly, "fit_controls", lambda x, **_: seen.append(x) or {})
    evaluate_anomaly(model, settings, seed=0)
    assert [len(x) for x in seen] == [60, 80]
    for x in seen:
        assert {i.tobytes() for i in (255 * x).round().byte().numpy()} <= alone


def test_every_score_and_control_is_there_and_what_cannot_be_is_said(model: JointModel) -> None:
    """A model without an energy has no energy score; controls can be left out; the same seed gives the same."""
    results = evaluate_anomaly(model, config(), seed=0)
    assert list(results["scores"]) == ["distortion", "prior_density"]
    assert "energy" in results["left_out"]
    assert {"isolation_forest", "pca", "nearest_neighbour", "mean_intensity", "png_size"} <= results[
        "controls"
    ].keys()
    assert results["declared"] == "prior_density"
    assert json.dumps(results) == json.dumps(evaluate_anomaly(model, config(), seed=0))
    bare = evaluate_anomaly(model, config("evaluation.anomaly.controls=false"), seed=0)
    assert bare["controls"] == {}
    assert bare["scores"] == results["scores"]


def test_the_declared_score_is_measured_even_if_it_is_not_listed(model: JointModel) -> None:
    """And once if it is."""
    results = evaluate_anomaly(
        model, config("evaluation.anomaly.declared=rate", "evaluation.anomaly.controls=false"), seed=0
    )
    assert list(results["scores"]) == ["distortion", "prior_density", "rate"]


def test_a_run_without_held_out_label_or_an_unknown_score_is_refused(model: JointModel) -> None:
    """Before anything is loaded."""
    with pytest.raises(ConfigError, match=r"trained without one label; .*data\.held_out_labels=\[4\]"):
        evaluate_anomaly(model, config("data.held_out_labels=[]"), seed=0)
    with pytest.raises(ConfigError, match="score 'distorsion' is unknown"):
        evaluate_anomaly(model, config("evaluation.anomaly.scores=[distorsion]"), seed=0)


def test_the_held_out_label_is_the_last_of_nested_ones(model: JointModel) -> None:
    """Pseudo-anomalies stand for themselves."""
    results = evaluate_anomaly(
        model, config("data.held_out_labels=[4, 7]", "evaluation.anomaly.controls=false"), seed=0
    )
    assert results["held_out_label"] == 7


def test_the_suite_runs_by_name(tmp_path: Path) -> None:
    """Through `evaluate`, on a trained run; the file is valid JSON."""
    run = train(config("trainer.max_steps=4", "trainer.batch_size=20"), tmp_path / "run", device="cpu",
                progress=lambda record: None)  # fmt: skip
    record = json.loads(evaluate(run, "anomaly", seed=1).read_text())
    assert record["suite"] == "anomaly"
    assert record["results"]["held_out_label"] == 4


def test_the_isolation_forest_is_scikit_learns_with_the_sign_turned() -> None:
    """Higher is more anomalous; a picture far from all others comes first."""
    generator = torch.Generator().manual_seed(0)
    normal = 0.3 * torch.rand(200, 1, 4, 4, generator=generator)
    odd = torch.ones(1, 1, 4, 4)
    fitted = IsolationForestScore(n_trees=50, seed=3).fit(normal)
    scores = fitted(torch.cat([normal, odd]))
    forest = IsolationForest(n_estimators=50, random_state=3).fit(normal.flatten(1).double().numpy())
    expected = -forest.score_samples(torch.cat([normal, odd]).flatten(1).double().numpy())
    np.testing.assert_array_equal(scores.numpy(), expected)
    assert scores.argmax() == 200
    assert scores.dtype == torch.float64
    with pytest.raises(ImageShapeError, match="two normal images or more"):
        IsolationForestScore().fit(normal[:1])
    with pytest.raises(ImageShapeError, match="n_trees"):
        IsolationForestScore(n_trees=0).fit(normal)
