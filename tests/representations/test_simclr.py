"""The contrastive loss is the formula; training lowers it, tells images apart, and is reproducible."""

import math

import numpy as np
import pytest
import torch
from tests.representations.nets import digits, fresh_model, stream, weights

from hebm.data import ResidentImages
from hebm.errors import DataError, NonFiniteError
from hebm.representations import Augmentation, nt_xent, simclr, train_simclr, trunk_features

BRIEF = {"n_steps": 6, "batch_size": 16, "seed": 0}


def projections(n: int = 5, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    views = torch.randn(2, n, d, generator=stream(), dtype=torch.float64)
    return views[0], views[1]


def by_hand(first: torch.Tensor, second: torch.Tensor, temperature: float) -> list[float]:
    """The definition, with loops."""
    u = np.concatenate([first.numpy(), second.numpy()])
    n = len(first)

    def kernel(i: int, k: int) -> float:
        cosine = u[i] @ u[k] / (np.linalg.norm(u[i]) * np.linalg.norm(u[k]))
        return math.exp(cosine / temperature)

    return [
        -math.log(kernel(i, (i + n) % (2 * n)) / sum(kernel(i, k) for k in range(2 * n) if k != i))
        for i in range(2 * n)
    ]


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_loss_is_the_definition(temperature: float) -> None:
    """Against loops, view by view; one of the values by hand."""
    first, second = projections()
    found = nt_xent(first, second, temperature=temperature)
    np.testing.assert_allclose(found.numpy(), by_hand(first, second, temperature), rtol=1e-12)
    axes = torch.eye(2, dtype=torch.float64)  # two images, identical views, at right angles
    expected = math.log(1 + 2 * math.exp(-1 / temperature))
    np.testing.assert_allclose(
        nt_xent(axes, 3 * axes, temperature=temperature).numpy(), [expected] * 4, rtol=1e-12
    )


def test_the_limits_of_the_loss() -> None:
    """All alike, or an infinite temperature: log(2N - 1). Cold, and partners nearest: 0."""
    first, second = projections()
    alike = torch.ones(5, 3, dtype=torch.float64)
    guess = torch.full((10,), math.log(9), dtype=torch.float64)
    torch.testing.assert_close(nt_xent(alike, alike, temperature=0.3), guess)
    torch.testing.assert_close(nt_xent(first, second, temperature=1e9), guess)
    assert nt_xent(first, first, temperature=1e-3).max() < 1e-9


def test_lengths_do_not_count_and_partners_do() -> None:
    """A projection's length changes nothing; wrong partners cost more than right ones."""
    first, second = projections()
    lengths = torch.tensor([[0.1], [1.0], [2.0], [5.0], [9.0]])
    right = nt_xent(first, second, temperature=0.5)
    torch.testing.assert_close(nt_xent(lengths * first, second, temperature=0.5), right)
    near = first + 0.1 * second
    wrong = nt_xent(first, near.roll(1, 0), temperature=0.5).mean()
    assert nt_xent(first, near, temperature=0.5).mean() < wrong


def test_a_single_image_is_refused() -> None:
    """There is nothing to tell it from; nor do batches of two sizes fit together."""
    first, second = projections()
    for views in ((first[:1], second[:1]), (first, second[:3])):
        with pytest.raises(DataError, match="two views of at least two images"):
            nt_xent(*views, temperature=0.5)


def test_trunk_and_head_are_the_top_levels_mean() -> None:
    """What is trained is what the encoder's forward pass uses, for one level and for several."""
    x, _ = digits(limit=20)
    one = "model.levels=[{latents: 3, channels: 16}]"
    for model in (fresh_model(), fresh_model(0, one), fresh_model(0, "data.size=32", one)):
        batch = torch.nn.functional.interpolate(x.batch(torch.arange(4)), model.image_shape[1])
        features = trunk_features(model.encoder, batch)
        assert features.shape == (4, 16)
        mean = model.encoder.heads[-1].mean(features)
        torch.testing.assert_close(mean, model.encode(batch).mean[0], rtol=1e-5, atol=1e-6)


def test_training_lowers_the_loss_and_finds_classes_without_labels() -> None:
    """From a guess among 2N - 1 downwards; a neighbour in the new features shares the label more often than before."""
    images, image_set = digits()
    model, untrained = fresh_model(), fresh_model()
    losses = train_simclr(model.encoder, images, n_steps=120, batch_size=50, lr=3e-3, seed=0)
    assert abs(losses[0] - math.log(99)) < 0.5
    assert np.mean(losses[-10:]) < losses[0] - 0.5
    labels = torch.from_numpy(image_set.labels)

    def neighbours(encoder: torch.nn.Module) -> float:
        with torch.no_grad():
            mean = encoder(2 * images.batch(torch.arange(len(images))) - 1).mean[0]
        mean = (mean - mean.mean(0)) / mean.std(0)
        distance = torch.cdist(mean, mean).fill_diagonal_(torch.inf)
        return (labels[distance.argmin(1)] == labels).double().mean().item()

    before, after = neighbours(untrained.encoder), neighbours(model.encoder)
    assert after > before + 5 * math.sqrt(0.25 / len(labels))


def test_training_is_reproducible_and_leaves_the_rest_alone() -> None:
    """Same seed, same weights; another seed, others; lower heads and the global stream are untouched."""
    images, _ = digits(limit=60)
    before = torch.random.get_rng_state()
    runs = [fresh_model() for _ in range(3)]
    losses = [
        train_simclr(model.encoder, images, **{**BRIEF, "seed": seed})
        for model, seed in zip(runs, (0, 0, 1), strict=True)
    ]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(weights(runs[0].encoder), weights(runs[1].encoder))
    assert not torch.equal(weights(runs[0].encoder), weights(runs[2].encoder))
    assert torch.equal(weights(runs[0].encoder.heads[0]), weights(fresh_model().encoder.heads[0]))
    assert not torch.equal(
        weights(runs[0].encoder.heads[1].mean), weights(fresh_model().encoder.heads[1].mean)
    )
    assert torch.equal(before, torch.random.get_rng_state())


def test_both_views_are_drawn_and_settings_reach_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two unlike views of the same images, in the same order, at the temperature asked for; other seeds, others."""
    images, image_set = digits(limit=60)
    cold, warm = (
        train_simclr(fresh_model().encoder, images, temperature=t, **BRIEF)[0] for t in (0.01, 100.0)
    )
    assert abs(warm - math.log(31)) < 0.01 < abs(cold - math.log(31))
    seen: list[torch.Tensor] = []
    original = simclr.random_views

    def watched(x: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
        assert torch.equal(*x.chunk(2))
        assert augmentation.rotation == 3.0
        views = original(x, augmentation, generator)
        seen.append(views)
        return views

    monkeypatch.setattr(simclr, "random_views", watched)
    train_simclr(fresh_model().encoder, images, augmentation=Augmentation(rotation=3.0), **BRIEF)
    assert len(seen) == 6
    first, second = seen[0].chunk(2)
    assert first.shape == (16, 1, 8, 8)
    assert ((first - second).abs().flatten(1).max(1).values > 0).all()
    alike = ResidentImages(image_set.subset([0] * 16), "cpu")
    for seed in (0, 1):
        train_simclr(
            fresh_model().encoder,
            alike,
            n_steps=1,
            batch_size=16,
            augmentation=Augmentation(rotation=3.0),
            seed=seed,
        )
    assert not torch.equal(seen[-2], seen[-1])


def test_training_stops_at_what_is_not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step is named; too few images are refused before the first step."""
    images, _ = digits(limit=60)
    with pytest.raises(DataError, match="fewer than one batch of 61"):
        train_simclr(fresh_model().encoder, images, n_steps=1, batch_size=61, seed=0)
    monkeypatch.setattr(simclr, "nt_xent", lambda a, b, temperature: a.sum(1) * torch.nan)
    with pytest.raises(NonFiniteError, match="SimCLR is not finite at step 0"):
        train_simclr(fresh_model().encoder, images, **BRIEF)
