"""The independence sampler: the tilted law of a mixture, clamped levels, generators."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hebm.errors import NonFiniteError, UnsupportedError
from hebm.latents import Latents, flatten_latents
from hebm.priors import EnergyNetwork, FlowPrior, JointPrior, MixturePrior
from hebm.randomness import ShardedGenerator
from hebm.samplers import IndependenceChains

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
PLANE = (1, 1)
DTYPE = torch.float64


def like() -> Tensor:
    return torch.empty(0, dtype=DTYPE)


def tilted_mixture() -> JointPrior:
    """Two correlated modes of unequal weight, tilted by about two nats."""
    torch.manual_seed(0)
    base = MixturePrior(PLANE, 2).double()
    covariances = torch.tensor([[[0.3, 0.2], [0.2, 0.4]], [[0.5, -0.3], [-0.3, 0.3]]], dtype=DTYPE)
    means = torch.tensor([[1.0, 0.8], [-1.2, 0.3]], dtype=DTYPE)
    base.load_components_(torch.tensor([0.7, 0.3], dtype=DTYPE), means, covariances)
    energy = EnergyNetwork(PLANE, width=16, depth=1, activation="tanh").double()
    with torch.no_grad():
        energy.networks[0].layers[1].weight.mul_(6)
    return JointPrior(base, energy)


def start(prior: JointPrior, n: int, generator: torch.Generator) -> Latents:
    return prior.sample_base(n, like=like(), generator=generator)


def quadrature(prior: JointPrior) -> tuple[Tensor, Tensor]:
    """Points [G², 2] and their probabilities under the tilted law, rows are the top level."""
    axis = torch.linspace(-6, 6, 481, dtype=DTYPE)
    points = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        return points, prior.log_density((points[:, :1], points[:, 1:])).softmax(0)


def features(flat: Tensor) -> Tensor:
    """Means, second moments, and the half-planes that tell the modes apart."""
    a, b = flat[:, 0], flat[:, 1]
    return torch.stack([a, b, a * a, a * b, b * b, (a > 0).double(), (b > 0.8).double()], 1)


def assert_law(flat: Tensor, points: Tensor, weights: Tensor) -> None:
    """Means of features over independent chains, within five standard errors."""
    found = features(flat)
    expected = (weights[:, None] * features(points)).sum(0)
    assert ((found.mean(0) - expected).abs() < 5 * found.std(0) / len(found) ** 0.5 + 1e-12).all()


def test_the_chains_have_the_tilted_law(seeded: Seeded) -> None:
    """Moments and mode weights by quadrature; those of the base are other ones."""
    prior, generator = tilted_mixture(), seeded(0)
    initial = start(prior, 10_000, generator)
    points, weights = quadrature(prior)
    flat = flatten_latents(IndependenceChains(60)(prior.density(), initial, generator=generator).latents)
    assert_law(flat, points, weights)
    with pytest.raises(AssertionError):
        assert_law(flatten_latents(initial), points, weights)


@pytest.mark.parametrize("held", [0, 1])
def test_free_levels_follow_the_conditional_law(held: int, seeded: Seeded) -> None:
    """On the line of the held value, which stays bit-equal: the tilted law, not the base's conditional."""
    n, value, prior = 10_000, 0.3, tilted_mixture()
    z = tuple(torch.full((n, 1), value, dtype=DTYPE) for _ in PLANE)
    generator = seeded(0)
    initial = prior.sample_base_given(z, [1 - held], generator=generator)
    end = IndependenceChains(60)(prior.density(), initial, clamped=[held], generator=generator).latents
    assert torch.equal(end[held], z[held])
    axis = torch.linspace(-6, 6, 2001, dtype=DTYPE)
    points = torch.full((2001, 2), value, dtype=DTYPE)
    points[:, 1 - held] = axis
    with torch.no_grad():
        weights = prior.log_density((points[:, :1], points[:, 1:])).softmax(0)
    assert_law(flatten_latents(end), points, weights)
    with pytest.raises(AssertionError):
        assert_law(flatten_latents(initial), points, weights)


def test_no_steps_return_the_start(seeded: Seeded) -> None:
    """As the sampler's own number and as an override; the trace is empty."""
    prior = tilted_mixture()
    initial = start(prior, 3, seeded(0))
    for chains, n_steps in [(IndependenceChains(0), None), (IndependenceChains(5), 0)]:
        end = chains(prior.density(), initial, n_steps=n_steps, generator=seeded(1))
        assert all(map(torch.equal, end.latents, initial))
        assert end.log_density.shape == (0, 3)


def test_the_trace_holds_minus_the_energy_before_each_step(seeded: Seeded) -> None:
    """Its first row is the start's, its last that of a run one step shorter."""
    prior = tilted_mixture()
    density, initial = prior.density(), start(prior, 50, seeded(0))
    end = IndependenceChains(4)(density, initial, generator=seeded(1))
    shorter = IndependenceChains(3)(density, initial, generator=seeded(1)).latents
    assert end.log_density.shape == (4, 50)
    torch.testing.assert_close(end.log_density[0], -prior.energy(initial))
    torch.testing.assert_close(end.log_density[3], -prior.energy(shorter))


@pytest.mark.parametrize("clamped", [[], [1]])
def test_chains_follow_their_generator(clamped: list[int], seeded: Seeded) -> None:
    """Same generator the same, another different, shards are rows, the global stream untouched."""
    prior = tilted_mixture()
    density, initial = prior.density(), start(prior, 6, seeded(0))
    before = torch.random.get_rng_state()

    def run(source: torch.Generator | ShardedGenerator, rows: slice = slice(None)) -> Tensor:
        part = tuple(z[rows] for z in initial)
        return flatten_latents(
            IndependenceChains(5)(density, part, clamped=clamped, generator=source).latents
        )

    whole = run(seeded(1))
    assert torch.equal(whole, run(seeded(1)))
    assert not torch.equal(whole, run(seeded(2)))
    halves = [run(ShardedGenerator(seeded(1), rank, 2), slice(3 * rank, 3 * rank + 3)) for rank in (0, 1)]
    torch.testing.assert_close(whole, torch.cat(halves), rtol=1e-12, atol=1e-12)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_base_without_conditional_draws_cannot_have_clamped_levels(seeded: Seeded) -> None:
    """A flow proposes freely, but not given a level."""
    torch.manual_seed(0)
    prior = JointPrior(FlowPrior(PLANE, n_transforms=1, hidden=(4,)), EnergyNetwork(PLANE, width=4)).double()
    initial = start(prior, 3, seeded(0))
    IndependenceChains(2)(prior.density(), initial, generator=seeded(1))
    with pytest.raises(UnsupportedError, match="run a chain"):
        IndependenceChains(2)(prior.density(), initial, clamped=[0], generator=seeded(1))


def test_an_energy_that_is_not_finite_stops_the_chains(seeded: Seeded) -> None:
    """It is not a rejection: the energy is broken."""
    prior = tilted_mixture()
    initial = start(prior, 3, seeded(0))
    with torch.no_grad():
        prior.energy.networks[0].layers[1].weight.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="chain states is not finite"):
        IndependenceChains(2)(prior.density(), initial, generator=seeded(1))
