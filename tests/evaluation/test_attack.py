"""The suite on attacks: which images, in which order, what is counted, and the whole of it on a tiny run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.attacks.linear import LinearModel, images
from tests.training.tiny import tiny_config

from hebm.attacks import (
    HMCDefence,
    LatentAttack,
    LinfAttack,
    Reconstructions,
    distance_curves,
    symmetric_kl,
    take_rows,
)
from hebm.config import AttackConfig
from hebm.data import ImageSet, ResidentImages
from hebm.distributions import DiagonalNormal
from hebm.errors import DataError
from hebm.evaluation import evaluate
from hebm.evaluation.attack import attack_inputs, attacked_levels, latent_results, linf_results, summary
from hebm.evaluation.attack_images import Victims, choose_victims, fit_latent_classifier, posterior_scale
from hebm.evaluation.attack_systems import Answers, Inputs, ask_defended, ask_encoder
from hebm.evaluation.inferred import InferredImages
from hebm.metrics.ms_ssim import ms_ssim
from hebm.models import LatentPosterior
from hebm.randomness import named_generator
from hebm.training.loop import train

SETTINGS = AttackConfig(
    n_pairs=2,
    n_images=3,
    penalties=(1.0, 30.0, 100.0),
    n_steps=30,
    radii=(0.05, 0.1),
    n_linf_steps=5,
    n_restarts=2,
)
DEFENCE = HMCDefence(n_warmup=10, n_draws=8, n_leapfrog=2)
UNIT = (torch.ones(2, dtype=torch.float64), torch.ones(1, dtype=torch.float64))
SMALL = (
    "evaluation.attack.n_pairs=3",
    "evaluation.attack.n_images=4",
    "evaluation.attack.penalties=[1, 100]",
    "evaluation.attack.n_steps=10",
    "evaluation.attack.n_linf_steps=4",
    "evaluation.attack.n_restarts=2",
    "evaluation.attack.n_warmup=10",
    "evaluation.attack.n_draws=6",
    "evaluation.attack.n_leapfrog=2",
)


def victims() -> Victims:
    return Victims(images(3, 0), images(2, 1), None)


def random_inputs(n: int = 3) -> Inputs:
    """Three originals of four L∞ images each, two targets of five latent ones each."""
    original, target = images(3, 0, low=0, high=1), images(2, 1, low=0, high=1)
    linf = images(12, 2, low=0, high=1).reshape(3, 4, 1, 3, 3)
    return Inputs(original[:n], linf[:n], target, images(10, 3, low=0, high=1).reshape(2, 5, 1, 3, 3))


def image_set(n: int, *, labels: bool = True) -> ImageSet:
    """n images of one pixel whose value is their number."""
    numbers = np.arange(n)
    return ImageSet(
        "numbers", "test", numbers.astype(np.uint8).reshape(n, 1, 1, 1), numbers % 2 if labels else None
    )


def test_all_levels_and_each_alone_are_attacked() -> None:
    """A single level is attacked once."""
    assert attacked_levels(3) == {"all": (0, 1, 2), "level_0": (0,), "level_1": (1,), "level_2": (2,)}
    assert attacked_levels(1) == {"all": (0,)}


def test_victims_are_different_images_with_their_labels() -> None:
    """Originals and targets do not meet; the same seed chooses the same; asking for fewer drops the last."""
    many = choose_victims(image_set(40), 25, 12, seed=0, device=torch.device("cpu"))
    numbers = (many.originals.flatten() * 255).round().long(), (many.targets.flatten() * 255).round().long()
    assert len(set(torch.cat(numbers).tolist())) == 37
    assert many.labels is not None
    assert torch.equal(many.labels, numbers[0] % 2)
    few = choose_victims(image_set(40), 9, 5, seed=0, device=torch.device("cpu"))
    assert torch.equal(few.originals, many.originals[:9])
    assert torch.equal(few.targets, many.targets[:5])
    other = choose_victims(image_set(40), 9, 5, seed=1, device=torch.device("cpu"))
    assert not torch.equal(few.originals, other.originals)
    assert (
        choose_victims(image_set(40, labels=False), 9, 5, seed=0, device=torch.device("cpu")).labels is None
    )
    assert len(choose_victims(image_set(40), 2, 5, seed=0, device=torch.device("cpu")).originals) == 5
    with pytest.raises(DataError, match="25 originals and 12 targets"):
        choose_victims(image_set(36), 25, 12, seed=0, device=torch.device("cpu"))


def test_a_summary_by_hand() -> None:
    """Mean, sd / √n, median, an interval around the mean that knows the standard error; values stay in order."""
    found = summary([1.0, None, 2.0, 6.0], seed=0)
    assert (found["mean"], found["median"], found["n"]) == (3.0, 2.0, 3)
    assert found["se"] == pytest.approx(7**0.5 / 3**0.5)
    assert found["per_image"] == [1.0, None, 2.0, 6.0]
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wide = summary(values, seed=0)
    low, high = wide["interval"]
    assert (high - low) / (2 * 1.96 * wide["se"]) == pytest.approx(1, abs=0.1)
    assert (high + low) / 2 == pytest.approx(wide["mean"], abs=0.1 * wide["se"] + 0.01)
    assert summary(values, seed=0) == wide
    assert summary([2.0], seed=0)["interval"] is None
    assert summary([None], seed=0) == {
        "mean": None, "se": None, "median": None, "interval": None, "n": 0, "per_image": [None]
    }  # fmt: skip


def test_attacked_images_stand_in_the_order_of_levels_and_settings() -> None:
    """By set of levels, and within it by penalty or radius; each as if it had been attacked alone."""
    model, chosen = LinearModel(), victims()
    inputs = attack_inputs(model, chosen, SETTINGS, seed=0)
    assert inputs.latent.shape == (2, 9, 1, 3, 3)
    assert inputs.linf.shape == (3, 6, 1, 3, 3)
    posterior = model.encode(chosen.targets)
    for place, (name, levels) in enumerate(attacked_levels(2).items()):
        for k, penalty in enumerate(SETTINGS.penalties):
            alone = LatentAttack(SETTINGS.n_steps, SETTINGS.step_size)(
                model.encode,
                chosen.originals[1:2],
                take_rows(posterior, torch.tensor([1])),
                levels=levels,
                penalty=torch.tensor([penalty], dtype=torch.float64),
            )
            torch.testing.assert_close(inputs.latent[1:, place * 3 + k], alone.images, rtol=0, atol=1e-9)
        for k, radius in enumerate(SETTINGS.radii):
            starts = named_generator(0, "attack", "linf", name, str(radius))
            attack = LinfAttack(radius, SETTINGS.n_linf_steps, SETTINGS.n_restarts)
            alone_linf = attack(model.encode, chosen.originals[2:], levels=levels, generator=starts)
            torch.testing.assert_close(inputs.linf[2:, place * 2 + k], alone_linf.images, rtol=0, atol=1e-9)


def test_answers_are_laid_out_like_the_inputs() -> None:
    """Every reconstruction and posterior is that of the image in its place."""
    model, inputs = LinearModel(), random_inputs()
    answers = ask_encoder(model, inputs)
    for place in ("original", "linf", "target", "latent"):
        shown = getattr(inputs, place)
        with torch.no_grad():
            expected = model.decode(model.encode(shown.reshape(-1, 1, 3, 3)).mean).reshape(shown.shape)
        torch.testing.assert_close(getattr(answers.images, place), expected)
    with torch.no_grad():
        torch.testing.assert_close(
            answers.posterior_linf[0].mean, model.encode(inputs.linf.flatten(0, 1))[0].mean
        )
        torch.testing.assert_close(answers.posterior_original[1].mean, model.encode(inputs.original)[1].mean)
    assert answers.posterior_linf[1].scale.shape == (12, 1)


def test_the_defence_of_an_image_depends_on_the_seed_and_its_place_alone() -> None:
    """Fewer originals: the same answers for those left. Another seed: others. Equal inputs: equal answers."""
    model, inputs = LinearModel(torch.tensor([0.5, 0.0, -1.0]).double()), random_inputs()
    same = replace(inputs, linf=torch.cat([inputs.original[:, None], inputs.linf[:, 1:]], 1))
    answers, chains = ask_defended(model, same, DEFENCE, UNIT, seed=0)
    fewer, _ = ask_defended(model, random_inputs(2), DEFENCE, UNIT, seed=0)
    again, _ = ask_defended(model, replace(random_inputs(2), linf=same.linf[:2]), DEFENCE, UNIT, seed=0)
    other, _ = ask_defended(model, same, DEFENCE, UNIT, seed=1)
    torch.testing.assert_close(again.images.original, answers.images.original[:2], rtol=0, atol=1e-12)
    torch.testing.assert_close(again.images.latent, answers.images.latent, rtol=0, atol=1e-12)
    assert not torch.equal(other.images.latent, answers.images.latent)
    assert not torch.equal(fewer.images.linf, answers.images.linf[:2])
    torch.testing.assert_close(answers.images.linf[:, 0], answers.images.original, rtol=0, atol=1e-12)
    rows = [0, 0]
    twice = Inputs(same.original[rows], same.linf[rows], same.target[rows], same.latent[rows])
    repeated, _ = ask_defended(model, twice, DEFENCE, UNIT, seed=0)
    assert not torch.equal(repeated.images.linf[0], repeated.images.linf[1])  # the noise goes by place
    assert len(chains.step_sizes) == 3
    assert chains.acceptance.shape == (2 * 11 + 5,)


def test_the_defence_comes_to_the_exact_posterior() -> None:
    """Its answer is the mean of p(z|x), not that of q(z|x), in whatever units the chains move."""
    model, inputs = LinearModel(torch.tensor([0.5, 0.0, -1.0], dtype=torch.float64)), random_inputs(2)
    scale = (torch.tensor([0.5, 1.5], dtype=torch.float64), torch.tensor([0.7], dtype=torch.float64))
    answers, _ = ask_defended(model, inputs, HMCDefence(n_warmup=40, n_draws=80, n_leapfrog=4), scale, seed=0)
    mean, covariance = model.exact_posterior(inputs.original)
    found = torch.cat(answers.posterior_original.mean, 1)
    error = covariance.diagonal().sqrt() / 4  # 80 draws count for 16 or more
    assert ((found - mean).abs() < 4 * error).all()
    encoded = torch.cat(model.encode(inputs.original).mean, 1)
    assert ((encoded - mean).abs() > 8 * error).any()


def test_the_chains_move_in_the_units_they_are_given() -> None:
    """Units ten times as large: steps a tenth as large."""
    model, inputs = LinearModel(), random_inputs(2)
    defence = HMCDefence(n_warmup=40, n_draws=2, n_leapfrog=2)
    (_, plain), (_, large) = (
        ask_defended(model, inputs, defence, tuple(factor * u for u in UNIT), seed=0)
        for factor in (1.0, 10.0)
    )
    assert [b / a for a, b in zip(plain.step_sizes, large.step_sizes, strict=True)] == pytest.approx(
        [0.1] * 2, rel=0.3
    )


def two_answers(inputs: Inputs) -> dict[str, Answers]:
    """Of two models that differ."""
    other = LinearModel()
    other.w.data *= 0.7
    other.a.data += 0.3
    return {"without_defence": ask_encoder(LinearModel(), inputs), "with_defence": ask_encoder(other, inputs)}


def test_latent_results_are_of_the_level_set_asked_for() -> None:
    """Areas by hand from the columns of that set; the gain is with less without; curves are means with their errors."""
    settings, n = AttackConfig(penalties=(1.0, 2.0)), 8
    original, target = images(n, 6, low=0, high=1), images(n, 7, low=0, high=1)
    latent = images(6 * n, 5, low=0.2, high=0.9).reshape(n, 6, 1, 3, 3)
    inputs = Inputs(original, original[:, None], target, latent)
    answers = two_answers(inputs)
    for place in range(3):
        columns, areas = slice(2 * place, 2 * place + 2), {}
        found = latent_results(inputs, answers, settings, place, seed=0)
        for system, answer in answers.items():
            rebuilt = Reconstructions(
                answer.images.original, answer.images.target, answer.images.latent[:, columns]
            )
            curves = distance_curves(original, target, latent[:, columns], rebuilt)
            areas[system] = [None if curve is None else curve.area for curve in curves]
            assert found[system]["auddc"]["per_image"] == areas[system]
            rows = np.array([curve.at(np.linspace(0, 1, 21)) for curve in curves if curve is not None])
            assert len(rows) > 2
            np.testing.assert_allclose(found[system]["curve"]["mean"], rows.mean(0))
            error = rows.std(0, ddof=1) / len(rows) ** 0.5
            np.testing.assert_allclose(found[system]["curve"]["se"], error, atol=1e-12)
        pairs = zip(areas["with_defence"], areas["without_defence"], strict=True)
        gains = [None if a is None or b is None else a - b for a, b in pairs]
        assert found["auddc_gain"]["per_image"] == gains
        assert any(gains)


def test_linf_results_are_of_the_level_set_and_radius_asked_for() -> None:
    """Similarities and divergences by hand, from the column of that set and radius, on the attacked levels."""
    settings, inputs = AttackConfig(radii=(0.1, 0.3)), random_inputs()
    answers, models = two_answers(inputs), {}
    models["without_defence"] = LinearModel()
    for place, levels in enumerate([(0, 1), (1,)]):
        entries = linf_results(inputs, answers, settings, place, levels, None, None, seed=0)
        assert [entry["radius"] for entry in entries] == [0.1, 0.3]
        for number, entry in enumerate(entries):
            column = 2 * place + number
            shown, model = inputs.linf[:, column], models["without_defence"]
            with torch.no_grad():
                divergence = symmetric_kl(model.encode(shown), model.encode(inputs.original), levels)
                rebuilt = [model.decode(model.encode(x).mean) for x in (inputs.original, shown)]
            assert entry["ms_ssim_input"]["per_image"] == pytest.approx(
                ms_ssim(inputs.original, shown).tolist()
            )
            plain = entry["without_defence"]
            assert plain["latent_skl"]["per_image"] == pytest.approx(divergence.tolist())
            assert plain["ms_ssim_reconstruction"]["per_image"] == pytest.approx(ms_ssim(*rebuilt).tolist())
            assert plain["accuracy"] is None
            assert entry["with_defence"]["latent_skl"]["mean"] != plain["latent_skl"]["mean"]


def inferred(mean: torch.Tensor, scale: float) -> InferredImages:
    """The images of a set of one pixel each, with given posterior means [N, d] on one level."""
    posterior = LatentPosterior((DiagonalNormal(mean, torch.full_like(mean, scale)),))
    return InferredImages(ResidentImages(image_set(len(mean)), "cpu"), torch.arange(len(mean)), posterior)


def test_the_classifier_reads_units_in_use_and_ignores_the_others() -> None:
    """A second unit whose mean tells the class by a hair, far below its posterior's scale, does not count."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(200) % 2
    used = (2.0 * label - 1)[:, None] + 0.3 * torch.randn(200, 1, generator=generator)
    mean, scale = (
        torch.cat([used, 1e-3 * (2.0 * label - 1)[:, None]], 1),
        torch.tensor([0.1, 1.0]).expand(200, 2),
    )
    posterior = LatentPosterior((DiagonalNormal(mean, scale),))
    known = InferredImages(ResidentImages(image_set(200), "cpu"), torch.arange(200), posterior)
    classifier = fit_latent_classifier(known, image_set(200), seed=0)
    assert classifier is not None
    assert classifier.is_right(posterior, label).mean() > 0.97
    moved = LatentPosterior((DiagonalNormal(mean + torch.tensor([0.0, 2.0]), scale),))
    assert classifier.is_right(moved, label).mean() > 0.97
    assert classifier.is_right(posterior, 1 - label).mean() < 0.03
    assert fit_latent_classifier(known, image_set(200, labels=False), seed=0) is None
    rms = posterior_scale(known)[0]
    torch.testing.assert_close(rms, torch.tensor([0.1, 1.0]))


def test_the_units_of_the_chains_are_root_mean_squares() -> None:
    """Of the scales over images."""
    posterior = LatentPosterior((DiagonalNormal(torch.zeros(2, 1), torch.tensor([[3.0], [4.0]])),))
    known = replace(inferred(torch.zeros(2, 1), 1.0), posterior=posterior)
    assert posterior_scale(known)[0].item() == pytest.approx(12.5**0.5)


@pytest.fixture(scope="module")
def run_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of the suite on a tiny run."""
    directory = tmp_path_factory.mktemp("attack") / "run"
    run = train(tiny_config(*SMALL), directory)
    file = evaluate(run, "attack")
    assert isinstance(file, Path)
    results: dict[str, Any] = json.loads(file.read_text())["results"]
    again = json.loads(evaluate(run, "attack").read_text())["results"]
    assert again == results  # the same seed, the same numbers
    return results


def test_the_result_file_has_what_it_promises(run_results: dict[str, Any]) -> None:
    """Per attacked level and system: areas, curves, similarities, divergences, accuracies, one value per image."""
    assert run_results["attacked"] == ["all", "level_0", "level_1"]
    assert run_results["ms_ssim_scales"] == 1
    assert run_results["defence"]["has_energy"] is True
    assert run_results["defence"]["n_moves"] == 16
    for place, name in enumerate(run_results["attacked"]):
        row = run_results["per_level"][name]
        for system in ("without_defence", "with_defence"):
            latent = row["latent"][system]
            assert len(latent["auddc"]["per_image"]) == 3
            assert run_results[f"auddc_{system}"][place] == latent["auddc"]["mean"]
            if latent["curve"]["mean"] is not None:
                assert latent["curve"]["mean"][0] == pytest.approx(1)
                assert len(latent["curve"]["mean"]) == len(latent["curve"]["budget"]) == 21
        areas = [row["latent"][s]["auddc"]["per_image"] for s in ("with_defence", "without_defence")]
        gains = row["latent"]["auddc_gain"]["per_image"]
        assert gains == [None if None in pair else pair[0] - pair[1] for pair in zip(*areas, strict=True)]
        assert [entry["radius"] for entry in row["linf"]] == [0.1, 0.2]
        for entry in row["linf"]:
            assert 0 <= entry["ms_ssim_input"]["mean"] < 1
            for system in ("without_defence", "with_defence"):
                assert entry[system]["latent_skl"]["mean"] > 0
                assert entry[system]["accuracy"]["n"] == 4
    clean = run_results["clean"]["without_defence"]
    assert set(clean["accuracy"]["per_image"]) <= {0.0, 1.0}


def test_a_larger_radius_reaches_further(run_results: dict[str, Any]) -> None:
    """On the attacked levels, without the defence; and the attack on all levels beats those on one in their sum."""
    for row in run_results["per_level"].values():
        small, large = (entry["without_defence"]["latent_skl"]["mean"] for entry in row["linf"])
        assert large > small
        assert row["linf"][1]["ms_ssim_input"]["mean"] < row["linf"][0]["ms_ssim_input"]["mean"]
