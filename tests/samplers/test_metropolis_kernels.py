"""MALA and Hamiltonian moves in detail: acceptance by hand, reversibility, orders of the error."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from hebm.errors import ConfigError
from hebm.latents import Latents
from hebm.samplers import HMC, MALA, ChainState, diverged, evaluate_state, leapfrog

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]


def asymmetric(latents: Latents) -> Tensor:
    """Skewed, coupled, not Gaussian; two levels."""
    a, b = latents
    return -(a.exp() - a).sum(1) - 0.25 * (b**4).sum(1) - 0.3 * (a[:, 0] * b[:, 0]).sin()


def start(n: int, generator: torch.Generator) -> ChainState:
    z = (
        torch.randn(n, 2, generator=generator, dtype=torch.float64),
        torch.randn(n, 1, generator=generator, dtype=torch.float64),
    )
    return evaluate_state(asymmetric, z)


CLAMP: list[Latents | None] = [None, (torch.tensor([[1.0, 0.0]]).double(), torch.ones(1, 1).double())]


@pytest.mark.parametrize("free", CLAMP)
def test_mala_accepts_with_the_ratio_of_target_and_proposal(free: Latents | None, seeded: Seeded) -> None:
    """min(1, p(z') q(z | z') / p(z) q(z' | z)) with q = N(z + η∇log p, 2η) of the free latents, written out."""
    eta, state = 0.4, start(200, seeded(0))
    if free is not None:
        free = tuple(mask.to(state.log_density.device) for mask in free)
    moved, info = MALA(eta).step(asymmetric, state, generator=seeded(1), free=free)
    generator = seeded(1)
    noise = [torch.randn(z.shape, generator=generator, dtype=torch.float64) for z in state.latents]
    masks = free or tuple(torch.ones_like(z) for z in state.latents)
    proposal = evaluate_state(
        asymmetric,
        tuple(
            z + m * (eta * g + math.sqrt(2 * eta) * eps)
            for z, g, eps, m in zip(state.latents, state.grads, noise, masks, strict=True)
        ),
    )

    def log_q(there: ChainState, here: ChainState) -> Tensor:
        terms = [
            (m * Normal(z + eta * g, math.sqrt(2 * eta)).log_prob(to)).sum(1)
            for to, z, g, m in zip(there.latents, here.latents, here.grads, masks, strict=True)
        ]
        return torch.stack(terms).sum(0)

    log_ratio = proposal.log_density - state.log_density + log_q(state, proposal) - log_q(proposal, state)
    torch.testing.assert_close(info.energy_error, -log_ratio)
    torch.testing.assert_close(info.acceptance, log_ratio.exp().clamp(max=1))
    assert 0.2 < info.acceptance.mean() < 0.95
    for new, old, end in zip(moved.latents, state.latents, proposal.latents, strict=True):
        torch.testing.assert_close(new, torch.where(info.accepted[:, None], end, old))


@pytest.mark.parametrize("kernel", [MALA(0.5), HMC(1.0, 2)])
def test_acceptance_is_the_frequency_of_accepted_moves(kernel: MALA | HMC, seeded: Seeded) -> None:
    """Where it is promised with probability α, it happens with probability α."""
    state = start(1, seeded(3))
    many = evaluate_state(asymmetric, tuple(z.repeat(50_000, 1) for z in state.latents))
    _, info = kernel.step(asymmetric, many, generator=seeded(1))
    assert 0.1 < info.acceptance.mean() < 0.95
    for low, high in [(0.0, 0.3), (0.3, 0.7), (0.7, 1.0)]:  # within classes, so that the coin itself is seen
        some = (info.acceptance > low) & (info.acceptance < high)
        p = info.acceptance[some]
        error = ((p * (1 - p)).sum()).sqrt() / len(p)
        assert (info.accepted[some].double().mean() - p.mean()).abs() < 5 * error
    assert info.accepted[info.acceptance == 1].all()


@pytest.mark.parametrize("free", CLAMP)
def test_one_leapfrog_step_is_mala(free: Latents | None, seeded: Seeded) -> None:
    """HMC with ε and one step makes the moves of MALA with η = ε² / 2, noise, acceptance and all."""
    epsilon, state = 0.7, start(50, seeded(0))
    if free is not None:
        free = tuple(mask.to(state.log_density.device) for mask in free)
    hmc = HMC(epsilon, 1).step(asymmetric, state, generator=seeded(1), free=free)
    mala = MALA(epsilon**2 / 2).step(asymmetric, state, generator=seeded(1), free=free)
    torch.testing.assert_close(hmc, mala)


def test_the_leapfrog_is_reversible(seeded: Seeded) -> None:
    """From the end, with the momentum turned round, it comes back."""
    state, generator = start(20, seeded(0)), seeded(1)
    momentum = tuple(torch.randn(z.shape, generator=generator, dtype=torch.float64) for z in state.latents)
    step = torch.linspace(0.05, 0.2, 20, dtype=torch.float64)
    end, p = leapfrog(asymmetric, state, momentum, step_size=step, n_leapfrog=12)
    back, q = leapfrog(asymmetric, end, tuple(-v for v in p), step_size=step, n_leapfrog=12)
    torch.testing.assert_close(back, state)
    torch.testing.assert_close(tuple(-v for v in q), momentum)
    assert (end.latents[0] - state.latents[0]).norm(dim=1).median() > 0.5


def test_the_leapfrog_keeps_volume(seeded: Seeded) -> None:
    """The Jacobian determinant of (z, p) is 1, by central differences."""
    base = torch.randn(6, generator=seeded(0), dtype=torch.float64) / 2
    h = 1e-5
    points = torch.cat([base + h * torch.eye(6).double(), base - h * torch.eye(6).double()])
    state = evaluate_state(asymmetric, (points[:, :2], points[:, 2:3]))
    end, p = leapfrog(asymmetric, state, (points[:, 3:5], points[:, 5:]), step_size=0.3, n_leapfrog=4)
    ends = torch.cat([*end.latents, *p], dim=1)
    jacobian = (ends[:6] - ends[6:]) / (2 * h)
    assert abs(torch.linalg.det(jacobian).item() - 1) < 1e-7
    assert (jacobian - torch.eye(6).double()).abs().max() > 0.5


def total_energy(state: ChainState, momentum: Latents) -> Tensor:
    return sum(0.5 * p.square().sum(1) for p in momentum) - state.log_density  # type: ignore[return-value]


def test_the_energy_error_is_of_second_order(seeded: Seeded) -> None:
    """Half the step and twice the number: the error over the same time falls to a quarter."""
    state, generator = start(50, seeded(0)), seeded(1)
    momentum = tuple(torch.randn(z.shape, generator=generator, dtype=torch.float64) for z in state.latents)
    errors = []
    for n in (20, 40, 80):
        end, p = leapfrog(asymmetric, state, momentum, step_size=1.0 / n, n_leapfrog=n)
        errors.append((total_energy(end, p) - total_energy(state, momentum)).norm().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.02)


def test_the_leapfrog_follows_hamiltons_equations(seeded: Seeded) -> None:
    """On N(0, 1) the exact flow is the rotation z cos t + p sin t."""
    z = torch.randn(10, 1, generator=seeded(0), dtype=torch.float64)
    p = torch.randn(10, 1, generator=seeded(1), dtype=torch.float64)
    state = evaluate_state(lambda z: -0.5 * z[0].square().sum(1), (z,))
    end, _ = leapfrog(lambda z: -0.5 * z[0].square().sum(1), state, (p,), step_size=0.01, n_leapfrog=150)
    torch.testing.assert_close(end.latents[0], z * math.cos(1.5) + p * math.sin(1.5), rtol=1e-3, atol=1e-3)


def test_hmc_reports_and_accepts_by_the_energy_error(seeded: Seeded) -> None:
    """ΔH of the trajectory from the generator's own momentum; acceptance min(1, e^-ΔH)."""
    state, generator = start(50, seeded(0)), seeded(1)
    momentum = tuple(torch.randn(z.shape, generator=generator, dtype=torch.float64) for z in state.latents)
    end, p = leapfrog(asymmetric, state, momentum, step_size=0.5, n_leapfrog=3)
    _, info = HMC(0.5, 3).step(asymmetric, state, generator=seeded(1))
    error = total_energy(end, p) - total_energy(state, momentum)
    torch.testing.assert_close(info.energy_error, error)
    torch.testing.assert_close(info.acceptance, (-error).exp().clamp(max=1))


def test_a_divergent_trajectory_is_rejected_and_reported(seeded: Seeded) -> None:
    """Finite but thousands of nats off, or not finite at all; the other chains go on."""
    state = evaluate_state(asymmetric, tuple(z.abs() + 1 for z in start(3, seeded(0)).latents))
    steps = torch.tensor([0.05, 4.0, 50.0], dtype=torch.float64)
    moved, info = HMC(0.1, 1).step(asymmetric, state, step_size=steps, generator=seeded(1))
    assert diverged(info).tolist() == [False, True, True]
    assert info.acceptance[1:].tolist() == [0, 0]
    assert info.acceptance[0] > 0.9
    for new, old in zip(moved.latents, state.latents, strict=True):
        assert torch.equal(new[1:], old[1:])


def test_hmc_needs_a_leapfrog_step() -> None:
    """None at all would accept always and move nothing."""
    with pytest.raises(ConfigError, match="`n_leapfrog` is 0"):
        HMC(0.1, 0)


@pytest.mark.parametrize(("kernel", "evaluations"), [(MALA(0.1), 1), (HMC(0.1, 5), 5)])
def test_a_move_asks_for_no_more_than_it_needs(kernel: MALA | HMC, evaluations: int, seeded: Seeded) -> None:
    """The gradient at the start is the state's."""
    state, calls = start(3, seeded(0)), []

    def counted(latents: Latents) -> Tensor:
        calls.append(1)
        return asymmetric(latents)

    kernel.step(counted, state, generator=seeded(1))
    assert len(calls) == evaluations
