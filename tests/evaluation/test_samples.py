"""Suite samples: how long its chains are, and what a prior that met the training images' posterior would reach."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.tiny import tiny_config
from torch import Tensor

from hebm.build import build_images, build_model
from hebm.config import RunConfig
from hebm.data import ImageSet
from hebm.evaluation import samples
from hebm.evaluation.samples import _train_posterior, evaluate_samples
from hebm.features import build_extractor, extract_features, image_batches
from hebm.metrics import GaussianStatistics, frechet_distance
from hebm.models import JointModel

OVERRIDES = (
    "evaluation.n_samples=80",
    "evaluation.extractor=random_conv",
    "evaluation.n_kid_subsets=3",
    "sampler.n_steps=2",
    "sampler.sampling_steps=5",
)


def untrained(config: RunConfig) -> JointModel:
    return build_model(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def asked() -> list[int | None]:
    """The numbers of steps that images were asked for with."""
    return []


@pytest.fixture(scope="module")
def results(asked: list[int | None]) -> Iterator[dict[str, Any]]:
    """The suite on an untrained model whose samples take more steps than its training."""
    config = tiny_config(*OVERRIDES)
    draw = samples.images_from_prior

    def recorded(*arguments: Any, n_steps: int | None, **options: Any) -> Iterator[Tensor]:
        asked.append(n_steps)
        return draw(*arguments, n_steps=n_steps, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "images_from_prior", recorded)
        yield evaluate_samples(untrained(config), config, seed=3)


def test_the_steps_that_are_reported_and_tripled_are_those_of_sampling(
    results: dict[str, Any], asked: list[int | None]
) -> None:
    """Not those of training: 5 and 15, where training takes 2."""
    assert results["n_steps"] == 5
    assert asked == [None, 0, 15]
    assert results["energy_along_chain"]["step"][-1] == 15


def test_what_is_attainable_is_the_distance_of_training_posteriors_over_the_floor(
    results: dict[str, Any],
) -> None:
    """fd_train_posterior from decoded draws of training images' posteriors to the test images, recomputed."""
    config = tiny_config(*OVERRIDES)
    train, test = build_images(config, "train"), build_images(config, "test")
    extractor = build_extractor("random_conv", train, test, device="cpu")
    real = extract_features(extractor, image_batches(test.images))
    drawn = extract_features(extractor, _train_posterior(untrained(config), train, 80, 3))
    distance = frechet_distance(GaussianStatistics.of(real), GaussianStatistics.of(drawn))
    assert results["fd_train_posterior"] == pytest.approx(distance, rel=1e-6)
    attainable = results["fd_train_posterior"] / results["fd_reconstruction"]
    assert results["prior_gap_attainable"] == pytest.approx(attainable)
    assert results["prior_gap"] == pytest.approx(results["fd_prior"] / results["fd_reconstruction"])
    assert results["fd_train_posterior"] != pytest.approx(results["fd_reconstruction"], rel=1e-3)


def test_training_posteriors_are_drawn_once_each_for_images_chosen_at_random(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No image twice, not the first ones of a sorted set; the draws have mean and scale of q(z|x)."""
    model = untrained(tiny_config())
    values = np.linspace(0, 255, 400).astype(np.uint8).reshape(-1, 1, 1, 1)
    train = ImageSet("grey", "train", np.broadcast_to(values, (400, 1, 8, 8)).copy())
    monkeypatch.setattr(model, "decode", lambda latents: torch.cat(latents, 1))
    seen: list[Tensor] = []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda x: (seen.append(x), encode(x))[1])
    drawn = torch.cat(list(_train_posterior(model, train, 300, seed=0)))
    x = torch.cat(seen)
    grey = (255 * x[:, 0, 0, 0]).round()
    assert len(drawn) == len(x) == 300
    assert all((grey == value).sum() <= 2 for value in grey.unique())  # 400 images, 256 greys
    assert grey.mean().item() == pytest.approx(127.5, abs=5 * 73.9 / 300**0.5)
    posterior = encode(x)
    noise = (drawn - torch.cat(posterior.mean, 1)) / torch.cat([q.scale for q in posterior], 1)
    assert abs(noise.mean().item()) < 5 / noise.numel() ** 0.5
    assert noise.var().item() == pytest.approx(1, abs=5 * (2 / noise.numel()) ** 0.5)
    assert len(torch.cat(list(_train_posterior(model, train, 9999, seed=0)))) == 400  # all there are
