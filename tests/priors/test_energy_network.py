"""The energy over all levels: coupling, bound, frozen form."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hebm.errors import LatentShapeError
from hebm.latents import Latents, unflatten_latents
from hebm.nn import ACTIVATIONS
from hebm.priors import EnergyNetwork, StagedEnergy

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (3, 1, 2)


def energy_network(
    coupling: str = "joint", *, depth: int = 2, activation: str = "silu", **options: float
) -> EnergyNetwork:
    torch.manual_seed(0)
    network = EnergyNetwork(DIMS, width=16, depth=depth, activation=activation, coupling=coupling, **options)
    return network.double()


def draws(n: int, generator: torch.Generator) -> Latents:
    return unflatten_latents(torch.randn(n, sum(DIMS), generator=generator, dtype=torch.float64), DIMS)


def hessian(network: EnergyNetwork, flat: Tensor) -> Tensor:
    return torch.autograd.functional.hessian(lambda z: network(unflatten_latents(z[None], DIMS)).sum(), flat)


def cross_blocks(matrix: Tensor) -> Tensor:
    """Entries that couple two different levels."""
    level = torch.repeat_interleave(torch.arange(3), torch.tensor(DIMS))
    return matrix[level[:, None] != level[None, :]]


def test_a_joint_energy_couples_every_pair_of_levels(seeded: Seeded) -> None:
    """No second derivative across two levels vanishes."""
    matrix = hessian(energy_network("joint"), torch.cat(draws(1, seeded(1)), 1)[0])
    assert (cross_blocks(matrix).abs() > 1e-9).all()


def test_a_per_level_energy_couples_no_levels(seeded: Seeded) -> None:
    """All second derivatives across levels are exactly zero, those within a level are not."""
    matrix = hessian(energy_network("per_level"), torch.cat(draws(1, seeded(1)), 1)[0])
    assert (cross_blocks(matrix) == 0).all()
    assert (matrix[:3, :3].abs() > 1e-9).all()


def test_a_per_level_energy_is_the_sum_of_its_levels(seeded: Seeded) -> None:
    """E(z) = Σ_l MLP_l(z_l), levels top first."""
    network, z = energy_network("per_level"), draws(4, seeded(1))
    expected = sum(part(level) for part, level in zip(network.networks, z, strict=True))
    torch.testing.assert_close(network(z), expected)


def test_a_joint_energy_reads_the_levels_top_first(seeded: Seeded) -> None:
    """Its one MLP is given [z_L, ..., z_1]."""
    network, z = energy_network("joint"), draws(4, seeded(1))
    torch.testing.assert_close(network(z), network.networks[0](torch.cat(z, dim=1)))


@pytest.mark.parametrize("coupling", ["joint", "per_level"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_the_frozen_energy_has_the_gradient_of_autograd(
    activation: str, depth: int, coupling: str, seeded: Seeded
) -> None:
    """Value and hand-written gradient over the flat state, both couplings, with a bound."""
    network = energy_network(coupling, depth=depth, activation=activation, lipschitz=2.0).eval()
    z = tuple(level.requires_grad_() for level in draws(5, seeded(1)))
    grads = torch.autograd.grad(network(z).sum(), z)
    flat = torch.cat(z, 1).detach()
    value, grad = network.frozen().value_and_grad(flat)
    torch.testing.assert_close(value, network(z), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, torch.cat(grads, 1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network.frozen()(flat), network(z), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("coupling", "slope"), [("joint", 1.0), ("per_level", 3**0.5)])
def test_a_bounded_energy_is_lipschitz(coupling: str, slope: float, seeded: Seeded) -> None:
    """c for the joint network; √L c for a sum of L networks, each bounded by c."""
    bound = 3.0
    network = energy_network(coupling, activation="leaky_relu", lipschitz=bound)
    for _ in range(200):
        network(draws(1, seeded(0)))
    network.eval()
    z, other = draws(2000, seeded(1)), draws(2000, seeded(2))
    distance = (torch.cat(z, 1) - torch.cat(other, 1)).norm(dim=1)
    ratio = (network(z) - network(other)).abs() / distance
    assert ratio.max().item() <= bound * slope * (1 + 1e-6)


def test_the_parameters_get_no_gradient_through_the_frozen_energy(seeded: Seeded) -> None:
    """Generator and encoder learn through it; the energy does not."""
    network = energy_network(lipschitz=1.0)
    flat = torch.cat(draws(3, seeded(1)), 1).requires_grad_()
    network.frozen()(flat).sum().backward()
    assert flat.grad is not None
    assert all(p.grad is None for p in network.parameters())


def test_the_energy_is_never_computed_in_half_precision(seeded: Seeded, device: torch.device) -> None:
    """Autocast around it changes neither its dtype nor its value."""
    network = energy_network().float()
    z = tuple(level.float() for level in draws(3, seeded(1)))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        value = network(z)
    assert value.dtype == torch.float32
    assert torch.equal(value, network(z))


def test_latents_of_other_levels_are_refused(seeded: Seeded) -> None:
    """Bottom first is an error, not another energy."""
    with pytest.raises(LatentShapeError, match="top first"):
        energy_network()(tuple(reversed(draws(2, seeded(1)))))


def flat_draws(n: int, generator: torch.Generator) -> Tensor:
    """Away from N(0, I): other centres and spreads for every latent, one of them nearly constant."""
    spread = torch.tensor([0.3, 2.0, 1.0, 0.001, 0.5, 4.0], dtype=torch.float64)
    centre = torch.tensor([1.0, -3.0, 0.0, 2.0, 0.5, -1.0], dtype=torch.float64)
    return centre + spread * torch.randn(n, sum(DIMS), generator=generator, dtype=torch.float64)


def assert_frozen_is(energy: EnergyNetwork | StagedEnergy, flat: Tensor) -> None:
    """Value, value with gradient, and gradient of the frozen form, against the module and autograd."""
    flat = flat.clone().requires_grad_()
    expected = energy(unflatten_latents(flat, DIMS))
    (expected_grad,) = torch.autograd.grad(expected.sum(), flat)
    flat = flat.detach()
    value, grad = energy.frozen().value_and_grad(flat)
    torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(energy.frozen()(flat), expected.detach(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("coupling", ["joint", "per_level"])
def test_a_standardised_energy_sees_latents_in_units_of_the_data(coupling: str, seeded: Seeded) -> None:
    """The MLPs are given (z - mean) / (std + 0.05), level by level; the frozen form is the same function."""
    flat = flat_draws(50, seeded(1))
    network = energy_network(coupling)
    network.standardise_(flat)
    units = unflatten_latents((flat - flat.mean(0)) / (flat.std(0) + 0.05), DIMS)
    torch.testing.assert_close(network(unflatten_latents(flat, DIMS)), energy_network(coupling)(units))
    assert_frozen_is(network, flat)


def test_a_bounded_energy_keeps_its_units(seeded: Seeded) -> None:
    """Other units would change the bound; a state dict carries those of an energy without one."""
    flat = flat_draws(50, seeded(1))
    bounded, free, other = energy_network(lipschitz=1.0), energy_network(), energy_network()
    for network in (bounded, free):
        network.standardise_(flat)
    assert bounded.centre.tolist() == [0] * 6
    assert bounded.spread.tolist() == [1] * 6
    other.load_state_dict(free.state_dict())
    z = unflatten_latents(flat, DIMS)
    assert torch.equal(other(z), free(z))
    assert not torch.equal(energy_network()(z), free(z))


def staged(n_active: int, coupling: str = "joint") -> StagedEnergy:
    """Three different stages with constants 0.5, -2 and 4."""
    energy = StagedEnergy([energy_network(coupling, depth=depth) for depth in (0, 1, 2)])
    with torch.no_grad():
        for constant, value in zip(energy.constants, (0.5, -2.0, 4.0), strict=True):
            constant.fill_(value)
    energy.n_active.fill_(n_active)
    return energy.double()


@pytest.mark.parametrize("coupling", ["joint", "per_level"])
@pytest.mark.parametrize("n_active", [0, 1, 2, 3])
def test_a_staged_energy_sums_its_active_stages(n_active: int, coupling: str, seeded: Seeded) -> None:
    """E(z) = Σ_{m < M} [E_m(z) - c_m]; no active stage is zero energy; the frozen form is the same function."""
    energy, z = staged(n_active, coupling), draws(4, seeded(1))
    parts = [stage(z) - c for stage, c in zip(energy.stages, (0.5, -2.0, 4.0), strict=True)]
    expected = sum(parts[:n_active], torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(energy(z), expected)
    torch.testing.assert_close(energy.stage(1, z), parts[1])
    if n_active > 0:
        assert_frozen_is(energy, torch.cat(z, 1))
    value, grad = energy.frozen().value_and_grad(torch.cat(z, 1))
    torch.testing.assert_close(value, expected)
    assert n_active > 0 or not grad.any()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_the_first_stages_can_be_frozen_alone(n: int, seeded: Seeded) -> None:
    """What the density was before a stage, whichever stages are active now; the last stage is the difference."""
    flat = torch.cat(draws(4, seeded(1)), 1)
    torch.testing.assert_close(staged(3).frozen(n)(flat), staged(n).frozen()(flat))
    difference = staged(3).frozen(n + 1)(flat) - staged(3).frozen(n)(flat)
    torch.testing.assert_close(difference, staged(3).stage(n, unflatten_latents(flat, DIMS)))
