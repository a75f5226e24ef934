"""What a level holds, on models whose answer is known: decoders that show one level, priors of known coupling."""

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.tiny import tiny_config
from torch import Tensor

from hebm.build import build_model
from hebm.config import RunConfig
from hebm.data import ImageSet, ResidentImages
from hebm.distributions import DiagonalNormal
from hebm.errors import ConfigError
from hebm.evaluation.hierarchy_tests import (
    evaluate_hierarchy,
    level_information,
    redrawn_distances,
    swap_shares,
)
from hebm.evaluation.inferred import InferredImages
from hebm.latents import Latents
from hebm.models import LatentPosterior

COUPLING = 0.8


class Shown:
    """A stand-in for a model: images are the latents themselves; two levels of one unit, correlated by 0.8."""

    device = torch.device("cpu")

    def decode(self, latents: Latents) -> Tensor:
        return torch.cat(latents, 1)[:, None, None, :]

    def sample_prior(self, n: int, *, n_steps: int | None, generator: torch.Generator) -> Latents:
        top, noise = torch.randn(2, n, 1, generator=generator, dtype=torch.float64)
        return top, COUPLING * top + math.sqrt(1 - COUPLING**2) * noise

    def resample(self, latents: Latents, levels: Collection[int], *, generator: torch.Generator) -> Latents:
        (level,) = levels
        other = latents[1 - level]
        noise = torch.randn(other.shape, generator=generator, dtype=other.dtype)
        drawn = COUPLING * other + math.sqrt(1 - COUPLING**2) * noise
        return (drawn, latents[1]) if level == 0 else (latents[0], drawn)


class Pixels:
    """An extractor that takes the image for its features."""

    dim = 2

    def __call__(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def inferred(*means: Tensor, scale: float = 0.1) -> InferredImages:
    """Images of no matter what with given posteriors."""
    n = len(means[0])
    pictures = ImageSet("mine", "test", np.zeros((n, 1, 8, 8), np.uint8))
    levels = tuple(DiagonalNormal(m, torch.full_like(m, scale)) for m in means)
    return InferredImages(ResidentImages(pictures, "cpu"), torch.arange(n), LatentPosterior(levels))


def shares(labels: Tensor, *means: Tensor, judge: object, n: int = 400) -> dict[str, list[float]]:
    return swap_shares(Shown(), inferred(*means), labels, judge, n, seed=0)


LABELS = torch.arange(60) % 3
COLUMN = LABELS[:, None].double()


def test_the_label_follows_the_level_that_shows_it() -> None:
    """Top level the label, bottom level noise: a swap of the top moves the label, one of the bottom never does."""
    noise = torch.rand(60, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = shares(LABELS, COLUMN, noise, judge=lambda x: x[:, 0, 0, 0].long())
    assert result["follows"] == [1, 0]
    assert result["keeps"] == [0, 1]
    assert result["other"] == [0, 0]
    assert result["follows_se"] == [0, 0]
    assert result["n_judged"] == result["n_pairs"] == 400
    assert result["reconstruction_accuracy"] == 1
    turned = shares(LABELS, noise, COLUMN, judge=lambda x: x[:, 0, 0, 1].long())
    assert turned["follows"] == [0, 1]


def test_a_label_that_needs_both_levels_goes_elsewhere() -> None:
    """y = (a + b) mod 3 with a = 0: swapping the levels of y and y' gives y', then y + y'."""
    result = shares(LABELS, COLUMN, torch.zeros_like(COLUMN), judge=lambda x: (x.sum((1, 2, 3)).long()) % 3)
    assert result["follows"] == [1, 0]
    both = shares(LABELS, 2 * COLUMN, 2 * COLUMN, judge=lambda x: (x.sum((1, 2, 3)).long()) % 3)
    # 2y + 2y = y mod 3; a swap of either gives 2 (y + y'), the class that is neither, as y and y' differ
    assert both["other"] == [1, 1]
    assert both["follows"] == both["keeps"] == [0, 0]


def test_standard_errors_are_binomial() -> None:
    """A judge that reads the top level of some and the bottom level of others."""
    chooses = (torch.arange(60) % 5 < 2).double()[
        :, None
    ]  # 2 in 5; stays with the image, being in the bottom level
    bottom = 10 * chooses + COLUMN

    def judge(x: Tensor) -> Tensor:
        top, low = x[:, 0, 0, 0], x[:, 0, 0, 1]
        return torch.where(low >= 10, top, low % 10).long()

    result = shares(LABELS, COLUMN, bottom, judge=judge, n=1000)
    p = result["follows"][0]
    assert abs(p - 0.4) < 5 * math.sqrt(0.24 / 1000)
    assert result["follows_se"][0] == pytest.approx(math.sqrt(p * (1 - p) / 1000))


def test_only_pairs_whose_reconstructions_are_recognised_count() -> None:
    """A judge that is blind for class 2 leaves the pairs of classes 0 and 1; one that is blind leaves nothing."""
    noise = torch.zeros_like(COLUMN)
    result = shares(LABELS, COLUMN, noise, judge=lambda x: x[:, 0, 0, 0].long() % 2)
    assert result["reconstruction_accuracy"] == pytest.approx(2 / 3)
    assert abs(result["n_judged"] / 400 - 1 / 3) < 5 * math.sqrt(2 / 9 / 400)
    assert result["follows"] == [1, 0]
    blind = shares(LABELS, COLUMN, noise, judge=lambda x: x[:, 0, 0, 0].long() + 7)
    assert blind["follows"] is None
    assert blind["n_judged"] == 0


def test_pairs_differ_in_the_label_and_depend_on_the_seed() -> None:
    """The same seed, the same pairs; even where most images are of one class."""
    labels = (torch.arange(200) == 7).long()
    means = torch.arange(200, dtype=torch.float64)[:, None]
    seen: list[Tensor] = []

    def judge(x: Tensor) -> Tensor:
        seen.append(x[:, 0, 0].clone())
        return (x[:, 0, 0, 0] == 7).long()

    result = swap_shares(Shown(), inferred(means, means), labels, judge, 300, seed=0)
    assert 0 < result["n_judged"] <= 300
    swapped = torch.cat(seen[1:])
    assert ((swapped == 7).sum(1) == 1).all()
    again = swap_shares(Shown(), inferred(means, means), labels, judge, 300, seed=0)
    assert again == result


def test_a_level_knows_what_its_channel_carries() -> None:
    """Unit variance and noise s: I = log(1 + 1/s²)/2 per unit; of all levels together, the sum; rates are above."""
    generator = torch.Generator().manual_seed(0)
    top, bottom = torch.randn(2, 2000, 1, generator=generator, dtype=torch.float64)
    result = level_information(inferred(top, 0 * bottom, scale=0.5), seed=0)
    expected = 0.5 * math.log(5)
    assert abs(result["image_information"][0] - expected) < 5 * result["image_information_se"][0]
    assert result["image_information"][1] == pytest.approx(0, abs=1e-9)
    assert result["image_information_all"] == pytest.approx(result["image_information"][0])
    assert result["image_information_ceiling"] == pytest.approx(math.log(2000))
    assert all(i < r for i, r in zip(result["image_information"], result["rate_per_level"], strict=True))


def test_a_conditional_draw_keeps_the_law_and_a_pasted_one_loses_the_coupling() -> None:
    """Fréchet distance of N(0, C) to itself is 0; to the uncoupled N(0, I) it is 4 - 2 tr C^½."""
    n = 20_000
    draws = Shown().sample_prior(n, n_steps=None, generator=torch.Generator().manual_seed(5))
    unit = 60.0  # pixels per unit of the latents, about 128
    pixels = (torch.cat(draws, 1) * unit + 128).clamp(0, 255).round().to(torch.uint8).numpy()
    reference = ImageSet("mine", "test", pixels.reshape(n, 1, 1, 2))

    asked: list[int] = []

    class Scaled(Shown):
        def decode(self, latents: Latents) -> Tensor:
            return (super().decode(latents) * unit + 128) / 255

        def resample(
            self, latents: Latents, levels: Collection[int], **arguments: torch.Generator
        ) -> Latents:
            asked.extend(levels)
            return super().resample(latents, levels, **arguments)

    result = redrawn_distances(Scaled(), Pixels(), reference, n, seed=0)
    apart = (4 - 2 * (math.sqrt(1 + COUPLING) + math.sqrt(1 - COUPLING))) * (unit / 255) ** 2
    assert result["fd_pasted"] == pytest.approx([apart, apart], rel=0.1)
    assert result["fd_prior"] < 0.03 * apart
    assert max(result["fd_conditional"]) < 0.03 * apart
    assert asked == [0] * 100 + [1] * 100  # blocks of 200, each level once


def test_the_suite_judges_labels_or_factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits by their label; figures by the factors asked for; an attribute that is not there is refused."""
    monkeypatch.setenv("HEBM_CACHE", str(tmp_path))
    few = [f"evaluation.hierarchy.{key}=20" for key in ("n_images", "n_swaps", "n_redrawn")]
    base = ["data.limit=60", "evaluation.extractor=random_conv", *few]

    def results(config: RunConfig) -> dict[str, object]:
        return evaluate_hierarchy(build_model(config), config, seed=0)

    digits = results(tiny_config(*base))
    assert list(digits["swap"]) == ["label"]
    assert len(digits["image_information"]) == len(digits["fd_conditional"]) == len(digits["fd_pasted"]) == 2
    assert (digits["n_images"], digits["n_redrawn"], digits["n_reference"]) == (20, 20, 60)
    figures = [*base, "data.name=factors", "evaluation.hierarchy.attributes=[colour]"]
    shown = results(tiny_config(*figures))
    assert list(shown["swap"]) == ["colour"]
    with pytest.raises(ConfigError, match=r"no attribute 'color'.*shape, size"):
        results(tiny_config(*figures, "evaluation.hierarchy.attributes=[color]"))
