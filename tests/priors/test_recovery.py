"""The diffused prior: its conditionals, its diffusion, and the chain of chains that leads back."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from hebm.latents import flatten_latents, unflatten_latents
from hebm.priors import EnergyNetwork, RecoveryPrior
from hebm.samplers import MetropolisChains, RecoveryChains

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (2, 1, 2)
SIGMAS = (0.3, 0.6, 0.9)
DTYPE = torch.float64


def recovery_prior(gain: float = 2.0) -> RecoveryPrior:
    """Energies that differ from level to level; none at gain 0."""
    torch.manual_seed(0)
    energies = [EnergyNetwork(DIMS, width=8, depth=2, activation="silu") for _ in SIGMAS]
    prior = RecoveryPrior(energies, SIGMAS).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(gain)
    return prior


def flat_draws(n: int, generator: torch.Generator) -> Tensor:
    return torch.randn(n, sum(DIMS), generator=generator, dtype=DTYPE)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_conditional_is_marginal_times_recovery(level: int, seeded: Seeded) -> None:
    """log p(u_t | u_{t+1}) = log N(u_t; 0, I) - E_t(u_t) + log N(u_{t+1}; √(1 - σ²) u_t, σ²) up to a constant."""
    prior, generator = recovery_prior(), seeded(1)
    flat, noisier = flat_draws(7, generator), flat_draws(7, generator)
    sigma = SIGMAS[level]
    u = flat.clone().requires_grad_()
    marginal = Normal(0.0, 1.0).log_prob(u).sum(1) - prior.energies[level](unflatten_latents(u, DIMS))
    recovery = Normal(math.sqrt(1 - sigma**2) * u, sigma).log_prob(noisier).sum(1)
    constant = sum(DIMS) * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    for given, expected in [(None, marginal), (noisier, marginal + recovery + constant)]:
        density = prior.density().conditional(level, given)
        (grad,) = torch.autograd.grad(expected.sum(), u, retain_graph=True)
        value, (by_hand,) = density.value_and_grad((flat,))
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(by_hand, grad)
        torch.testing.assert_close(density((flat,)), expected.detach())
        levels = density.value_and_grad(unflatten_latents(flat, DIMS))[1]
        torch.testing.assert_close(levels, unflatten_latents(grad, DIMS))


def test_the_prior_is_the_clean_marginal(seeded: Seeded) -> None:
    """log p(z) = log N(z; 0, I) - E_0(z): energies of noisier levels have no say."""
    prior, z = recovery_prior(), unflatten_latents(flat_draws(5, seeded(1)), DIMS)
    expected = Normal(0.0, 1.0).log_prob(torch.cat(z, 1)).sum(1) - prior.energies[0](z)
    torch.testing.assert_close(prior.log_density(z), expected)
    torch.testing.assert_close(prior.density()(z), expected)
    torch.testing.assert_close(prior.density().value_and_grad(z)[0], expected)
    assert prior.energy is prior.energies[0]


def test_the_diffusion_keeps_the_standard_normal(seeded: Seeded) -> None:
    """Variance (1 - σ²) + σ² = 1 at every level, and covariance √(1 - σ²) with the level before."""
    n, generator = 20_000, seeded(0)
    path = recovery_prior().diffuse(flat_draws(n, generator), generator)
    assert len(path) == len(SIGMAS) + 1
    for (clean, noisy), sigma in zip(pairwise(path), SIGMAS, strict=True):
        assert ((noisy.var(0) - 1).abs() < 5 * math.sqrt(2 / n)).all()
        covariance = (clean * noisy).mean(0)
        assert ((covariance - math.sqrt(1 - sigma**2)).abs() < 5 * math.sqrt(2 / n)).all()


def test_a_step_of_the_diffusion_has_the_stated_conditional(seeded: Seeded) -> None:
    """From one point u: mean √(1 - σ²) u and deviation σ, of the first step and, compounded, of the last."""
    n = 20_000
    start = torch.tensor([3.0, -2.0, 0.0, 1.0, 5.0], dtype=DTYPE)
    path = recovery_prior().diffuse(start.expand(n, -1), seeded(0))
    assert torch.equal(path[0], start.expand(n, -1))
    shrinks = [math.sqrt(1 - sigma**2) for sigma in SIGMAS]
    for step, shrink in [(1, shrinks[0]), (3, math.prod(shrinks))]:
        variance = 1 - shrink**2
        assert ((path[step].mean(0) - shrink * start).abs() < 5 * math.sqrt(variance / n)).all()
        assert ((path[step].var(0) - variance).abs() < 5 * variance * math.sqrt(2 / n)).all()


def test_chains_of_zero_energies_give_the_standard_normal_back_up_to_the_steps_bias(seeded: Seeded) -> None:
    """Each level's chain is the autoregression u ← u + r (√(1 - σ²) u_{t+1} - u) + √(2r) σ ε, K times; its variance
    from level to level in closed form stays near 1."""
    n, r, n_steps, generator = 10_000, 0.08, 50, seeded(0)
    initial = unflatten_latents(flat_draws(n, generator), DIMS)
    end = RecoveryChains(n_steps, r)(recovery_prior(gain=0.0).density(), initial, generator=generator)
    left = (1 - r) ** n_steps
    fresh = (1 - left**2) / (1 - r / 2)
    variance = left**2 + fresh
    for sigma in reversed(SIGMAS[:-1]):
        shrink = math.sqrt(1 - sigma**2)
        variance = (shrink + left * (1 - shrink)) ** 2 * variance + sigma**2 * fresh
    assert variance == pytest.approx(1, abs=0.06)
    flat = flatten_latents(end.latents)
    assert [z.shape[1] for z in end.latents] == list(DIMS)
    assert abs(flat.var(0).mean().item() - variance) < 5 * variance * math.sqrt(2 / flat.numel())
    assert (flat.mean(0).abs() < 5 * math.sqrt(variance / n)).all()
    assert end.log_density.shape == (n_steps * len(SIGMAS), n)


def test_the_noisiest_levels_chain_has_no_recovery_term(seeded: Seeded) -> None:
    """It samples the marginal with steps in units of 1; the others the conditional with steps in units of σ²."""
    density, noisier = recovery_prior().density(), flat_draws(4, seeded(1))
    chains = RecoveryChains(n_steps=1, relative_step=0.1)
    for level, (given, unit) in enumerate([(noisier, 0.3**2), (noisier, 0.6**2), (None, 1.0)]):
        (moved,) = chains.level(density, level, noisier, generator=seeded(2)).latents
        _, (grad,) = density.conditional(level, given).value_and_grad((noisier,))
        noise = torch.randn(noisier.shape, generator=seeded(2), dtype=DTYPE)
        eta = 0.1 * unit
        torch.testing.assert_close(moved, noisier + eta * grad + math.sqrt(2 * eta) * noise)


def test_the_chains_lead_from_the_noisiest_level_to_the_clean_one(seeded: Seeded) -> None:
    """Level by level from one generator, each started where the noisier one ended."""
    density, flat, generator = recovery_prior().density(), flat_draws(4, seeded(1)), seeded(2)
    chains = RecoveryChains(n_steps=3)
    end = chains(density, unflatten_latents(flat, DIMS), generator=seeded(2)).latents
    for level in (2, 1, 0):
        (flat,) = chains.level(density, level, flat, generator=generator).latents
    assert torch.equal(flatten_latents(end), flat)


def test_clamped_levels_move_on_the_clean_marginal(seeded: Seeded) -> None:
    """As Metropolis chains on log N(z; 0, I) - E_0(z); the held level is bit-equal."""
    density, z = recovery_prior().density(), unflatten_latents(flat_draws(4, seeded(1)), DIMS)
    end = RecoveryChains(n_steps=8)(density, z, clamped=[1], generator=seeded(2)).latents
    expected = MetropolisChains(8)(density, z, clamped=[1], generator=seeded(2)).latents
    assert all(map(torch.equal, end, expected))
    assert torch.equal(end[1], z[1])
    assert not torch.equal(end[0], z[0])
