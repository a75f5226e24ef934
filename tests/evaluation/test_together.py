"""Several scores of the same images at once."""

import pytest
import torch
from tests.detection.encoder_calls import encoder_calls
from tests.training.tiny import tiny_config
from torch import Tensor

from hebm.build import build_model
from hebm.detection import build_score, score_images
from hebm.detection.llr import LikelihoodRatio
from hebm.evaluation import together
from hebm.evaluation.together import score_together
from hebm.models import JointModel

NAMES = ("distortion", "combined", "energy", "l_above", "llr", "llr:n_lowest=1,seed=1", "llr:n_lowest=9")


@pytest.fixture(scope="module")
def model() -> JointModel:
    """Untrained, with a joint energy on two levels."""
    return build_model(tiny_config())


@pytest.fixture(scope="module")
def images() -> Tensor:
    """More than one batch."""
    return torch.rand(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_scores_together_are_the_scores_alone(model: JointModel, images: Tensor) -> None:
    """To the last bit, each with its seconds; what the model has not is refused with the reason, the rest goes on."""
    normals = images[:150]
    found = score_together(model, {name: build_score(name) for name in NAMES}, images, normals=normals)
    assert list(found.values) == list(NAMES[:-1])
    for name, values in found.values.items():
        assert torch.equal(values, score_images(model, images, name, normals=normals)), name
    assert found.seconds.keys() == found.values.keys()
    assert all(seconds > 0 for seconds in found.seconds.values())
    assert list(found.refused) == ["llr:n_lowest=9"]
    assert "n_lowest" in found.refused["llr:n_lowest=9"]


def test_a_batch_is_encoded_once_for_all_scores(model: JointModel, images: Tensor) -> None:
    """200 + 100 images, whatever the number of scores."""
    scores = {name: build_score(name) for name in ("distortion", "energy", "log_joint", "elbo", "llr")}
    with encoder_calls(model) as calls:
        score_together(model, scores, images, normals=images[:1])
    assert calls == [200, 100]


def test_seconds_are_those_of_all_batches(
    model: JointModel, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that ticks once per look: one second per batch and score."""
    monkeypatch.setattr(together.time, "perf_counter", iter(range(1000)).__next__)
    scores = {name: build_score(name) for name in ("distortion", "energy")}
    found = score_together(model, scores, images, normals=images[:1])
    assert found.seconds == {"distortion": 2, "energy": 2}


def test_both_bounds_are_worked_out_once_for_the_scores_that_share_them(
    model: JointModel, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once per batch for `l_above` and `llr` of the same options, again for other options."""
    seen: list[int] = []
    right = LikelihoodRatio.__mro__[1]._compute_bounds  # type: ignore[attr-defined]

    def count(score: LikelihoodRatio, inferred: object) -> object:
        seen.append(score.seed)
        return right(score, inferred)

    monkeypatch.setattr(LikelihoodRatio.__mro__[1], "_compute_bounds", count)
    scores = {name: build_score(name) for name in ("l_above", "llr", "llr:seed=1")}
    score_together(model, scores, images[:20], normals=images[:1])
    assert seen == [0, 1]


def test_recipes_that_have_too_few_images_are_refused(model: JointModel, images: Tensor) -> None:
    """And the model is as it was."""
    model.train()
    found = score_together(
        model, {"combined": build_score("combined"), "distortion": build_score("distortion")}, images[:5],
        normals=images[:2],
    )  # fmt: skip
    assert list(found.values) == ["distortion"]
    assert "normal images" in found.refused["combined"]
    assert model.training
