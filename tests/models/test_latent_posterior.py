"""The posterior over all levels: densities, rates and reparametrised draws, top level first."""

from collections.abc import Callable

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from hebm.distributions import DiagonalNormal
from hebm.models import LatentPosterior
from hebm.randomness import ShardedGenerator

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (3, 1, 2)
N_ITEMS = 4


def posterior(generator: torch.Generator) -> LatentPosterior:
    def randn(d: int) -> torch.Tensor:
        return torch.randn(N_ITEMS, d, generator=generator, dtype=torch.float64)

    return LatentPosterior(tuple(DiagonalNormal(randn(d), (0.5 * randn(d)).exp()) for d in DIMS))


def test_the_rate_of_each_level_agrees_with_torch(seeded: Seeded) -> None:
    """KL(q(z_l|x) ‖ N(0, I)) level by level, top first, one value per item."""
    q = posterior(seeded(0))
    for level, rate in zip(q, q.rate_per_level(), strict=True):
        reference = kl_divergence(Normal(level.mean, level.scale), Normal(torch.zeros_like(level.mean), 1.0))
        torch.testing.assert_close(rate, reference.sum(1), rtol=1e-12, atol=0)


def test_the_rate_is_the_expected_log_ratio_of_samples(seeded: Seeded) -> None:
    """Monte Carlo over the posterior's own draws and densities agrees within five standard errors."""
    n = 40_000
    one = posterior(seeded(0))
    q = LatentPosterior(
        tuple(DiagonalNormal(p.mean[:1].expand(n, -1), p.scale[:1].expand(n, -1)) for p in one)
    )
    z = q.sample(seeded(1))
    base = sum(Normal(torch.zeros_like(level), 1.0).log_prob(level).sum(1) for level in z)
    log_ratio = q.log_prob(z) - base
    rate = torch.stack(one.rate_per_level()).sum(0)[0]
    assert abs(log_ratio.mean() - rate) < 5 * log_ratio.std() / n**0.5


def test_the_log_prob_is_the_sum_over_levels(seeded: Seeded) -> None:
    """Levels are independent given the image."""
    q = posterior(seeded(0))
    z = tuple(torch.randn(N_ITEMS, d, generator=seeded(1), dtype=torch.float64) for d in DIMS)
    expected = sum(Normal(p.mean, p.scale).log_prob(v).sum(1) for p, v in zip(q, z, strict=True))
    torch.testing.assert_close(q.log_prob(z), expected, rtol=1e-12, atol=0)


def test_a_posterior_sample_is_reparametrised_with_one_flat_draw(seeded: Seeded) -> None:
    """Level l is μ_l + σ_l ε_l, where the ε_l are the columns of one flat draw, top level first."""
    mean, scale = (
        tuple(torch.full((2, d), value, dtype=torch.float64, requires_grad=True) for d in DIMS)
        for value in (0.5, 2.0)
    )
    q = LatentPosterior(tuple(DiagonalNormal(m, s) for m, s in zip(mean, scale, strict=True)))
    z = q.sample(seeded(3))
    eps = torch.randn(2, sum(DIMS), generator=seeded(3), dtype=torch.float64)
    torch.testing.assert_close(torch.cat(z, 1), 0.5 + 2 * eps)
    total = torch.cat(z, 1).sum()
    torch.testing.assert_close(torch.cat(torch.autograd.grad(total, scale, retain_graph=True), 1), eps)
    torch.testing.assert_close(torch.cat(torch.autograd.grad(total, mean), 1), torch.ones_like(eps))


def test_shards_of_a_batch_draw_what_the_whole_batch_draws(seeded: Seeded) -> None:
    """Two processes with half of the items each get the same latents as one with all."""
    q = posterior(seeded(0))
    halves = [
        LatentPosterior(tuple(DiagonalNormal(p.mean[r], p.scale[r]) for p in q))
        for r in (slice(0, 2), slice(2, 4))
    ]
    parts = [half.sample(ShardedGenerator(seeded(5), rank, 2)) for rank, half in enumerate(halves)]
    whole = q.sample(seeded(5))
    for level, pieces in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(level, torch.cat(pieces))


def test_mean_and_scale_list_the_levels_top_first(seeded: Seeded) -> None:
    """As indexing and iteration do."""
    q = posterior(seeded(0))
    assert [m.shape[1] for m in q.mean] == list(DIMS)
    assert len(q) == 3
    assert all(torch.equal(q.scale[i], q[i].scale) and torch.equal(q.mean[i], q[i].mean) for i in range(3))
