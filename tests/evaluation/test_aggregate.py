"""Prior against aggregate posterior, on posteriors and priors that are known."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.tiny import tiny_config

from hebm.build import build_model
from hebm.config import RunConfig
from hebm.data import ImageSet, ResidentImages
from hebm.distributions import DiagonalNormal
from hebm.errors import DataError
from hebm.evaluation import SUITES, aggregate, suite_names
from hebm.evaluation.aggregate import evaluate_aggregate
from hebm.evaluation.generate import latents_from_prior
from hebm.evaluation.inferred import InferredImages
from hebm.evaluation.two_samples import SampleDistance, energy_distance
from hebm.latents import Latents
from hebm.models import LatentPosterior

SMALL = ["evaluation.aggregate.n_samples=300", "evaluation.aggregate.n_resamples=40"]
CONFIG = tiny_config(*SMALL, "evaluation.aggregate.n_long_steps=77", "evaluation.aggregate.n_points=25")
PLACES = torch.tensor([-4.0, 0.0, 4.0])


class Clusters:
    """A stand-in for a model: its prior has the same three clusters on top as the posteriors, and N(0, 1) below."""

    device = torch.device("cpu")
    level_dims = (2, 1)

    def __init__(self, *, has_energy: bool = True, n_clusters: int = 3) -> None:
        self.prior = SimpleNamespace(energy=object() if has_energy else None)
        self.n_clusters = n_clusters
        self.asked: set[int | None] = set()

    def sample_prior(self, n: int, *, n_steps: int | None, generator: torch.Generator) -> Latents:
        self.asked.add(n_steps)
        which = torch.randint(self.n_clusters, (n,), generator=generator)
        top = PLACES[which, None] + 0.3 * torch.randn(n, 2, generator=generator)
        return top, torch.randn(n, 1, generator=generator)


def known(monkeypatch: pytest.MonkeyPatch, *, labelled: bool = True, n: int = 600) -> torch.Tensor:
    """Posteriors of n images: three clusters on top by label, nothing but N(0, 1) below."""
    labels = torch.arange(n) % 3
    pictures = ImageSet(
        "mine", "test", np.zeros((n, 1, 8, 8), np.uint8), labels.numpy() + 5 if labelled else None
    )
    spread = torch.randn(n, 1, generator=torch.Generator().manual_seed(1)) * 0.6
    levels = (
        DiagonalNormal(PLACES[labels, None].expand(n, 2), torch.full((n, 2), 0.3)),
        DiagonalNormal(spread, torch.full((n, 1), 0.8)),
    )
    found = InferredImages(ResidentImages(pictures, "cpu"), torch.arange(n), LatentPosterior(levels))
    monkeypatch.setattr(aggregate, "build_images", lambda config, split: pictures)
    monkeypatch.setattr(aggregate, "infer_images", lambda model, image_set, n: found.thinned(n))
    return labels + 5


def results(model: Any, config: RunConfig = CONFIG, seed: int = 0) -> dict[str, Any]:
    found = evaluate_aggregate(model, config, seed=seed)
    json.dumps(found, allow_nan=False)
    return found


def test_a_prior_that_is_the_aggregate_posterior_is_at_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    """On each level and on all; it misses no label and has hardly a draw where no image is."""
    known(monkeypatch)
    found = results(Clusters())
    for system in ("prior", "long_chain", "floor"):
        for place in (found[system]["all"], *found[system]["levels"]):
            assert place["energy_distance"] < 2 * place["energy_distance_null_95"]
            assert place["js"] < 1.2 * place["js_null_95"]
            assert place["outside"] < 0.1
            assert place["without_mass"] == 0
    assert found["labels"] == [5, 6, 7]
    assert found["n_draws"] == 300


def test_n_0_i_misses_the_clusters_on_top_and_nothing_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """The top level is far from it and two labels have no mass there; the bottom level is N(0, 1)."""
    known(monkeypatch)
    top, bottom = results(Clusters())["standard_normal"]["levels"]
    assert top["energy_distance_interval"][0] > 5 * top["energy_distance_null_95"]
    assert top["js"] > 3 * top["js_null_95"]
    assert (top["without_mass"], bottom["without_mass"]) == (2, 0)
    assert top["outside"] > 0.3
    assert bottom["energy_distance"] < 2 * bottom["energy_distance_null_95"]


def test_a_prior_without_a_cluster_misses_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """The third one, on top and on all levels together."""
    known(monkeypatch)
    found = results(Clusters(n_clusters=2))["prior"]
    assert found["levels"][0]["without_mass"] == found["all"]["without_mass"] == 1
    assert found["levels"][0]["share"][2] == 0
    assert found["levels"][0]["posterior_share"][2] == pytest.approx(1 / 3, abs=0.1)


def test_every_system_meets_the_same_images_and_the_floor_is_made_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In all places; no draw of the floor is among those that it is compared with."""
    known(monkeypatch)
    met: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watched(x: torch.Tensor, y: torch.Tensor, **options: Any) -> SampleDistance:
        met.append((x, y))
        return energy_distance(x, y, **options)

    monkeypatch.setattr(aggregate, "energy_distance", watched)
    found = results(Clusters())
    assert len(met) == 4 * 3  # systems, places
    for number, (_, reference) in enumerate(met):
        assert torch.equal(reference, met[number % 3][1])
    for floor, reference in met[-3:]:
        assert not (floor[:, None] == reference).all(-1).any()
    assert found["floor"]["all"]["js"] > 0.3 * found["floor"]["all"]["js_null_mean"]
    shares = [(place["share"], place["posterior_share"]) for place in found["floor"]["levels"]]
    assert all(share == expected for share, expected in shares)


def test_long_chains_have_their_own_length_and_need_an_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model's own number of steps otherwise; no long chain where draws are exact."""
    known(monkeypatch)
    model = Clusters()
    results(model)
    assert model.asked == {None, 77}
    exact = Clusters(has_energy=False)
    assert results(exact)["long_chain"] is None
    assert exact.asked == {None}


def test_points_are_draws_with_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each near its label's place; two dimensions a level at most."""
    known(monkeypatch)
    points = results(Clusters())["points"]
    top, bottom = (torch.tensor(level) for level in points["posterior"])
    assert (top.shape, bottom.shape) == ((25, 2), (25, 1))
    draws = [torch.cat(level) for level in zip(*latents_from_prior(Clusters(), 25, seed=0), strict=True)]
    for level, drawn in zip(points["prior"], draws, strict=True):
        torch.testing.assert_close(torch.tensor(level), drawn, atol=1e-4, rtol=0)
    places = PLACES[torch.tensor(points["labels"]) - 5]
    assert (top - places[:, None]).abs().max() < 1.5


def test_without_labels_all_images_are_one_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """No label is named, neither in the regions nor beside the points."""
    known(monkeypatch, labelled=False)
    found = results(Clusters())
    assert found["labels"] is None
    assert found["points"]["labels"] is None
    assert len(found["prior"]["all"]["share"]) == 1


def test_too_few_images_of_every_label_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two or three of each do not make a region of third neighbours."""
    known(monkeypatch, n=8)
    with pytest.raises(DataError, match=r"nearest_k = 3 of 4 held-out images"):
        results(Clusters())


def test_the_suite_runs_on_a_real_model_with_the_images_of_some_labels() -> None:
    """Reproducibly, and without touching the global stream; it is not in `all`."""
    config = tiny_config(*SMALL, "data.labels=[0, 1, 2]", "evaluation.aggregate.n_long_steps=8")
    model = build_model(config)
    before = torch.random.get_rng_state()
    first = SUITES["aggregate"](model, config, seed=0)
    assert SUITES["aggregate"](model, config, seed=0) == first
    assert SUITES["aggregate"](model, config, seed=1) != first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first["labels"] == [0, 1, 2]
    assert first["level_dims"] == [3, 2]
    assert first["n_steps"] == 5
    assert len(first["points"]["posterior"][0][0]) == 2
    assert "aggregate" not in suite_names(["all"])
