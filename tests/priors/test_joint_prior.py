"""The joint prior on learned bases: density, frozen form, white coordinates, draws of the base."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hebm.errors import UnsupportedError
from hebm.latents import Latents, unflatten_latents
from hebm.priors import EnergyNetwork, FlowPrior, GaussianPrior, JointPrior, MixturePrior, TopDownPrior

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (2, 1, 2)
DTYPE = torch.float64

every_base = pytest.mark.parametrize("base", ["mixture", "top_down", "flow"])
invertible = pytest.mark.parametrize("base", ["top_down", "flow"])


def joint_prior(base: str) -> JointPrior:
    """A base away from where it starts, tilted by an energy of a few nats."""
    torch.manual_seed(0)
    made = {
        "mixture": lambda: MixturePrior(DIMS, 3),
        "top_down": lambda: TopDownPrior(DIMS, width=8, depth=1),
        "flow": lambda: FlowPrior(DIMS, n_transforms=1, hidden=(8,), bins=4),
    }
    tilted = JointPrior(made[base](), EnergyNetwork(DIMS, width=8, depth=1, activation="silu"))
    for parameter in tilted.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return tilted.double()


def draws(n: int, generator: torch.Generator) -> Latents:
    return unflatten_latents(torch.randn(n, sum(DIMS), generator=generator, dtype=DTYPE), DIMS)


@every_base
def test_the_log_density_is_the_base_minus_the_energy(base: str, seeded: Seeded) -> None:
    """log p₀(z) - E(z): normalised base, low energy is likely."""
    prior, z = joint_prior(base), draws(5, seeded(1))
    assert prior.energy is not None
    torch.testing.assert_close(prior.log_density(z), prior.base.log_prob(z) - prior.energy(z))
    assert prior.energy(z).std().item() > 0.1


@every_base
def test_the_frozen_density_is_the_prior_and_its_gradient(base: str, seeded: Seeded) -> None:
    """For levels and for the flat state; no parameter gets a gradient, and later learning does not reach it."""
    prior, density = joint_prior(base), joint_prior(base).density()
    z = tuple(level.requires_grad_() for level in draws(5, seeded(1)))
    expected = prior.log_density(z)
    grads = torch.autograd.grad(expected.sum(), z)
    levels = tuple(level.detach() for level in z)
    for state, state_grads in [(levels, grads), ((torch.cat(levels, 1),), (torch.cat(grads, 1),))]:
        value, found = density.value_and_grad(state)
        torch.testing.assert_close(value, expected.detach())
        torch.testing.assert_close(found, state_grads)
        torch.testing.assert_close(density(state), expected.detach())
    through_call = torch.autograd.grad(prior.density()(z).sum(), z)
    torch.testing.assert_close(through_call, grads)
    prior.density()(z).sum().backward()
    assert all(p.grad is None for p in prior.parameters())


@invertible
def test_the_whitened_density_is_a_change_of_variables(base: str, seeded: Seeded) -> None:
    """log p(u) = log p(z) + log |det ∂z/∂u| at z = T(u), both up to the same log Z."""
    prior, u = joint_prior(base), draws(5, seeded(1))
    chart = prior.density().whitened()

    def latents_of(flat: Tensor) -> Tensor:
        return torch.cat(prior.base.from_white(unflatten_latents(flat[None], DIMS)), 1)[0]

    flat = torch.cat(u, 1)
    log_dets = [torch.autograd.functional.jacobian(latents_of, row).slogdet().logabsdet for row in flat]
    z = prior.base.from_white(u)
    expected = prior.log_density(z) + torch.stack(log_dets)
    torch.testing.assert_close(chart(u), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(chart((flat,)), expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(chart.from_white(u), tuple(level.detach() for level in z))
    torch.testing.assert_close(chart.to_white(z), u, rtol=1e-6, atol=1e-6)


@invertible
def test_the_whitened_density_is_frozen(base: str, seeded: Seeded) -> None:
    """Differentiable in u; no parameter of the prior gets a gradient or stops learning."""
    prior = joint_prior(base)
    u = torch.cat(draws(3, seeded(1)), 1).requires_grad_()
    prior.density().whitened()((u,)).sum().backward()
    assert u.grad is not None
    assert u.grad.abs().min().item() > 0
    assert all(p.grad is None for p in prior.parameters())
    assert all(p.requires_grad for p in prior.base.parameters())


def test_a_base_without_white_coordinates_says_so() -> None:
    """With the key to change."""
    for prior in (joint_prior("mixture"), JointPrior(GaussianPrior(DIMS), EnergyNetwork(DIMS, width=4))):
        with pytest.raises(UnsupportedError, match=r"no white coordinates; choose another `sampler\.kind`"):
            prior.density().whitened()


@every_base
def test_base_draws_are_those_of_the_base(base: str, seeded: Seeded) -> None:
    """Bit by bit from the same generator, with and without held levels."""
    prior, z = joint_prior(base), draws(4, seeded(1))
    ours = prior.sample_base(4, like=z[0], generator=seeded(2))
    assert all(map(torch.equal, ours, prior.base.sample_base(4, like=z[0], generator=seeded(2))))
    if base == "flow":
        return
    ours = prior.sample_base_given(z, [2], generator=seeded(2))
    assert all(map(torch.equal, ours, prior.base.sample_base_given(z, [2], generator=seeded(2))))
