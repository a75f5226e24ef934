"""Chains with a tuned Metropolis test, and chains in white coordinates: their laws by quadrature."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.priors import EnergyNetwork, JointPrior, TopDownPrior
from hebm.randomness import ShardedGenerator
from hebm.samplers import MetropolisChains, ShortRunLangevin, WhitenedChains

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
PLANE = (1, 1)
DTYPE = torch.float64
AXIS = torch.linspace(-7, 7, 1401, dtype=DTYPE)


def noise(n: int, generator: torch.Generator, dims: tuple[int, ...] = PLANE) -> Latents:
    return unflatten_latents(torch.randn(n, sum(dims), generator=generator, dtype=DTYPE), dims)


def skewed(latents: Latents) -> Tensor:
    """A banana: a ~ N(0, 1), b ~ N(½a², 0.4²)."""
    a, b = flatten_latents(latents).unbind(1)
    return -0.5 * a.square() - 0.5 * (b - 0.5 * a.square()).square() / 0.16


def near_the_mode(n: int, generator: torch.Generator) -> Latents:
    """Starts from which no Langevin proposal overshoots the banana's light tails."""
    return tuple(0.3 * z for z in noise(n, generator))


def assert_means(found: Tensor, expected: Tensor) -> None:
    """Over independent chains, within five standard errors."""
    assert ((found.mean(0) - expected).abs() < 5 * found.std(0) / len(found) ** 0.5).all()


def features(flat: Tensor) -> Tensor:
    a, b = flat[:, 0], flat[:, 1]
    return torch.stack([a, b, a * a, b * b, a * b, a * a * b], 1)


def test_the_chains_have_the_targets_moments(seeded: Seeded) -> None:
    """E a = 0, E b = ½, E a² = 1, E b² = ¾ + 0.16, E ab = 0, E a²b = 3/2, though the first step size is too large."""
    generator = seeded(0)
    initial = near_the_mode(3000, generator)
    end = MetropolisChains(300, step_size=1.0)(skewed, initial, generator=generator)
    expected = torch.tensor([0, 0.5, 1, 0.91, 0, 1.5], dtype=DTYPE)
    assert_means(features(flatten_latents(end.latents)), expected)


@pytest.mark.parametrize("held", [0, 1])
def test_free_levels_follow_the_conditional_law(held: int, seeded: Seeded) -> None:
    """b given a is N(½a², 0.4²); a given b has two modes, by quadrature. The held level is bit-equal."""
    n, value, generator = 3000, 0.6, seeded(0)
    z = list(near_the_mode(n, generator))
    z[held] = torch.full((n, 1), value, dtype=DTYPE)
    end = MetropolisChains(150)(skewed, tuple(z), clamped=[held], generator=generator).latents
    assert torch.equal(end[held], z[held])
    points = torch.full((len(AXIS), 2), value, dtype=DTYPE)
    points[:, 1 - held] = AXIS
    weights = skewed((points,)).softmax(0)

    def moments(flat: Tensor) -> Tensor:
        return torch.stack([flat[:, 1 - held] ** k for k in (1, 2, 4)], 1)

    assert_means(moments(flatten_latents(end)), (weights[:, None] * moments(points)).sum(0))


def test_the_step_size_is_tuned_on_the_way(seeded: Seeded) -> None:
    """From far too large and far too small first steps the narrow target is reached, and the moves that are kept use
    the tuned step: their acceptance is MALA's best in this plane, not 0 or 1."""

    def narrow(latents: Latents) -> Tensor:
        return -0.5 * (flatten_latents(latents) - 1).square().sum(1) / 0.05**2

    for step_size in (10.0, 1e-6):
        generator = seeded(0)
        end = MetropolisChains(120, step_size)(narrow, noise(1000, generator), generator=generator)
        flat = flatten_latents(end.latents)
        assert flat.mean().item() == pytest.approx(1, abs=0.01)
        assert flat.std().item() == pytest.approx(0.05, rel=0.1)
        moves = (end.log_density[1:] != end.log_density[:-1]).double().mean().item()
        assert moves == pytest.approx(0.574, abs=0.1)


@pytest.mark.parametrize("n_steps", [1, 5])
def test_the_trace_holds_the_states_of_the_kept_moves(n_steps: int, seeded: Seeded) -> None:
    """The second half's: the first tuned the step size. No steps return the start and an empty trace."""
    initial = noise(4, seeded(0))
    end = MetropolisChains(n_steps)(skewed, initial, generator=seeded(1))
    assert end.log_density.shape == (n_steps - n_steps // 2, 4)
    if n_steps == 1:
        torch.testing.assert_close(end.log_density[0], skewed(initial))
    for chains, override in [(MetropolisChains(0), None), (MetropolisChains(5), 0)]:
        none = chains(skewed, initial, n_steps=override, generator=seeded(1))
        assert all(map(torch.equal, none.latents, initial))
        assert none.log_density.shape == (0, 4)


def tilted_chain() -> JointPrior:
    """A narrow conditional whose mean and scale depend on the level above, tilted by about a nat."""
    torch.manual_seed(3)
    base = TopDownPrior(PLANE, width=8, depth=1, activation="tanh").double()
    torch.nn.init.normal_(base.conditionals[0].layers[1].weight, std=0.7)
    with torch.no_grad():
        base.conditionals[0].layers[1].bias.copy_(torch.tensor([0.5, -2.0]))
    energy = EnergyNetwork(PLANE, width=16, depth=1, activation="tanh").double()
    with torch.no_grad():
        energy.networks[0].layers[1].weight.mul_(4)
    return JointPrior(base, energy)


def whitened(n_steps: int, eta: float) -> WhitenedChains:
    return WhitenedChains(ShortRunLangevin(n_steps, eta), MetropolisChains(150, 0.01))


def law(prior: JointPrior) -> Tensor:
    """Expected features under the tilted law, by quadrature over the white plane."""
    axis = torch.linspace(-6, 6, 401, dtype=DTYPE)
    u = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        z = flatten_latents(prior.base.from_white((u[:, :1], u[:, 1:])))
        log_density = -0.5 * u.square().sum(1) - prior.energy((z[:, :1], z[:, 1:]))
    return (log_density.softmax(0)[:, None] * features(z)).sum(0)


def test_whitened_chains_have_the_tilted_law(seeded: Seeded) -> None:
    """Moments of z by quadrature; a step of 0.02 in white units, many times the conditional's variance in z."""
    prior, generator = tilted_chain(), seeded(0)
    initial = prior.sample_base(4000, like=torch.empty(0, dtype=DTYPE), generator=generator)
    expected = law(prior)
    end = whitened(150, 0.02)(prior.density(), initial, generator=generator)
    assert_means(features(flatten_latents(end.latents)), expected)
    with pytest.raises(AssertionError):
        assert_means(features(flatten_latents(initial)), expected)
    assert not any(z.requires_grad for z in end.latents)


def test_zero_energy_leaves_white_noise_up_to_the_steps_bias(seeded: Seeded) -> None:
    """The white state of every chain's end has variance 1 / (1 - η/2), whatever the base."""
    prior, eta, n, generator = tilted_chain(), 0.3, 5000, seeded(0)
    with torch.no_grad():
        prior.energy.networks[0].layers[1].weight.zero_()
    initial = prior.sample_base(n, like=torch.empty(0, dtype=DTYPE), generator=generator)
    end = whitened(30, eta)(prior.density(), initial, generator=generator)
    white = torch.cat(prior.base.to_white(end.latents), 1)
    variance = 1 / (1 - eta / 2)
    assert ((white.var(0) - variance).abs() < 5 * variance * math.sqrt(2 / n)).all()
    assert end.log_density.shape == (30, n)
    u = torch.cat(prior.base.to_white(initial), 1)
    torch.testing.assert_close(
        end.log_density[0], -0.5 * u.square().sum(1) - math.log(2 * math.pi), check_stride=False
    )


@pytest.mark.parametrize("held", [0, 1])
def test_clamped_chains_move_in_the_latents(held: int, seeded: Seeded) -> None:
    """p(free | held) of the tilted law by quadrature along a line; the held level is bit-equal."""
    prior, n, value, generator = tilted_chain(), 3000, 0.5, seeded(0)
    z = list(noise(n, generator))
    z[held] = torch.full((n, 1), value, dtype=DTYPE)
    end = whitened(1, 0.1)(prior.density(), tuple(z), clamped=[held], generator=generator).latents
    assert torch.equal(end[held], z[held])
    points = torch.full((len(AXIS), 2), value, dtype=DTYPE)
    points[:, 1 - held] = AXIS
    with torch.no_grad():
        weights = prior.log_density((points[:, :1], points[:, 1:])).softmax(0)
    free = flatten_latents(end)[:, 1 - held]
    expected = torch.stack([(weights * AXIS**k).sum() for k in (1, 2)])
    assert_means(torch.stack([free, free**2], 1), expected)


@pytest.mark.parametrize("clamped", [[], [0]])
def test_whitened_chains_follow_their_generator(clamped: list[int], seeded: Seeded) -> None:
    """Same generator the same, another different, the global stream untouched; free chains' shards are rows."""
    prior = tilted_chain()
    density, initial = prior.density(), noise(6, seeded(0))
    before = torch.random.get_rng_state()

    def run(source: torch.Generator | ShardedGenerator, rows: slice = slice(None)) -> Tensor:
        part = tuple(z[rows] for z in initial)
        chains = WhitenedChains(ShortRunLangevin(5, 0.1), MetropolisChains(5))
        return flatten_latents(chains(density, part, clamped=clamped, generator=source).latents)

    whole = run(seeded(1))
    assert torch.equal(whole, run(seeded(1)))
    assert not torch.equal(whole, run(seeded(2)))
    if not clamped:
        halves = [run(ShardedGenerator(seeded(1), rank, 2), slice(3 * rank, 3 * rank + 3)) for rank in (0, 1)]
        torch.testing.assert_close(whole, torch.cat(halves), rtol=1e-12, atol=1e-12)
    assert torch.equal(torch.random.get_rng_state(), before)
