"""The scikit-learn estimator: its checks, signs, images, pipelines, pickles."""

import pickle
from copy import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import hebm
from hebm.errors import ConfigError, ImageShapeError, RunDirectoryError
from hebm.sklearn import HierarchicalDetector
from hebm.training import load_detector

TINY = (
    "model.levels=[{latents: 2, channels: 4}, {latents: 2, channels: 4}]",
    "prior.kind=gaussian",
    "trainer.energy_only_steps=0",
    "trainer.batch_size=10",
    "trainer.ema_decay=0.9",
)


def tiny(**changes: object) -> HierarchicalDetector:
    """An estimator that trains for two steps."""
    settings = {
        "overrides": TINY,
        "max_steps": 2,
        "holdout": 0.5,
        "false_positive_rate": 0.2,
        "device": "cpu",
        "random_state": 0,
    }
    return HierarchicalDetector("digits", **{**settings, **changes})


@parametrize_with_checks([tiny(image_shape=(1, 8, 8), pad_rows=True, value_range="fit")])
def test_scikit_learns_own_checks(estimator: object, check: object) -> None:
    """All of them, none expected to fail: rows of a few real values are made pictures by padding and scaling."""
    check(estimator)  # type: ignore[operator]


def digits() -> np.ndarray:
    """400 digits, uint8 [N, 8, 8]."""
    return np.rint(load_digits().images[:400] * (255 / 16)).astype(np.uint8)


@pytest.fixture(scope="module")
def fitted() -> HierarchicalDetector:
    """Fitted to digits."""
    return tiny(max_steps=150).fit(digits())


def test_signs_are_scikit_learns(fitted: HierarchicalDetector) -> None:
    """Higher is more normal; noise is less normal than digits; predictions by the sign of the decision."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 8, 8)).astype(np.uint8)
    normal, odd = fitted.score_samples(digits()[:50]), fitted.score_samples(noise)
    assert np.median(normal) > np.median(odd)
    assert (fitted.predict(noise) == -1).mean() > 0.9
    decision = fitted.decision_function(digits())
    assert np.array_equal(fitted.predict(digits()), np.where(decision >= 0, 1, -1))
    assert np.array_equal(decision, fitted.score_samples(digits()) - fitted.offset_)


def test_scores_are_minus_the_librarys_and_the_held_out_share_meets_the_rate(
    fitted: HierarchicalDetector,
) -> None:
    """Of 200 calibration images at most 0.2 · 201 - 1 are beyond the threshold, and not fewer by more than a tie."""
    x = digits()[:7, None] / 255.0
    ours = hebm.detect(fitted.model_, torch.from_numpy(x), score="log_joint")
    assert np.allclose(fitted.score_samples(digits()[:7]), -ours.numpy(), rtol=1e-12)
    calibration = fitted.detector_.calibration.numpy()
    assert len(calibration) == 200
    assert (calibration > -fitted.offset_).sum() == int(0.2 * 201) - 1


def test_an_image_at_the_threshold_is_an_inlier(fitted: HierarchicalDetector) -> None:
    """As its p-value is above the rate."""
    at_threshold = copy(fitted)
    at_threshold.offset_ = fitted.score_samples(digits()[:1])[0]
    assert at_threshold.predict(digits()[:1]) == 1


def test_layouts_of_the_same_images_give_the_same_scores(fitted: HierarchicalDetector) -> None:
    """Rows, [N, H, W], [N, C, H, W], [N, H, W, C]; bytes and floats in [0, 1]."""
    x = digits()[:5]
    expected = fitted.score_samples(x)
    assert fitted.n_features_in_ == 64
    assert fitted.image_shape_ == (1, 8, 8)
    for same in (x.reshape(5, -1), x[:, None], x[..., None], x / 255.0, (x / 255.0).astype(np.float32)):
        assert np.allclose(fitted.score_samples(same), expected, rtol=1e-6)


def test_colour_images_keep_their_channels() -> None:
    """[N, H, W, 3] and [N, 3, H, W] are the same images; rows are channels first."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (40, 3, 8, 8)).astype(np.uint8)
    detector = tiny().fit(x.transpose(0, 2, 3, 1))
    assert detector.image_shape_ == (3, 8, 8)
    assert np.allclose(detector.score_samples(x), detector.score_samples(x.reshape(40, -1)), rtol=1e-12)
    swapped = detector.score_samples(x[:, ::-1])
    assert not np.allclose(detector.score_samples(x), swapped)


def test_it_works_in_a_pipeline_after_a_scaler() -> None:
    """Digits from 0 to 16 through MinMaxScaler; the same seed gives the same predictions, another one others."""
    x = load_digits().data[:200]
    pipelines = [make_pipeline(MinMaxScaler(clip=True), tiny(random_state=seed)).fit(x) for seed in (0, 0, 1)]
    first, same, other = (pipeline.score_samples(x) for pipeline in pipelines)
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert pipelines[0].predict(x).shape == (200,)


def test_a_value_range_scales_and_clips() -> None:
    """Digits from 0 to 16, given as (0, 16) or found out; beyond is clipped, not refused."""
    x = load_digits().data[:100]
    given, found = tiny(value_range=(0, 16)).fit(x), tiny(value_range="fit").fit(x)
    assert found.value_range_ == (0.0, 16.0)
    assert np.array_equal(given.score_samples(x), found.score_samples(x))
    assert np.array_equal(
        given.score_samples(np.full((1, 64), 99.0)), given.score_samples(np.full((1, 64), 16.0))
    )


@pytest.mark.parametrize(
    ("changes", "x", "message"),
    [
        ({}, np.full((30, 64), 1.5), "values in \\[0, 1\\]"),
        ({}, np.zeros((30, 60)), "no square grey picture"),
        ({"image_shape": (3, 8, 8)}, np.zeros((30, 64)), "have 192 values, but rows have 64"),
        ({"value_range": (1, 1)}, np.zeros((30, 64)), "low < high"),
        ({"value_range": "all"}, np.zeros((30, 64)), "value_range must be"),
        ({"anomaly_score": "llrr"}, np.zeros((30, 64)), "did you mean 'llr'"),
        (
            {"false_positive_rate": 0.01},
            np.zeros((30, 64)),
            "at least 99 calibration images, but there are 15",
        ),
        (
            {"false_positive_rate": 0.1, "anomaly_score": "combined"},
            np.zeros((30, 64)),
            "at least 9 calibration images, but there are 7",
        ),
        ({}, np.zeros((30, 5, 8, 8)), "with C 1 or 3"),
    ],
)
def test_wrong_images_and_parameters_are_refused_by_name(
    changes: dict[str, object], x: np.ndarray, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Always a ValueError of ours, before any training."""
    monkeypatch.setattr("hebm.sklearn.train", lambda *arguments, **options: pytest.fail("it trains"))
    with pytest.raises((ConfigError, ImageShapeError), match=message):
        tiny(**changes).fit(x)


def test_images_of_another_shape_than_fitted_are_refused(fitted: HierarchicalDetector) -> None:
    """By the number of values, and by the shape where it is the same number."""
    with pytest.raises(ValueError, match="expecting 64 features"):
        fitted.predict(np.zeros((2, 9, 9)))
    with pytest.raises(ImageShapeError, match="were fitted, but"):
        fitted.predict(np.zeros((2, 4, 16)))


def test_a_pickle_holds_arrays_and_texts_and_scores_the_same(fitted: HierarchicalDetector) -> None:
    """No network inside: nothing of torch is named in it."""
    content = pickle.dumps(fitted)
    assert b"torch" not in content
    again = pickle.loads(content)
    assert np.array_equal(again.score_samples(digits()), fitted.score_samples(digits()))
    assert again.offset_ == fitted.offset_
    assert clone(again).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "offset_")
    assert pickle.loads(pickle.dumps(clone(fitted))).get_params() == fitted.get_params()


def test_a_run_directory_is_kept_and_never_written_over(tmp_path: Path) -> None:
    """The run can be used by everything else, a stored detector included; a second fit there is refused."""
    detector = tiny(run_dir=tmp_path / "kept").fit(digits())
    stored = load_detector(hebm.Run(tmp_path / "kept" / "run"))
    assert stored is not None
    assert len(stored.detector.calibration) == 200
    before = (tmp_path / "kept" / "images.npy").read_bytes()
    with pytest.raises(RunDirectoryError, match="not empty"):
        detector.fit(digits()[::-1])
    assert (tmp_path / "kept" / "images.npy").read_bytes() == before
