"""Chains: short runs from base noise, clamped levels, the persistent pool."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hebm.errors import LatentShapeError, NonFiniteError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.priors import EnergyNetwork, GaussianPrior, JointPrior
from hebm.randomness import ShardedGenerator
from hebm.samplers import PersistentPool, ShortRunLangevin

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (2, 2, 1)


def like() -> Tensor:
    return torch.empty(0, dtype=torch.float64)


def joint_prior(gain: float = 3.0, lipschitz: float | None = None) -> JointPrior:
    torch.manual_seed(0)
    prior = JointPrior(
        GaussianPrior(DIMS), EnergyNetwork(DIMS, width=16, depth=2, lipschitz=lipschitz).double()
    )
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.mul_(gain)
    return prior


def start(n: int, generator: torch.Generator) -> Latents:
    return GaussianPrior(DIMS).sample_base(n, like=like(), generator=generator)


def test_zero_energy_leaves_the_base_law_up_to_the_steps_bias(seeded: Seeded) -> None:
    """With E = 0 every latent keeps mean 0 and gets variance 1 / (1 - η/2)."""
    eta, n_chains, generator = 0.3, 10_000, seeded(0)
    sampler = ShortRunLangevin(n_steps=30, step_size=eta)
    end = sampler(joint_prior(gain=0).density(), start(n_chains, generator), generator=generator).latents
    flat = flatten_latents(end)
    variance = 1 / (1 - eta / 2)
    assert ((flat.var(0) - variance).abs() < 5 * variance * math.sqrt(2 / n_chains)).all()
    assert (flat.mean(0).abs() < 5 * math.sqrt(variance / n_chains)).all()


class CorrelatedGaussian:
    """log p(z) = -½ zᵀPz + bᵀz over the flat state, with a precision that couples all latents."""

    def __init__(self) -> None:
        root = torch.randn(
            5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64, device="cpu"
        )
        self.precision = (root @ root.T / 5 + 0.5 * torch.eye(5, dtype=torch.float64, device="cpu")).to(
            torch.get_default_device()
        )
        self.b = torch.linspace(-1, 1, 5, dtype=torch.float64)

    def __call__(self, latents: Latents) -> Tensor:
        flat = flatten_latents(latents)
        return -0.5 * ((flat @ self.precision) * flat).sum(1) + flat @ self.b


@pytest.mark.parametrize(
    ("clamped", "held"), [([1], [2, 3]), ([0], [0, 1]), ([0, 2], [0, 1, 4]), ([], []), ([2], [4])]
)
def test_free_levels_follow_the_exact_conditional(
    clamped: list[int], held: list[int], seeded: Seeded
) -> None:
    """Of a correlated Gaussian: mean P_ff⁻¹(b_f - P_fc z_c), covariance P_ff⁻¹(I - ηP_ff/2)⁻¹; held levels stay."""
    target, eta, n_chains, generator = CorrelatedGaussian(), 0.2, 10_000, seeded(0)
    values = torch.tensor([1.5, -1.0, 2.0, -2.0, 0.5], dtype=torch.float64)
    initial = unflatten_latents(values.expand(n_chains, 5).clone(), DIMS)
    end = ShortRunLangevin(n_steps=80, step_size=eta)(target, initial, clamped=clamped, generator=generator)
    flat = flatten_latents(end.latents)
    free = [i for i in range(5) if i not in held]
    assert torch.equal(flat[:, held], values[held].expand(n_chains, -1))

    precision = target.precision[free][:, free]
    mean = torch.linalg.solve(precision, target.b[free] - target.precision[free][:, held] @ values[held])
    identity = torch.eye(len(free), dtype=torch.float64)
    covariance = torch.linalg.inv(precision @ (identity - eta * precision / 2))
    variances = covariance.diagonal()
    assert ((flat[:, free].mean(0) - mean).abs() < 5 * (variances / n_chains).sqrt()).all()
    sample = torch.cov(flat[:, free].T).reshape(len(free), len(free))
    errors = ((variances[:, None] * variances + covariance.square()) / n_chains).sqrt()
    assert ((sample - covariance).abs() < 5 * errors).all()


def test_a_clamped_level_that_does_not_exist_is_refused(seeded: Seeded) -> None:
    """Levels are 0 to L - 1."""
    with pytest.raises(LatentShapeError, match="levels 0"):
        ShortRunLangevin()(joint_prior().density(), start(2, seeded(0)), clamped=[3])


def test_no_steps_return_the_start(seeded: Seeded) -> None:
    """As the sampler's own number and as an override; the trace is empty."""
    initial = start(3, seeded(0))
    ends = [
        ShortRunLangevin(n_steps=0)(joint_prior().density(), initial),
        ShortRunLangevin(n_steps=5)(joint_prior().density(), initial, n_steps=0),
    ]
    for end in ends:
        assert all(torch.equal(a, b) for a, b in zip(end.latents, initial, strict=True))
        assert end.log_density.shape == (0, 3)


def test_the_trace_holds_the_log_density_before_each_step(seeded: Seeded) -> None:
    """Its first row is the start's, its length the number of steps."""
    density, initial = joint_prior().density(), start(3, seeded(0))
    end = ShortRunLangevin(n_steps=4)(density, initial, generator=seeded(1))
    assert end.log_density.shape == (4, 3)
    torch.testing.assert_close(end.log_density[0], density(initial))
    shorter = ShortRunLangevin(n_steps=3)(density, initial, generator=seeded(1)).latents
    torch.testing.assert_close(end.log_density[3], density(shorter))


class Counting:
    """A density that counts its evaluations; they are given the flat state."""

    def __init__(self) -> None:
        self.density, self.calls, self.gradients = joint_prior().density(), 0, 0

    def __call__(self, latents: Latents) -> Tensor:
        self.calls += 1
        return self.density(latents)

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        self.gradients += 1
        assert [z.shape[1] for z in latents] == [sum(DIMS)]
        return self.density.value_and_grad(latents)


def test_a_step_costs_one_gradient_evaluation(seeded: Seeded) -> None:
    """K steps ask K times for value and gradient together, and never for anything else."""
    counting = Counting()
    ShortRunLangevin(n_steps=7)(counting, start(3, seeded(0)))
    assert (counting.calls, counting.gradients) == (0, 7)


def test_hand_written_gradients_and_autograd_give_the_same_chain(seeded: Seeded) -> None:
    """The frozen density and the same density as a plain callable end in the same place."""
    density, initial = joint_prior().density(), start(3, seeded(0))
    sampler = ShortRunLangevin(n_steps=20)
    by_hand = sampler(density, initial, generator=seeded(1)).latents
    by_autograd = sampler(lambda z: density(z), initial, generator=seeded(1)).latents
    torch.testing.assert_close(by_hand, by_autograd)


@pytest.mark.parametrize("training", [True, False])
def test_a_chain_changes_nothing_in_the_energy(training: bool, seeded: Seeded) -> None:
    """No parameter, buffer, `.grad` or training flag moves, with spectral normalisation in either mode."""
    prior = joint_prior(lipschitz=2.0).train(training)
    before = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    learns = [p.requires_grad for p in prior.parameters()]
    ShortRunLangevin(n_steps=5)(prior.density(), start(3, seeded(0)))
    assert all(torch.equal(before[name], tensor) for name, tensor in prior.state_dict().items())
    assert [p.requires_grad for p in prior.parameters()] == learns
    assert all(p.grad is None for p in prior.parameters())
    assert all(module.training is training for module in prior.modules())


def test_chains_follow_their_generator(seeded: Seeded) -> None:
    """Same generator the same, another different, shards are rows, the global stream untouched."""
    density, initial = joint_prior().density(), start(4, seeded(0))
    before = torch.random.get_rng_state()

    def run(source: torch.Generator | ShardedGenerator, rows: slice = slice(None)) -> Tensor:
        end = ShortRunLangevin(n_steps=5)(density, tuple(z[rows] for z in initial), generator=source)
        return flatten_latents(end.latents)

    whole = run(seeded(1))
    assert torch.equal(whole, run(seeded(1)))
    assert not torch.equal(whole, run(seeded(2)))
    halves = [run(ShardedGenerator(seeded(1), rank, 2), slice(2 * rank, 2 * rank + 2)) for rank in (0, 1)]
    torch.testing.assert_close(whole, torch.cat(halves), rtol=1e-13, atol=1e-13)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_chain_that_leaves_the_finite_numbers_stops(seeded: Seeded) -> None:
    """A divergent step size is reported, not returned as NaN."""
    sampler = ShortRunLangevin(n_steps=500, step_size=50.0)
    with pytest.raises(NonFiniteError, match=r"lower `sampler\.step_size`"):
        sampler(lambda z: -z[0].square().square().sum(1), start(2, seeded(0)))


def test_a_chain_lost_at_its_very_last_step_stops_too() -> None:
    """The last positions are checked, although no log-density is evaluated there."""
    with pytest.raises(NonFiniteError, match="threw 1 of 2 chains"):
        ShortRunLangevin(n_steps=1)(lambda z: -z[0].abs().sqrt().sum(1), (torch.tensor([[0.0], [1.0]]),))


def test_the_pool_gives_back_what_was_written() -> None:
    """Chains are read by index, levels top first; writing moves the named chains and no other."""
    flat = torch.arange(20.0).reshape(4, 5)
    pool = PersistentPool(unflatten_latents(flat, DIMS))
    flat.zero_()  # the pool owns its state
    chosen = torch.tensor([2, 0])
    assert torch.equal(pool.read(chosen)[1], torch.tensor([[12.0, 13.0], [2.0, 3.0]]))
    moved = torch.tensor([[-1.0] * 5, [-2.0] * 5], requires_grad=True)
    pool.write(chosen, unflatten_latents(moved, DIMS))
    assert pool.state[:, 0].tolist() == [-2, 5, -1, 15]
    assert not pool.state.requires_grad


def test_the_pool_chooses_different_chains(seeded: Seeded) -> None:
    """Without repetition, from the generator; too many are refused."""
    pool = PersistentPool(tuple(torch.zeros(6, d) for d in DIMS))
    assert sorted(pool.choose(6, seeded(0)).tolist()) == list(range(6))
    assert pool.choose(3, seeded(0)).tolist() == pool.choose(3, seeded(0)).tolist()
    assert pool.choose(3, seeded(0)).tolist() != pool.choose(3, seeded(1)).tolist()
    with pytest.raises(LatentShapeError, match="7 chains are asked of a pool of 6"):
        pool.choose(7, seeded(0))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_the_pool_restarts_whole_chains_with_the_given_probability(
    probability: float, seeded: Seeded
) -> None:
    """Each chain goes to its fresh start in all levels or in none; the count is binomial."""
    n = 10_000
    pool = PersistentPool(tuple(torch.zeros(n, d) for d in DIMS))
    pool.restart(tuple(torch.ones(n, d) for d in DIMS), probability, seeded(0))
    assert (pool.state == pool.state[:, :1]).all()
    error = math.sqrt(probability * (1 - probability) / n)
    assert abs(pool.state[:, 0].mean().item() - probability) <= 5 * error + 1e-6


def test_a_persistent_chain_goes_on_where_it_stopped(seeded: Seeded) -> None:
    """Two runs of 3 steps through the pool are one run of 6 steps with the same noise."""
    density, initial, generator = joint_prior().density(), start(4, seeded(0)), seeded(1)
    pool = PersistentPool(initial)
    everyone = torch.arange(4)
    for _ in range(2):
        end = ShortRunLangevin(n_steps=3)(density, pool.read(everyone), generator=generator)
        pool.write(everyone, end.latents)
    whole = ShortRunLangevin(n_steps=6)(density, initial, generator=seeded(1)).latents
    torch.testing.assert_close(pool.state, flatten_latents(whole))
