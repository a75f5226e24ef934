"""The Triton kernel: against the reference step with injected noise, and its own noise against Philox written out.

Without a GPU it runs in Triton's interpreter; without Triton everything here is skipped. Tests marked `gpu` run it
compiled.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from hebm.errors import UnsupportedError
from hebm.latents import Latents, flatten_latents
from hebm.nn import ACTIVATIONS
from hebm.priors import EnergyNetwork, GaussianPrior, JointPrior
from hebm.randomness import CommonGenerator, NoiseSource, ShardedGenerator
from hebm.samplers import ShortRunLangevin
from hebm.samplers.kernels import Target, choose_path, path, reason_against_triton, recognise, run_triton
from hebm.samplers.langevin import move

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DIMS = (3, 2, 4)
D = sum(DIMS)
TOLERANCE = 1e-5  # of few steps in float32

Launch = Callable[..., tuple[Tensor, Tensor]]


def joint(**options: Any) -> JointPrior:
    torch.manual_seed(0)
    network = EnergyNetwork(DIMS, **{"width": 12, "depth": 2, **options})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter))
    return JointPrior(GaussianPrior(DIMS), network).to(DEVICE)


def target_of(prior: JointPrior) -> Target:
    target = recognise(prior.density())
    assert isinstance(target, Target)
    return target


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def launch(prior: JointPrior, start: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    arguments: dict[str, Any] = {
        "n_steps": 3, "step_size": 0.08, "temperature": 1.0, "generator": torch.Generator(DEVICE).manual_seed(1),
        "free": None, **options,
    }  # fmt: skip
    return run_triton(target_of(prior), start, **arguments)


class Injected:
    """Reference steps that take their noise from a tensor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, noise: Tensor) -> None:
        self.rows = iter(noise)
        monkeypatch.setattr("hebm.samplers.langevin.standard_normal", lambda like, generator: next(self.rows))

    def chain(self, prior: JointPrior, start: Tensor, free: Tensor | None, eta: float, tau: float) -> Latents:
        state, trace = (start,), []
        for _ in range(3):
            mask = None if free is None else (free,)
            state, info = move(
                state, prior.density(), step_size=eta, temperature=tau, generator=None, free=mask
            )
            trace.append(info.log_density)
        return state[0], torch.stack(trace)


def assert_equal_to_the_reference(
    prior: JointPrior, monkeypatch: pytest.MonkeyPatch, *, free: Tensor | None = None, n: int = 5,
    eta: float = 0.08, tau: float = 1.0,
) -> None:  # fmt: skip
    start, noise = normal(n, D, seed=2), normal(3, n, D, seed=3)
    end, trace = launch(prior, start, noise=noise, free=free, step_size=eta, temperature=tau)
    expected, expected_trace = Injected(monkeypatch, noise).chain(prior, start, free, eta, tau)
    torch.testing.assert_close(end, expected, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(trace, expected_trace, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_with_injected_noise_it_is_the_reference_step(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions and trace of 3 steps, for every activation of the configuration."""
    assert_equal_to_the_reference(joint(activation=activation), monkeypatch)


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_any_depth_it_has(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One to four hidden layers."""
    assert_equal_to_the_reference(joint(depth=depth, activation="silu"), monkeypatch)


def test_per_level_energies_and_clamped_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network reads its level; clamped units do not move."""
    free = torch.ones(D, device=DEVICE)
    free[3:5] = 0
    assert_equal_to_the_reference(joint(coupling="per_level"), monkeypatch, free=free)


def test_more_than_one_tile_and_a_temperature(monkeypatch: pytest.MonkeyPatch) -> None:
    """19 chains in tiles of 16, the last not full; η and τ enter as in the reference."""
    assert_equal_to_the_reference(joint(), monkeypatch, n=19, eta=0.2, tau=0.3)


def philox_words(seed: int, counter: list[int]) -> list[int]:
    """Philox-4x32-10 in Python integers, as Salmon et al. (2011) define the rounds."""
    mask = 2**32 - 1
    key = [seed & mask, seed >> 32]
    for _ in range(10):
        low, high = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            high >> 32 ^ counter[1] ^ key[0],
            high & mask,
            low >> 32 ^ counter[3] ^ key[1],
            low & mask,
        ]
        key = [key[0] + 0x9E3779B9 & mask, key[1] + 0xBB67AE85 & mask]
    return counter


def philox_normal(seed: int, chains: range, step: int, units: int) -> Tensor:
    """Box-Muller on Philox's first two words."""

    def draw(counter: list[int]) -> float:
        words = philox_words(seed, counter)[:2]
        signed = [value if value < 2**31 else 2**32 - 1 - value for value in words]
        u, v = (value * 4.6566127342e-10 for value in signed)
        return math.sqrt(-2 * math.log(max(u, 1e-7))) * math.cos(2 * math.pi * v)

    return torch.tensor([[draw([unit, step, chain, 0]) for unit in range(units)] for chain in chains])


def noise_of(generator: NoiseSource, n: int, n_steps: int = 2) -> Tensor:
    """The sum of a chain's noise: a flat start at 0, η and τ such that only noise moves it."""
    prior = joint()
    end, _ = launch(
        prior, torch.zeros(n, D, device=DEVICE), generator=generator, n_steps=n_steps, step_size=1e-12,
        temperature=0.5e12,
    )  # fmt: skip
    return end


def test_its_noise_is_philox_of_seed_chain_step_and_unit() -> None:
    """Two steps' noise added up, against Philox written out; the seed is one draw of the generator."""
    seed = int(
        torch.randint(2**63 - 1, (1,), generator=torch.Generator(DEVICE).manual_seed(1), device=DEVICE)
    )
    expected = sum(philox_normal(seed, range(18), step, D) for step in range(2))
    noise = noise_of(torch.Generator(DEVICE).manual_seed(1), 18)
    torch.testing.assert_close(noise.cpu(), expected, rtol=1e-4, atol=1e-4)


def test_a_chains_noise_does_not_depend_on_the_others() -> None:
    """Fewer chains, shards and common draws get the numbers of their streams."""

    def seeded() -> torch.Generator:
        return torch.Generator(DEVICE).manual_seed(1)

    whole = noise_of(seeded(), 20)
    assert torch.equal(noise_of(seeded(), 3), whole[:3])
    assert torch.equal(noise_of(ShardedGenerator(seeded(), 1, 2), 10), whole[10:])
    assert torch.equal(noise_of(CommonGenerator(seeded(), 4), 12), whole[:4].repeat(3, 1))
    assert not torch.equal(noise_of(torch.Generator(DEVICE).manual_seed(2), 20), whole)


def test_an_energy_too_large_for_the_chip_goes_to_the_fused_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the choice is automatic; asked for by name it is refused."""
    prior, initial = joint(), tuple(normal(4, d, seed=d) for d in DIMS)

    def full(*arguments: object, **options: object) -> None:
        raise UnsupportedError("no room")

    monkeypatch.setattr(path, "run_triton", full)
    monkeypatch.setattr(path, "choose_path", lambda *_: ("triton", target_of(prior)))
    end = ShortRunLangevin(3)(prior.density(), initial, generator=torch.Generator(DEVICE).manual_seed(1))
    monkeypatch.undo()
    fused = ShortRunLangevin(3, path="fused")(
        prior.density(), initial, generator=torch.Generator(DEVICE).manual_seed(1)
    )
    assert torch.equal(flatten_latents(end.latents), flatten_latents(fused.latents))
    monkeypatch.setattr(path, "run_triton", full)
    with pytest.raises(UnsupportedError, match="no room"):
        ShortRunLangevin(3, path="triton")(prior.density(), initial)


def test_its_noise_is_standard_normal() -> None:
    """Mean, variance and fourth moment over chains and units; successive steps are uncorrelated."""
    generator = torch.Generator(DEVICE).manual_seed(1)
    state = generator.get_state()
    first = noise_of(generator, 160, 1).flatten().double()
    generator.set_state(state)
    second = noise_of(generator, 160, 2).flatten().double() - first
    n = len(first)
    assert abs(first.mean()) < 5 / math.sqrt(n)
    assert abs(first.square().mean() - 1) < 5 * math.sqrt(2 / n)
    assert abs(first.pow(4).mean() - 3) < 5 * math.sqrt(96 / n)
    assert abs((first * second).mean()) < 5 / math.sqrt(n)


def test_the_trace_only_if_asked_for() -> None:
    """The same positions without it."""
    start = normal(4, D, seed=2)
    end, trace = launch(joint(), start)
    other, nothing = launch(joint(), start, traced=False)
    assert trace.shape == (3, 4)
    assert nothing.shape == (0, 4)
    assert torch.equal(end, other)


def test_a_chain_asked_for_by_name_runs_on_it_and_starts_are_kept() -> None:
    """Through the sampler, clamped levels to the bit; the global stream is untouched."""
    prior, before = joint(), torch.random.get_rng_state()
    initial = tuple(normal(4, d, seed=d) for d in DIMS)
    copies = [z.clone() for z in initial]
    sampler = ShortRunLangevin(4, path="triton")
    ends = [
        sampler(
            prior.density(), initial, clamped=[1], generator=torch.Generator(DEVICE).manual_seed(s)
        ).latents
        for s in (1, 1, 2)
    ]
    assert torch.equal(flatten_latents(ends[0]), flatten_latents(ends[1]))
    assert not torch.equal(ends[0][0], ends[2][0])
    assert torch.equal(ends[0][1], initial[1])
    assert all(torch.equal(a, b) for a, b in zip(copies, initial, strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"width": 300}, "4 hidden layers of 128"), ({"depth": 5}, "energy has 5 of 12")],
)
def test_what_it_cannot_hold_is_said(options: dict[str, int], reason: str) -> None:
    """Asked for by name it is refused."""
    with pytest.raises(UnsupportedError, match=reason):
        choose_path("triton", joint(**options).density(), torch.zeros(2, D, device=DEVICE))


def test_double_precision_and_a_bare_cpu_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64 chains are not rounded in silence; without a GPU the automatic path is another."""
    target = target_of(joint())
    doubles = torch.zeros(2, D, dtype=torch.float64, device=DEVICE)
    assert "float64" in str(reason_against_triton(target, doubles))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "needs a GPU" in str(reason_against_triton(target, torch.zeros(2, D)))
    mixed = replace(target, networks=(target.networks[0], joint(depth=1).density().energy.networks[0]))
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert "differ" in str(reason_against_triton(mixed, torch.zeros(2, D)))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_sixty_steps_on_a_gpu(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 latents, 2×100, 1000 chains, the reference in float64: 1e-4 in float32, 1e-2 in tf32."""
    torch.manual_seed(0)
    prior = JointPrior(GaussianPrior((10,) * 5), EnergyNetwork((10,) * 5, width=100, depth=2)).cuda()
    start, noise = normal(1000, 50, seed=2), normal(60, 1000, 50, seed=3)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        end, _ = run_triton(
            target_of(prior), start, n_steps=60, step_size=0.08, temperature=1.0, generator=None, free=None,
            noise=noise,
        )  # fmt: skip
    finally:
        torch.set_float32_matmul_precision(before)
    rows = iter(noise.double())
    monkeypatch.setattr("hebm.samplers.langevin.standard_normal", lambda like, generator: next(rows))
    state: Latents = (start.double(),)
    for _ in range(60):
        state, _ = move(
            state, prior.double().density(), step_size=0.08, temperature=1.0, generator=None, free=None
        )
    tolerance = 1e-4 if precision == "highest" else 1e-2
    torch.testing.assert_close(end.double(), state[0], rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
def test_the_automatic_path_on_a_gpu_is_the_kernel() -> None:
    """For an energy on N(0, I) in float32."""
    assert choose_path("auto", joint().density(), torch.zeros(2, D, device=DEVICE))[0] == "triton"
