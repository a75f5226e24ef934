"""Probes find what is there and no more; intervals are Wilson's; the suite's fields are the contract's."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from tests.training.tiny import tiny_config
from torch import Tensor

from hebm.build import build_images, build_model
from hebm.config import ProbeConfig
from hebm.errors import ConfigError, DataError, NonFiniteError
from hebm.evaluation import probe as probe_module
from hebm.evaluation import suite_names
from hebm.evaluation.probe import accuracy_interval, evaluate_probe, probe_levels
from hebm.evaluation.probe_network import (
    LabelledCodes,
    linear_accuracy,
    probe_score,
    standardised,
    train_probe,
)
from hebm.metrics import label_information

SETTINGS = ProbeConfig(n_seeds=2, n_epochs=2, min_steps=200)
BRIEF = ["evaluation.probe.n_epochs=1", "evaluation.probe.n_seeds=2", "evaluation.probe.min_steps=60"]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int, seed: int) -> Tensor:
    return torch.randn(n, d, generator=stream(seed))


def two_normals(n: int, distance: float, seed: int) -> LabelledCodes:
    """Classes at -distance and +distance on one axis of two."""
    labels = torch.arange(n) % 2
    codes = normal(n, 2, seed)
    codes[:, 0] += distance * (2 * labels - 1)
    return LabelledCodes(codes, labels)


def ring(n: int, seed: int) -> LabelledCodes:
    """Inside and outside of a circle: no line tells them apart."""
    codes = normal(n, 2, seed)
    return LabelledCodes(codes, (codes.square().sum(1) > 2 * math.log(2)).long())


def test_a_probe_reaches_the_error_and_the_information_of_the_truth() -> None:
    """Two normals at ±1: accuracy Φ(1) = 0.8413, and I(z; y) = 0.337 nats by quadrature, approached from below."""
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    odds = 2 * z  # log p(z|1) / p(z|0)
    density = torch.exp(-0.5 * (z - 1).square()) / math.sqrt(2 * math.pi)
    information = math.log(2) - torch.trapezoid(density * torch.nn.functional.softplus(-odds), z).item()
    test = two_normals(20_000, 1.0, seed=1)
    score = probe_score(train_probe(two_normals(6000, 1.0, seed=0), 2, SETTINGS, generator=stream()), test)
    bayes = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert abs(score.accuracy - bayes) < 5 * math.sqrt(bayes * (1 - bayes) / 20_000)
    bound = label_information(score.cross_entropy, test.labels)
    assert information - 0.03 < bound < information + 0.02


def test_a_probe_finds_what_no_line_finds() -> None:
    """A disc within a ring: the linear classifier guesses, the probe does not; on linear codes both are right."""
    train, test = ring(4000, 0), ring(4000, 1)
    assert linear_accuracy(train, test) < 0.7
    assert probe_score(train_probe(train, 2, SETTINGS, generator=stream()), test).accuracy > 0.97
    apart = two_normals(2000, 4.0, seed=0), two_normals(2000, 4.0, seed=1)
    assert linear_accuracy(*apart) > 0.999


def test_a_probe_is_the_documented_network() -> None:
    """Two linear layers, 256 hidden units, a ReLU between, and nothing else."""
    network = train_probe(ring(500, 0), 3, SETTINGS, generator=stream())
    assert [tuple(p.shape) for p in network.parameters()] == [(256, 2), (256,), (3, 256), (3,)]
    w1, b1, w2, b2 = network.parameters()
    z = normal(5, 2, seed=2)
    torch.testing.assert_close(network(z), (z @ w1.T + b1).relu() @ w2.T + b2)


def test_few_items_get_enough_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fewer steps than asked for, the rate falling linearly to zero; with many items, all epochs."""
    rates: list[float] = []
    original = torch.optim.Adam.step

    def counted(self: torch.optim.Adam, *args: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        return original(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", counted)
    train_probe(ring(60, 0), 2, SETTINGS, generator=stream())
    assert len(rates) == 200
    assert rates[0] == SETTINGS.lr
    np.testing.assert_allclose(np.diff(rates), -(SETTINGS.lr - SETTINGS.lr / 200) / 200, rtol=1e-6)
    rates.clear()
    train_probe(ring(1000, 0), 2, ProbeConfig(n_epochs=60, min_steps=50, batch_size=1000), generator=stream())
    assert len(rates) == 60


def test_probes_are_reproducible() -> None:
    """The same generator, the same weights; another one, others; the global stream is untouched."""
    before = torch.random.get_rng_state()
    first, again, other = (train_probe(ring(300, 0), 2, SETTINGS, generator=stream(s))[0] for s in (0, 0, 1))
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_codes_are_brought_to_the_training_codes_units() -> None:
    """Mean 0 and spread 1 of the training codes; a constant unit stays finite."""
    train = 5 + 3 * normal(400, 2, seed=0)
    train[:, 1] = 2.0
    ours, test = standardised(train, train[:7] + 3 * torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(ours[:, 0].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours[:, 0].std(), torch.tensor(1.0))
    torch.testing.assert_close((test - ours[:7])[:, 0], (3 / train[:, 0].std()).expand(7), rtol=1e-4, atol=0)
    assert (ours[:, 1] == 0).all()


@pytest.mark.parametrize(("right", "n"), [(84, 100), (100, 100), (0, 40), (8432, 10_000)])
def test_without_spread_over_seeds_the_interval_is_wilsons(right: int, n: int) -> None:
    """Against SciPy's, also where all or none are right."""
    expected = binomtest(right, n).proportion_ci(confidence_level=0.9500042097, method="wilson")
    assert accuracy_interval([right / n] * 3, n) == pytest.approx([expected.low, expected.high], abs=1e-9)


def test_spread_over_seeds_widens_the_interval() -> None:
    """With many images it is 1.96 standard errors of the mean over seeds on either side."""
    low, high = accuracy_interval([0.6, 0.7, 0.8], 10**9)
    assert (low + high) / 2 == pytest.approx(0.7)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.1 / math.sqrt(3), rel=1e-4)
    assert accuracy_interval([0.9, 1.0], 100)[1] == 1.0


def test_seeds_differ_and_are_summed_up() -> None:
    """Mean and sample deviation of the listed accuracies; each seed's probe is another."""
    train, test = two_normals(300, 0.7, seed=0), two_normals(1332, 0.7, seed=1)
    unequal = torch.arange(1332) % 4 < 3  # two of class 0 on one of class 1: not the training labels' entropy
    test = LabelledCodes(test.codes[unequal], test.labels[unequal])
    settings = ProbeConfig(n_seeds=3, n_epochs=1, min_steps=20)
    codes, labels = (train.codes, test.codes), (train.labels, test.labels)
    result = probe_levels(codes, labels, settings, seed=0, name="0")
    assert result["mean"] == pytest.approx(np.mean(result["accuracy"]))
    assert result["sd"] == pytest.approx(np.std(result["accuracy"], ddof=1))
    assert result["sd"] > 0
    assert result["interval"] == accuracy_interval(result["accuracy"], 999)
    assert result["label_information"] == pytest.approx(
        label_information(result["cross_entropy"], test.labels)
    )
    assert probe_levels(codes, labels, settings, seed=0, name="0") == result
    assert probe_levels(codes, labels, settings, seed=1, name="0")["accuracy"] != result["accuracy"]


def test_the_suite_reads_each_level_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose top level is the label and whose other level is noise: 1 above, chance below, top first."""
    config = tiny_config(*BRIEF, "data.limit=300")

    def codes(model: object, image_set: object) -> tuple[Tensor, Tensor]:
        labels = torch.from_numpy(image_set.labels)
        return torch.nn.functional.one_hot(labels, 10).float(), normal(len(labels), 2, seed=len(labels))

    monkeypatch.setattr(probe_module, "inferred_codes", codes)
    results = evaluate_probe(build_model(config), config, seed=0)
    assert results["mean"][0] == results["linear"][0] == 1
    assert results["mean"][1] < 0.25
    assert results["all_levels"]["mean"] > 0.9
    assert [len(row) for row in results["accuracy"]] == [2, 2]
    assert results["n_seeds"] == 2
    assert (results["n_train"], results["n_test"], results["n_classes"]) == (300, 300, 10)
    labels = build_images(config, "test").labels
    assert results["chance"] == np.bincount(labels).max() / 300
    assert results["label_information"][0] == pytest.approx(results["label_entropy"], abs=0.01)


def test_untrained_encoders_are_probed_without_a_label_in_sight_of_training() -> None:
    """From images to fields; the labels' values do not matter, only which are alike."""
    config = tiny_config(*BRIEF)
    results = evaluate_probe(build_model(config), config, seed=0)
    assert results["codes"] == "posterior mean"
    assert len(results["mean"]) == len(results["sd"]) == len(results["interval"]) == 2
    assert results["all_levels"]["mean"] > results["chance"]


def test_sets_that_cannot_be_probed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No labels, or a held-out label that was never learned; `all` leaves out what asks for labels or factors."""
    config = tiny_config()
    model, real = build_model(config), build_images

    def without(config: object, split: str) -> object:
        return replace(real(config, split), labels=None)

    def other(config: object, split: str) -> object:
        images = real(config, split)
        return replace(images, labels=images.labels + 5 * (split == "test"))

    for images, match in ((without, "has none"), (other, "held-out label 10 ")):
        monkeypatch.setattr(probe_module, "build_images", images)
        with pytest.raises(DataError, match=match):
            evaluate_probe(model, config, seed=0)
    assert not {"probe", "disentangle"} & set(suite_names(["all"]))
    assert suite_names(["all", "probe"])[-1] == "probe"
    with pytest.raises(ConfigError, match="probe"):
        suite_names(["prope"])


def test_codes_that_are_not_numbers_stop_the_probe() -> None:
    """Named, not passed on."""
    codes = LabelledCodes(torch.full((10, 1), torch.nan), torch.arange(10) % 2)
    with pytest.raises(NonFiniteError, match="probe"):
        train_probe(codes, 2, SETTINGS, generator=stream())
