"""Every prior: exact draws from the base, densities with the energy's sign, frozen densities."""

from collections.abc import Callable

import pytest
import torch
from torch.distributions import Normal

from hebm.errors import LatentShapeError
from hebm.latents import Latents, unflatten_latents
from hebm.priors import EnergyNetwork, GaussianPrior, JointPrior, Prior
from hebm.randomness import ShardedGenerator

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (3, 1, 2)


def prior_named(name: str) -> Prior:
    torch.manual_seed(0)
    base = GaussianPrior(DIMS)
    if name == "gaussian":
        return base
    return JointPrior(base, EnergyNetwork(DIMS, width=8, depth=1, activation="silu").double())


every_prior = pytest.mark.parametrize("name", ["gaussian", "joint"])


def draws(n: int, generator: torch.Generator) -> Latents:
    return unflatten_latents(torch.randn(n, sum(DIMS), generator=generator, dtype=torch.float64), DIMS)


def like() -> torch.Tensor:
    return torch.empty(0, dtype=torch.float64)


@every_prior
def test_the_density_is_the_base_minus_the_energy(name: str, seeded: Seeded) -> None:
    """log p(z) = log p₀(z) - E(z) up to log Z: low energy is likely; without an energy it is the base."""
    prior, z = prior_named(name), draws(4, seeded(1))
    base = sum(Normal(torch.zeros_like(level), 1.0).log_prob(level).sum(1) for level in z)
    energy = prior.energy(z) if prior.energy is not None else 0
    torch.testing.assert_close(prior.log_density(z), base - energy)


@every_prior
def test_the_base_is_standard_normal(name: str, seeded: Seeded) -> None:
    """Levels top first; mean 0, variance 1, no correlation, within five standard errors."""
    n = 20_000
    z = prior_named(name).sample_base(n, like=like(), generator=seeded(0))
    assert [tuple(level.shape) for level in z] == [(n, d) for d in DIMS]
    flat = torch.cat(z, 1)
    assert flat.dtype == torch.float64
    assert flat.mean(0).abs().max().item() < 5 / n**0.5
    error = (flat.T @ flat / n - torch.eye(6, dtype=torch.float64)).abs()
    assert error.max().item() < 5 * (2 / n) ** 0.5


@every_prior
def test_base_draws_follow_their_generator(name: str, seeded: Seeded) -> None:
    """Same generator the same, another different, shards are rows, the global stream untouched."""
    prior = prior_named(name)
    before = torch.random.get_rng_state()

    def draw(source: torch.Generator | ShardedGenerator, n: int = 4) -> torch.Tensor:
        return torch.cat(prior.sample_base(n, like=like(), generator=source), 1)

    whole = draw(seeded(0))
    assert torch.equal(whole, draw(seeded(0)))
    assert not torch.equal(whole, draw(seeded(1)))
    assert torch.equal(whole, torch.cat([draw(ShardedGenerator(seeded(0), rank, 2), 2) for rank in (0, 1)]))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_frozen_density_is_the_prior_and_its_gradient(seeded: Seeded) -> None:
    """-z - ∇E(z) by hand equals autograd through the prior, for levels and for the flat state."""
    prior = prior_named("joint")
    z = tuple(level.requires_grad_() for level in draws(4, seeded(1)))
    expected = prior.log_density(z)
    grads = torch.autograd.grad(expected.sum(), z)
    levels = tuple(level.detach() for level in z)
    frozen = prior.density()
    value, by_hand = frozen.value_and_grad(levels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(by_hand, grads)
    value, (flat_grad,) = frozen.value_and_grad((torch.cat(levels, 1),))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(flat_grad, torch.cat(grads, 1))
    torch.testing.assert_close(frozen(levels), expected)


def test_a_gaussian_prior_needs_no_chain() -> None:
    """It has no energy and no parameters."""
    prior = prior_named("gaussian")
    assert prior.energy is None
    assert list(prior.parameters()) == []


@every_prior
def test_latents_of_other_shapes_are_refused_by_the_prior(name: str, seeded: Seeded) -> None:
    """Bottom first is an error."""
    with pytest.raises(LatentShapeError, match="top first"):
        prior_named(name).log_density(tuple(reversed(draws(2, seeded(0)))))
