"""The Langevin step: its exact stationary laws, discretisation bias included; its sign; its errors."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hebm.errors import NonFiniteError
from hebm.latents import Latents
from hebm.randomness import ShardedGenerator
from hebm.samplers import langevin_step, value_and_grad

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]


def gaussian(z: Latents) -> Tensor:
    return -0.5 * z[0].square().sum(1) / 0.7


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_langevin_has_the_exact_stationary_variance(temperature: float, seeded: Seeded) -> None:
    """On N(0, s²) the step's own fixed point is τ s² / (1 - η / 2s²), discretisation bias included."""
    s2, eta, n_chains = 0.7, 0.2, 20_000
    generator = seeded(0)
    z: Latents = (torch.zeros(n_chains, 1, dtype=torch.float64),)
    for _ in range(60):
        z, _ = langevin_step(z, gaussian, step_size=eta, temperature=temperature, generator=generator)
    expected = temperature * s2 / (1 - eta / (2 * s2))
    standard_error = expected * math.sqrt(2 / n_chains)  # of a variance over independent chains
    assert abs(z[0].var().item() - expected) < 5 * standard_error
    assert abs(expected - temperature * s2) > 5 * standard_error  # the bias is seen


def tilted(z: Tensor) -> Tensor:
    """An asymmetric energy: a soft wall on the right of a standard normal, and a pull to the left."""
    return 0.75 * F.softplus(4 * z)


def tilted_grad(z: Tensor) -> Tensor:
    return 3 * torch.sigmoid(4 * z)


def stationary_moments(eta: float, energy_grad: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Grid moments 1 to 6 of the law that the step z - η(z + E'(z)) + √(2η) ε leaves as it is."""
    z = torch.linspace(-8, 7, 500, dtype=torch.float64)
    mean = z - eta * (z + energy_grad(z))
    transition = (-((z[None] - mean[:, None]) ** 2) / (4 * eta)).exp()
    transition /= transition.sum(1, keepdim=True)
    for _ in range(10):  # 1024 steps
        transition = transition @ transition
    powers = torch.stack([z**k for k in range(1, 7)])
    return powers @ transition[250], powers @ transition[100]


def standard_errors(moments: Tensor, n: int) -> Tensor:
    """Of the first three raw moments over n independent draws."""
    first, second, third, fourth, _, sixth = moments
    return ((torch.stack([second, fourth, sixth]) - torch.stack([first, second, third]).square()) / n).sqrt()


def test_langevin_has_the_stationary_law_of_its_transition_operator(seeded: Seeded) -> None:
    """On a skewed target the first three moments are those of the discretised chain, by quadrature.

    A wrong sign of the energy, a factor 2 in the noise, or the undiscretised target would be seen.
    """
    eta, n_chains, generator = 0.3, 40_000, seeded(0)
    z: Latents = (torch.randn(n_chains, 1, generator=generator, dtype=torch.float64),)
    for _ in range(50):
        z, _ = langevin_step(
            z, lambda z: -0.5 * z[0].square().sum(1) - tilted(z[0]).sum(1), step_size=eta, generator=generator
        )
    expected, from_elsewhere = stationary_moments(eta, tilted_grad)
    torch.testing.assert_close(expected, from_elsewhere, rtol=1e-9, atol=1e-9)  # it is stationary
    errors = standard_errors(expected, n_chains)
    moments = torch.stack([(z[0] ** k).mean() for k in (1, 2, 3)])
    assert ((moments - expected[:3]).abs() < 5 * errors).all()

    grid = torch.linspace(-8, 7, 2000, dtype=torch.float64)
    density = torch.softmax(-0.5 * grid.square() - tilted(grid), 0)
    undiscretised = torch.stack([(density * grid**k).sum() for k in (1, 2, 3)])
    wrong_sign, _ = stationary_moments(eta, lambda z: -tilted_grad(z))
    assert ((undiscretised - expected[:3]).abs() > 10 * errors).any()
    assert ((wrong_sign[:3] - expected[:3]).abs() > 10 * errors).any()


def test_zero_temperature_is_gradient_ascent(seeded: Seeded) -> None:
    """z + η ∇log p exactly, whatever the generator."""
    z = (torch.randn(5, 2, generator=seeded(0), dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64))

    def log_density(z: Latents) -> Tensor:
        return -(z[0] ** 4).sum(1) - (z[1].exp() * z[0][:, :1]).sum(1)

    moved, info = langevin_step(z, log_density, step_size=0.01, temperature=0.0, generator=seeded(1))
    coupling = z[1].exp()
    grads = (-4 * z[0] ** 3 - torch.cat([coupling, torch.zeros_like(coupling)], 1), -coupling * z[0][:, :1])
    torch.testing.assert_close(moved, tuple(a + 0.01 * g for a, g in zip(z, grads, strict=True)))
    torch.testing.assert_close(info.grad_norm, torch.cat(grads, 1).norm(dim=1))
    torch.testing.assert_close(info.log_density, log_density(z))
    assert (log_density(moved) > info.log_density).all()


def test_the_noise_has_scale_root_two_eta_tau(seeded: Seeded) -> None:
    """On a flat target the step adds √(2ητ) times the generator's own noise."""
    z = (torch.zeros(3, 2, dtype=torch.float64),)
    moved, _ = langevin_step(
        z, lambda z: 0 * z[0].sum(1), step_size=0.08, temperature=0.5, generator=seeded(4)
    )
    eps = torch.randn(3, 2, generator=seeded(4), dtype=torch.float64)
    torch.testing.assert_close(moved[0], math.sqrt(2 * 0.08 * 0.5) * eps)


def test_the_step_writes_to_no_input_and_keeps_no_history(seeded: Seeded) -> None:
    """A pure step: positions stay, nothing returned requires a gradient, parameters get none."""
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    start = torch.randn(3, 2, generator=seeded(0), dtype=torch.float64)
    z = (start.clone(),)
    moved, info = langevin_step(
        z, lambda z: -weight * z[0].square().sum(1), step_size=0.1, generator=seeded(1)
    )
    assert torch.equal(z[0], start)
    assert not z[0].requires_grad
    assert not any(t.requires_grad for t in (*moved, *info))
    assert weight.grad is None


def test_same_generator_same_step_and_other_generator_another(seeded: Seeded) -> None:
    """And the global stream is untouched."""
    z = (torch.zeros(3, 2, dtype=torch.float64),)
    before = torch.random.get_rng_state()
    first, again, other = (
        langevin_step(z, gaussian, step_size=0.1, generator=seeded(seed))[0][0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_shards_of_the_chains_move_as_the_whole_batch(seeded: Seeded) -> None:
    """Two processes with half of the chains each make the moves of one with all."""
    z = torch.randn(4, 2, generator=seeded(0), dtype=torch.float64)
    whole, _ = langevin_step((z,), gaussian, step_size=0.1, generator=seeded(1))
    parts = [
        langevin_step((half,), gaussian, step_size=0.1, generator=ShardedGenerator(seeded(1), rank, 2))[0][0]
        for rank, half in enumerate(z.chunk(2))
    ]
    assert torch.equal(whole[0], torch.cat(parts))


def test_a_hand_written_gradient_is_preferred() -> None:
    """A target with `value_and_grad` is asked for it and never called."""

    class Target:
        def __call__(self, latents: Latents) -> Tensor:
            raise AssertionError("autograd was used")

        def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
            return latents[0].sum(1), (torch.full_like(latents[0], 7),)

    value, grads = value_and_grad(Target(), (torch.ones(2, 3),))
    assert value.tolist() == [3, 3]
    assert grads[0].unique().tolist() == [7]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_non_finite_log_density_stops_the_step(bad: float) -> None:
    """The message counts the lost chains and says what to change."""
    z = (torch.tensor([[1.0], [2.0], [3.0]]),)
    with pytest.raises(NonFiniteError, match=r"1 of 3 chain states is not finite; lower `sampler.step_size`"):
        langevin_step(z, lambda z: torch.where(z[0][:, 0] == 2, bad, -(z[0][:, 0] ** 2)), step_size=0.1)


def test_a_non_finite_gradient_stops_the_step() -> None:
    """√|z| is finite at 0, its gradient is not: the new position would be lost silently."""
    z = (torch.tensor([[0.0], [1.0]]),)
    with pytest.raises(NonFiniteError, match="threw 1 of 2 chains"):
        langevin_step(z, lambda z: -z[0].abs().sqrt().sum(1), step_size=0.1)
