"""Subsets are nested and stratified, probes find what is there and no more, and the suite's fields say so."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from tests.training.tiny import tiny_config

from hebm.build import build_images, build_model
from hebm.errors import ConfigError, NonFiniteError, UnsupportedError
from hebm.evaluation import control_codes as controls_module
from hebm.evaluation import sample_efficiency as suite_module
from hebm.evaluation import suite_names
from hebm.evaluation.control_codes import Codes, ImagePair, control_codes, model_codes, trunk_codes
from hebm.evaluation.label_subsets import nested_order, subset_sizes
from hebm.evaluation.linear_probe import chosen_variance, fit_linear_probe
from hebm.evaluation.sample_efficiency import evaluate_sample_efficiency

SECTION = "evaluation.sample_efficiency"
BRIEF = [
    "data.limit=300",
    f"{SECTION}.shares=[0.1, 0.4, 1.0]",
    f"{SECTION}.n_subsets=2",
    f"{SECTION}.weight_variances=[0.01, 0.1]",
    f"{SECTION}.batch_size=20",
    f"{SECTION}.simclr_steps=4",
    f"{SECTION}.bigan_steps=3",
]
WITHOUT_CONTROLS = [*BRIEF, f"{SECTION}.controls=[]"]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uneven_labels() -> NDArray[np.int64]:
    return np.repeat([3, 5, 9], [600, 300, 101])


def noise(n: int, d: int, seed: int = 0) -> NDArray[np.float64]:
    return torch.randn(n, d, generator=stream(seed), dtype=torch.float64).numpy()


def test_every_prefix_has_the_classes_in_their_proportions() -> None:
    """Within one item of each class, at any number, though classes are of unequal size and sorted."""
    labels = uneven_labels()
    order = nested_order(labels, stream())
    assert sorted(order.tolist()) == list(range(len(labels)))
    for value in (3, 5, 9):
        seen = np.cumsum(labels[order] == value)
        expected = np.arange(1, len(labels) + 1) * (labels == value).mean()
        assert np.abs(seen - expected).max() <= 1


def test_subsets_are_random_within_the_classes() -> None:
    """Another generator takes others; no item of a class is preferred, nor a class among equals."""
    labels = np.arange(40) % 4
    orders = [nested_order(labels, stream(seed)) for seed in range(600)]
    assert np.array_equal(orders[0], nested_order(labels, stream(0)))
    chances = np.bincount(np.concatenate([order[:4] for order in orders]), minlength=40) / 600
    assert np.abs(chances - 0.1).max() < 5 * math.sqrt(0.1 * 0.9 / 600)
    first = np.bincount([labels[order[0]] for order in orders], minlength=4) / 600
    assert np.abs(first - 0.25).max() < 5 * math.sqrt(0.25 * 0.75 / 600)


def test_sizes_are_shares_and_too_small_ones_are_refused() -> None:
    """Rounded; at least ten images, and one for each class."""
    labels = np.arange(1000) % 20
    assert subset_sizes((0.02, 0.0756, 1.0), labels) == [20, 76, 1000]
    with pytest.raises(ConfigError, match=r"share 0\.019 of 1000 images is 19, but a probe needs 20"):
        subset_sizes((0.019, 1.0), labels)
    with pytest.raises(ConfigError, match="a probe needs 10"):
        subset_sizes((0.009, 1.0), np.arange(1000) % 2)


@pytest.mark.parametrize("shares", ["[]", "[0.0, 1.0]", "[0.5, 1.5]", "[0.5, 0.1]", "[0.5, 0.5]"])
def test_shares_that_do_not_rise_within_one_are_refused(shares: str) -> None:
    """Before anything is loaded."""
    with pytest.raises(ConfigError, match="shares"):
        tiny_config(f"{SECTION}.shares={shares}")


def test_probes_know_labels_and_do_not_know_noise() -> None:
    """One-hot labels: accuracy 1 from a few of each. Noise: chance, within the error of 5,000 guesses."""
    labels = np.arange(5000) % 10
    learn, judge = slice(0, 60), slice(60, None)
    one_hot = np.eye(10)[labels]
    probe = fit_linear_probe(one_hot[learn], labels[learn], (0.01, 1.0))
    assert probe.accuracy(one_hot[judge], labels[judge]) == 1
    codes = noise(5000, 4)
    probe = fit_linear_probe(codes[:1000], labels[:1000], (0.01, 1.0))
    accuracy = probe.accuracy(codes[1000:], labels[1000:])
    assert abs(accuracy - 0.1) < 5 * math.sqrt(0.1 * 0.9 / 4000)


def test_a_probe_reaches_the_error_of_the_truth() -> None:
    """Two normals at ±1: Φ(1) = 0.8413."""
    labels = np.arange(20_000) % 2
    codes = noise(20_000, 2)
    codes[:, 0] += 2 * labels - 1
    probe = fit_linear_probe(codes[:4000], labels[:4000], (0.1,))
    bayes = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    found = probe.accuracy(codes[4000:], labels[4000:])
    assert abs(found - bayes) < 5 * math.sqrt(bayes * (1 - bayes) / 16_000)
    assert probe.has_converged


def test_regularisation_follows_what_the_subset_says() -> None:
    """Noise: the weakest weights; a clear signal: the strongest. The choice is the definition, item by item."""
    labels = (np.arange(200) % 4)[torch.randperm(200, generator=stream(5)).numpy()]
    variances = (0.0001, 0.01, 1.0)
    codes, one_hot = noise(200, 30), np.eye(4, 30)[labels]
    assert chosen_variance(codes, labels, variances) == 0.0001
    assert chosen_variance(codes / 10 + one_hot, labels, variances) == 1.0
    mixed = codes + 0.6 * one_hot
    judged = np.arange(200) % 4 == 3
    losses = []
    for variance in variances:
        model = LogisticRegression(C=variance).fit(mixed[~judged], labels[~judged])
        losses.append(-model.predict_log_proba(mixed[judged])[np.arange(50), labels[judged]].mean())
    assert chosen_variance(mixed, labels, variances) == variances[int(np.argmin(losses))] == 0.01


def test_only_the_first_items_choose_and_all_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 items choose, of which 1,500 are learned from; the last fit has all of them, with what was chosen."""
    fits: list[tuple[int, float]] = []
    original = LogisticRegression.fit

    def watched(self: LogisticRegression, codes: object, labels: object) -> object:
        fits.append((len(codes), self.C))  # type: ignore[arg-type]
        return original(self, codes, labels)

    monkeypatch.setattr(LogisticRegression, "fit", watched)
    labels = np.arange(2500) % 2
    codes = noise(2500, 2) + 6 * np.eye(2)[labels]
    assert fit_linear_probe(codes, labels, (0.001, 0.1)).variance == 0.1
    assert fits == [(1500, 0.001), (1500, 0.1), (2500, 0.1)]
    fits.clear()
    fit_linear_probe(codes[:13], labels[:13], (0.001, 0.1))
    assert [n for n, _ in fits] == [10, 10, 13]
    fits.clear()
    fit_linear_probe(codes[:50], labels[:50], (0.1,))
    assert fits == [(50, 0.1)]


def test_a_class_seen_once_is_no_reason_to_stop() -> None:
    """The rarest class may be among the judged alone; it then costs all variances the same."""
    labels = np.array([0, 1, 0, 2, 0, 1, 0, 1, 0, 1, 0, 1])
    codes = noise(12, 2) + 5 * np.eye(3, 2)[labels]
    assert fit_linear_probe(codes, labels, (0.01, 1.0)).variance == 1.0


def test_a_fit_that_was_cut_short_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a flag; no warning gets out."""
    monkeypatch.setattr("hebm.evaluation.linear_probe.MAX_ITERATIONS", 2)
    labels = np.arange(300) % 3
    assert not fit_linear_probe(noise(300, 5) + np.eye(3, 5)[labels], labels, (1.0,)).has_converged


def known_codes(model: object, images: ImagePair) -> tuple[Codes, ...]:
    """The top level is the label, the other noise, with odd units."""
    labels = [torch.from_numpy(image_set.labels) for image_set in images]
    return (
        Codes(*(1000 * torch.nn.functional.one_hot(part, 10).double() + 7 for part in labels)),
        Codes(*(torch.from_numpy(noise(len(part), 2, seed=len(part))) for part in labels)),
    )


def test_the_suite_reads_every_representation_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A top level that is the label: 1 at every share; noise below: chance; both together: nearly 1."""
    config = tiny_config(*WITHOUT_CONTROLS, "data.limit=null")
    monkeypatch.setattr(suite_module, "model_codes", known_codes)
    results = evaluate_sample_efficiency(build_model(config), config, seed=0)
    found = results["representations"]
    assert list(found) == ["level_0", "level_1", "all", "trunk"]
    assert found["level_0"]["mean"] == [1, 1, 1]
    assert max(found["level_1"]["mean"]) < 0.1 + 5 * math.sqrt(0.09 / 360)
    assert min(found["all"]["mean"]) > 0.95
    assert [found[name]["dim"] for name in found] == [10, 2, 12, 16]
    assert found["level_1"]["n"] == [2, 2, 1]
    assert [len(row) for row in found["level_1"]["accuracy"]] == [2, 2, 1]
    assert found["level_1"]["sd"][2] is None
    first = found["level_1"]["accuracy"][0]
    assert found["level_1"]["mean"][0] == pytest.approx(np.mean(first))
    assert found["level_1"]["sd"][0] == pytest.approx(np.std(first, ddof=1))
    assert found["level_0"]["sd"][:2] == [0, 0]
    assert len(set(found["level_1"]["accuracy"][0])) == 2  # other images in every subset


def test_probes_are_judged_on_the_test_images_alone() -> None:
    """Codes that name the class of what is learned from and the next class of what is judged: never right."""
    labels = np.arange(60) % 3
    judge = suite_module._Judge((labels, labels[:30]), [np.arange(60)], [30, 60], (0.1,))
    one_hot = torch.eye(3).double()
    codes = Codes(one_hot[labels], one_hot[(labels[:30] + 1) % 3])
    assert judge.curve("level_0", codes)["accuracy"] == [[0], [0]]
    assert judge.subsets(30)[0].tolist() == list(range(30))


def test_the_suites_fields_count_images_and_labels() -> None:
    """The test split is whole though training is limited; three levels have a pair on top; seeds are reproducible."""
    three = "model.levels=[{latents: 3, channels: 16}, {latents: 2, channels: 8}, {latents: 2, channels: 8}]"
    config = tiny_config(*WITHOUT_CONTROLS, three)
    model = build_model(config)
    before = torch.random.get_rng_state()
    results = evaluate_sample_efficiency(model, config, seed=0)
    assert results["n_labels"] == [30, 120, 300]
    assert (results["n_train"], results["n_test"], results["n_classes"]) == (300, 360, 10)
    assert results["shares"] == [0.1, 0.4, 1.0]
    labels = build_images(tiny_config("data.limit=null"), "test").labels
    assert results["chance"] == np.bincount(labels).max() / 360
    assert list(results["representations"]) == ["level_0", "level_1", "level_2", "top_2", "all", "trunk"]
    assert [row["dim"] for row in results["representations"].values()] == [3, 2, 2, 5, 7, 16]
    assert evaluate_sample_efficiency(model, config, seed=0) == results
    other = evaluate_sample_efficiency(model, config, seed=1)["representations"]
    assert other["all"]["accuracy"][0] != results["representations"]["all"]["accuracy"][0]
    assert other["all"]["accuracy"][2] == results["representations"]["all"]["accuracy"][2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_controls_stand_beside_the_run() -> None:
    """Each with its codes; an untrained run is its own untrained control to the last bit, others are not."""
    config = tiny_config(*BRIEF)
    model = build_model(config)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    results = evaluate_sample_efficiency(model, config, seed=0)
    found = results["representations"]
    dims = {name: found[name]["dim"] for name in list(found)[4:]}
    assert dims == {
        "simclr_top": 3,
        "simclr_trunk": 16,
        "bigan_top": 3,
        "bigan_trunk": 16,
        "bigan_all": 5,
        "untrained_top": 3,
        "untrained_trunk": 16,
        "pca": 5,
        "pixels": 64,
    }
    assert found["untrained_top"] == found["level_0"]
    assert found["untrained_trunk"] == found["trunk"]
    assert found["simclr_trunk"]["accuracy"] != found["trunk"]["accuracy"]
    assert found["bigan_all"]["accuracy"] != found["all"]["accuracy"]
    assert found["pixels"]["mean"][2] > found["pca"]["mean"][2] > results["chance"]
    assert results["controls"]["simclr"]["n_steps"] == 4
    assert results["controls"]["bigan"]["n_steps"] == 3
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())


def test_trained_controls_get_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps, batch, rates, temperature and seed arrive; the nets are fresh, and trained on all training images."""
    config = tiny_config(
        *BRIEF, f"{SECTION}.simclr_lr=0.003", f"{SECTION}.bigan_lr=0.004", f"{SECTION}.simclr_temperature=0.7"
    )
    calls: dict[str, dict[str, object]] = {}

    def remember(name: str, result: object) -> object:
        def call(*nets: object, **settings: object) -> object:
            calls[name] = {**settings, "n_images": len(nets[-1])}  # type: ignore[arg-type]
            assert next(nets[0].parameters()).requires_grad  # type: ignore[attr-defined]
            return result

        return call

    monkeypatch.setattr(controls_module, "train_simclr", remember("simclr", [2.0, 1.0]))
    losses = type("Losses", (), {"discriminator": [1.0, 0.5], "generator": [2.0, 3.0]})
    monkeypatch.setattr(controls_module, "train_bigan", remember("bigan", losses))
    images = ImagePair(build_images(config, "train"), build_images(tiny_config("data.limit=250"), "test"))
    device = torch.device("cpu")
    _, told = control_codes("simclr", config, images, seed=5, device=device)
    assert told == {"n_steps": 2, "first_loss": 2.0, "last_loss": 1.0}
    _, told = control_codes("bigan", config, images, seed=5, device=device)
    assert told == {"n_steps": 2, "last_discriminator_loss": 0.5, "last_generator_loss": 3.0}
    shared = {"batch_size": 20, "seed": 5, "n_images": 300}
    assert calls["simclr"] == {"n_steps": 4, "lr": 0.003, "temperature": 0.7, **shared}
    assert calls["bigan"] == {"n_steps": 3, "lr": 0.004, **shared}


def test_pca_and_pixels_are_what_they_are_called() -> None:
    """Components are uncorrelated, of falling spread, and of the training images; pixels are the images."""
    config = tiny_config(*BRIEF)
    images = ImagePair(build_images(config, "train"), build_images(config, "test"))
    device = torch.device("cpu")
    (pixels,) = control_codes("pixels", config, images, seed=0, device=device)[0].values()
    expected = images.test.images.reshape(len(images.test), -1) / 255
    np.testing.assert_allclose(pixels.test.numpy(), expected, rtol=1e-6)
    (pca,) = control_codes("pca", config, images, seed=0, device=device)[0].values()
    covariance = torch.cov(pca.train.T)
    torch.testing.assert_close(covariance, torch.diag(covariance.diagonal()), atol=1e-9, rtol=0)
    assert (covariance.diagonal().diff() < 0).all()
    truth = torch.linalg.eigvalsh(torch.cov(pixels.train.double().T)).flip(0)[:5]
    torch.testing.assert_close(covariance.diagonal(), truth)
    assert pca.test.shape == (len(images.test), 5)


def test_trunk_codes_are_the_features_of_the_images_in_order() -> None:
    """The top level's mean is a linear map of them, in blocks of rows too."""
    config = tiny_config("data.limit=600")
    model = build_model(config)
    images = ImagePair(build_images(config, "train"), build_images(config, "test"))
    trunk, top = trunk_codes(model, images), model_codes(model, images)[0]
    with torch.no_grad():
        for features, mean in zip(trunk, top, strict=True):
            torch.testing.assert_close(model.encoder.heads[-1].mean(features), mean, rtol=1e-4, atol=1e-5)


def test_pixels_have_one_unit_and_codes_each_their_own() -> None:
    """A pixel that hardly varies is not blown up; codes have spread one."""
    train = torch.from_numpy(noise(500, 3)) * torch.tensor([1.0, 1e-4, 0.5]) + 3
    pixels, judged = suite_module._in_units("pixels", Codes(train, train[:5]))
    assert pixels.mean(0) == pytest.approx([0, 0, 0], abs=1e-9)
    assert np.square(pixels).mean() == pytest.approx(1)
    assert pixels[:, 1].std() < 1e-3
    np.testing.assert_allclose(judged, pixels[:5])
    codes, _ = suite_module._in_units("level_0", Codes(train, train[:5]))
    np.testing.assert_allclose(codes.std(0, ddof=1), [1, 1, 1])


def test_sets_that_cannot_be_probed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No labels, one class, or a test label that was never learned; `all` leaves the suite out."""
    config = tiny_config(*WITHOUT_CONTROLS)
    model, real = build_model(config), build_images

    def without(config: object, split: str) -> object:
        return replace(real(config, split), labels=None)

    def of_one(config: object, split: str) -> object:
        images = real(config, split)
        return replace(images, labels=0 * images.labels)

    def other(config: object, split: str) -> object:
        images = real(config, split)
        return replace(images, labels=images.labels + 5 * (split == "test"))

    for images, match in ((without, "read labels"), (of_one, "two classes"), (other, "test label 10 ")):
        monkeypatch.setattr(suite_module, "build_images", images)
        with pytest.raises(UnsupportedError, match=match):
            evaluate_sample_efficiency(model, config, seed=0)
    assert "sample_efficiency" not in suite_names(["all"])


def test_codes_that_are_not_numbers_stop_the_suite() -> None:
    """Named, not passed on."""
    with pytest.raises(NonFiniteError, match="codes of level_0"):
        suite_module._in_units("level_0", Codes(torch.full((3, 1), torch.nan), torch.zeros(2, 1)))
