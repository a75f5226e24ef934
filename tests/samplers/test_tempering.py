"""Parallel tempering in detail: every replica's law, the swap's probability, what a swap moves."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hebm.errors import ConfigError, NonFiniteError
from hebm.latents import Latents
from hebm.samplers import HMC, MALA, ParallelTempering, TemperingState, effective_sample_size, evaluate_state

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
BETAS = (1.0, 0.7, 0.4, 0.0)


def target(latents: Latents) -> Tensor:
    """N(2, 0.5²) and N(0, 1), two levels."""
    return -2 * (latents[0] - 2).square().sum(1) - 0.5 * latents[1].square().sum(1)


def base(latents: Latents) -> Tensor:
    """N(-1, 1) and N(0, 2²), with a constant that must not matter."""
    return 7 - 0.5 * (latents[0] + 1).square().sum(1) - latents[1].square().sum(1) / 8


def zeros(n: int) -> Latents:
    return torch.zeros(n, 1, dtype=torch.float64), torch.zeros(n, 2, dtype=torch.float64)


@pytest.mark.parametrize("with_base", [True, False])
def test_every_replica_has_the_law_of_its_temperature(with_base: bool, seeded: Seeded) -> None:
    """A product of Gaussians: precisions and precision-weighted means add up with weights 1 - β and β."""
    betas = BETAS if with_base else (1.0, 0.6, 0.3)
    sampler = ParallelTempering(HMC(0.7, 2), betas, base=base if with_base else None)
    generator, state = seeded(0), sampler.start(target, zeros(300))
    kept = []
    for i in range(200):
        state, info = sampler.step(target, state, generator=generator)
        if i >= 40:
            z = state.target.latents[0][..., 0]
            kept.append(torch.stack([z, z**2], dim=-1).flatten(1))
    assert info.replica_acceptance.shape == (300, len(betas))
    draws = torch.stack(kept)
    beta = torch.tensor(betas, dtype=torch.float64)
    rest = (1 - beta) if with_base else 0 * beta
    precision = rest * 1 + beta * 4
    mean = (rest * 1 * -1 + beta * 4 * 2) / precision
    expected = torch.stack([mean, 1 / precision + mean**2], dim=-1).flatten()
    errors = draws.flatten(0, 1).std(0) / effective_sample_size(draws).sqrt()
    assert ((draws.mean((0, 1)) - expected).abs() < 5 * errors).all()


class Still:
    """An inner kernel that moves nothing, so that the swap is seen by itself."""

    def step(self, log_density, state, *, step_size=None, generator=None, free=None):  # type: ignore[no-untyped-def]
        self.seen = log_density, state
        ones = torch.ones_like(state.log_density)
        return state, (ones, ones.bool(), 0 * ones)


def spread_out(n: int, generator: torch.Generator) -> tuple[ParallelTempering, TemperingState]:
    """Replicas at places of their own."""
    sampler = ParallelTempering(Still(), BETAS, base=base)
    rows = tuple(torch.randn(n * 4, d, generator=generator, dtype=torch.float64) for d in (1, 2))
    return sampler, sampler._evaluate(target, rows, n_moves=0)


@pytest.mark.parametrize("parity", [0, 1])
def test_neighbours_swap_with_the_metropolis_probability(parity: int, seeded: Seeded) -> None:
    """min(1, π_r(z_s) π_s(z_r) / π_r(z_r) π_s(z_s)), s = r + 1, from the tempered densities themselves."""
    sampler, state = spread_out(20_000, seeded(0))
    state = state._replace(n_moves=parity)
    _, info = sampler.step(target, state, generator=seeded(1))

    def log_pi(r: int, s: int) -> Tensor:
        z = tuple(level[:, s] for level in state.target.latents)
        return (1 - BETAS[r]) * base(z) + BETAS[r] * target(z)

    for r in range(3):
        log_ratio = log_pi(r, r + 1) + log_pi(r + 1, r) - log_pi(r, r) - log_pi(r + 1, r + 1)
        p = log_ratio.exp().clamp(max=1)
        torch.testing.assert_close(info.swap_acceptance[:, r], p)
        if r % 2 != parity:
            assert not info.swapped[:, r].any()
            continue
        error = (p * (1 - p)).sum().sqrt() / len(p)
        assert (info.swapped[:, r].double().mean() - p.mean()).abs() < 5 * error
        assert info.swapped[p == 1, r].all()
        assert 0.1 < p.mean() < 0.9


@pytest.mark.parametrize("parity", [0, 1])
def test_a_swap_exchanges_two_positions_with_all_that_belongs_to_them(parity: int, seeded: Seeded) -> None:
    """Positions go where `swapped` says, per chain; densities and gradients of target and base go along."""
    sampler, state = spread_out(200, seeded(0))
    moved, info = sampler.step(target, state._replace(n_moves=parity), generator=seeded(1))
    assert moved.n_moves == parity + 1
    for level in (0, 1):
        expected = state.target.latents[level].clone()
        for b, r in info.swapped.nonzero().tolist():
            expected[b, [r, r + 1]] = state.target.latents[level][b, [r + 1, r]]
        assert torch.equal(moved.target.latents[level], expected)
    assert info.swapped.any()
    rows = tuple(z.flatten(0, 1) for z in moved.target.latents)
    torch.testing.assert_close(moved, sampler._evaluate(target, rows, n_moves=parity + 1))


def test_the_inner_kernel_sees_the_tempered_density_and_its_gradient(seeded: Seeded) -> None:
    """In the state it starts from and at any new place: values and gradients as autograd has them.

    A wrong gradient would not change the law, only the acceptance.
    """
    sampler, state = spread_out(10, seeded(0))
    sampler.step(target, state, generator=seeded(1))
    assert isinstance(sampler.inner, Still)
    tempered, inner_state = sampler.inner.seen
    by_autograd = evaluate_state(lambda z: tempered(z), inner_state.latents)
    torch.testing.assert_close(inner_state, by_autograd)
    torch.testing.assert_close(evaluate_state(tempered, inner_state.latents), by_autograd)
    beta = torch.tensor(BETAS, dtype=torch.float64).repeat(10)
    expected = (1 - beta) * base(inner_state.latents) + beta * target(inner_state.latents)
    torch.testing.assert_close(inner_state.log_density, expected)


def test_chains_may_be_clamped_each_by_itself(seeded: Seeded) -> None:
    """A mask [B, d_l] holds all replicas of its chain."""
    sampler = ParallelTempering(MALA(0.3), BETAS, base=base)
    free = tuple(torch.tensor([[0.0], [1.0], [0.0]]).double().expand_as(z) for z in zeros(3))
    generator, state = seeded(0), sampler.start(target, zeros(3))
    for _ in range(20):
        state, _ = sampler.step(target, state, generator=generator, free=free)
    for z in state.target.latents:
        assert (z[[0, 2]] == 0).all()
        assert (z[1, 0] != 0).all()


def test_the_cold_replica_is_what_a_user_reads(seeded: Seeded) -> None:
    """Its positions, its log-density under the target, its acceptance."""
    sampler = ParallelTempering(MALA(0.3), BETAS, base=base)
    state, info = sampler.step(target, sampler.start(target, zeros(6)), generator=seeded(0))
    assert [z.shape for z in state.latents] == [(6, 1), (6, 2)]
    assert all(
        torch.equal(z[:, 0], cold) for z, cold in zip(state.target.latents, state.latents, strict=True)
    )
    torch.testing.assert_close(state.log_density, target(state.latents))
    assert torch.equal(info.acceptance, info.replica_acceptance[:, 0])


def test_one_replica_is_the_inner_kernel(seeded: Seeded) -> None:
    """With β = 1 alone the first step is `moves_per_swap` moves of the inner kernel."""
    sampler = ParallelTempering(MALA(0.3), (1.0,), moves_per_swap=2)
    tempered, info = sampler.step(target, sampler.start(target, zeros(6)), generator=seeded(0))
    alone, generator = evaluate_state(target, zeros(6)), seeded(0)
    for _ in range(2):
        alone, inner_info = MALA(0.3).step(target, alone, generator=generator)
    torch.testing.assert_close(tempered.latents, alone.latents)
    torch.testing.assert_close(info[:3], tuple(inner_info))


def test_each_temperature_may_have_its_own_step_size(seeded: Seeded) -> None:
    """[1, n_replicas]: the noise of replica r has scale √(2η_r) on a flat target."""
    sampler = ParallelTempering(MALA(0.3), (1.0, 0.5), base=lambda z: 0 * (z[0].sum(1) + z[1].sum(1)))
    flat = sampler.base
    assert flat is not None
    start = sampler.start(flat, zeros(10_000))
    sizes = torch.tensor([[0.01, 1.0]], dtype=torch.float64)
    state, info = sampler.step(flat, start._replace(n_moves=1), step_size=sizes, generator=seeded(0))
    assert not info.swapped.any()
    torch.testing.assert_close(state.target.latents[1].var((0, 2)), 2 * sizes[0], rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("betas", "with_base"),
    [((), True), ((0.9, 0.5), True), ((1.0, 1.0), True), ((1.0, 0.2, 0.5), True), ((1.0, -0.1), True),
     ((1.0, 0.0), False)],
)  # fmt: skip
def test_a_ladder_that_does_not_fall_from_one_is_refused(betas: tuple[float, ...], with_base: bool) -> None:
    """And β = 0 needs a base: p^0 is no density."""
    with pytest.raises(ConfigError, match="start with 1 and fall"):
        ParallelTempering(MALA(0.1), betas, base=base if with_base else None)


def test_a_start_where_the_base_is_not_finite_is_refused() -> None:
    """As where the target is not."""
    sampler = ParallelTempering(MALA(0.1), BETAS, base=lambda z: z[0].sum(1).log() + z[1].sum(1))
    with pytest.raises(NonFiniteError, match="not finite"):
        sampler.start(target, zeros(2))
