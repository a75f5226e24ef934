"""Annealed importance sampling and brackets of log Z: closed forms, quadrature, and what the weights average to."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from hebm.errors import ConfigError, LatentShapeError, NonFiniteError
from hebm.latents import Latents, flatten_latents
from hebm.samplers import HMC, MALA, ChainState, MoveInfo, evaluate_state
from hebm.samplers.annealing import annealed_importance, importance_log_normalizer, reverse_annealing
from hebm.samplers.annealing_path import AnnealingPath
from hebm.samplers.annealing_schedule import (
    AnnealingSchedule,
    _resample_if_poor,
    adaptive_temperatures,
    resample_rows,
)
from hebm.samplers.log_normalizer import (
    LogNormalizer,
    bracket_conditional_log_normalizer,
    bracket_log_normalizer,
)

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
Energy = Callable[[Tensor], Tensor]

KERNEL = HMC(0.3, 4)
LOG_2PI = math.log(2 * math.pi)


def base(z: Latents) -> Tensor:
    flat = flatten_latents(z)
    return -0.5 * (flat.square() + LOG_2PI).sum(1)


def tilt(energy: Energy) -> Callable[[Latents], Tensor]:
    return lambda z: base(z) - energy(flatten_latents(z))


def normal(n: int, dims: tuple[int, ...], generator: torch.Generator) -> Latents:
    device = generator.device
    return tuple(torch.randn(n, d, generator=generator, dtype=torch.float64, device=device) for d in dims)


def uniform_schedule(n: int, step_size: float) -> AnnealingSchedule:
    steps = torch.full((n,), step_size, dtype=torch.float64)
    return AnnealingSchedule(torch.linspace(0, 1, n + 1, dtype=torch.float64), steps)


def bracket(
    energy: Energy, dims: tuple[int, ...], generator: torch.Generator, **options: int
) -> LogNormalizer:
    options = {"n_particles": 512, "n_pilot": 256, "n_equilibrate": 20, "refine": 1, **options}
    return bracket_log_normalizer(
        base,
        tilt(energy),
        lambda n: normal(n, dims, generator),
        kernel=KERNEL,
        generator=generator,
        **options,
    )


class Quadratic:
    """E(z) = ½ z'Az + b'z + c under N(0, I): the target is N(-P⁻¹b, P⁻¹) with P = I + A."""

    def __init__(self, dim: int, generator: torch.Generator, scale: float = 1.0) -> None:
        root = torch.randn(dim, dim, generator=generator, dtype=torch.float64, device=generator.device)
        self.a = scale * root @ root.T / dim
        self.b = scale * torch.linspace(-1, 1.5, dim, dtype=torch.float64)
        self.c = 1.3
        self.precision = torch.eye(dim, dtype=torch.float64) + self.a

    def __call__(self, flat: Tensor) -> Tensor:
        return 0.5 * ((flat @ self.a) * flat).sum(1) + flat @ self.b + self.c

    @property
    def log_normalizer(self) -> float:
        shift = 0.5 * self.b @ torch.linalg.solve(self.precision, self.b)
        return (shift - 0.5 * torch.logdet(self.precision) - self.c).item()

    def sample(self, n: int, generator: torch.Generator) -> Latents:
        (noise,) = normal(n, (len(self.b),), generator)
        factor = torch.linalg.cholesky(self.precision)
        centred = torch.linalg.solve_triangular(factor.T, noise.T, upper=True).T
        return (centred - torch.linalg.solve(self.precision, self.b),)


def rings(flat: Tensor) -> Tensor:
    """Two rings of different weight around a point off the centre, darker on one side."""
    radius = ((flat - 0.3).square().sum(1) + 1e-6).sqrt()
    wells = torch.stack([-8 * (radius - 1).square(), -8 * (radius - 2.5).square() + 1.5])
    return -wells.logsumexp(0) - 0.5 * flat[:, 0]


def bimodal(flat: Tensor) -> Tensor:
    """Two modes of different width and weight, and no symmetry."""
    x, y = flat.unbind(1)
    left = -2 * (x + 1.2).square() - (y - 0.4).square() + 0.7
    right = -5 * (x - 1.5).square() - 3 * (y + 0.2).square() + 2
    return -torch.logaddexp(left, right) - 0.3 * y


def grid(n: int = 400, reach: float = 8.0) -> tuple[Tensor, float]:
    axis = torch.linspace(-reach, reach, n, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), math.log((2 * reach / (n - 1)) ** 2)


def quadrature(log_density: Callable[[Latents], Tensor]) -> float:
    """log ∫ of a two-dimensional density."""
    points, log_cell = grid()
    return (log_density((points,)).logsumexp(0) + log_cell).item()


# brackets against what is known


def test_without_an_energy_both_bounds_are_zero(seeded: Seeded) -> None:
    """p = p₀ has Z = 1, and one temperature is enough."""
    result = bracket(lambda z: 0 * z[:, 0], (3, 2), seeded(0), n_particles=64)
    assert result.n_temperatures == 1
    assert abs(result.lower.item()) < 1e-12
    assert abs(result.upper.item()) < 1e-12
    assert result.ess.item() == pytest.approx(64)


def test_quadratic_energies_have_their_closed_form(seeded: Seeded) -> None:
    """log Z = ½ b'P⁻¹b - ½ log|P| - c in five dimensions and three levels."""
    energy = Quadratic(5, seeded(1), scale=2.0)
    result = bracket(energy, (2, 1, 2), seeded(0), n_particles=4096, refine=3)
    for value, se in ((result.lower, result.lower_se), (result.upper, result.upper_se)):
        assert se < 0.01
        assert abs(value.item() - energy.log_normalizer) < 5 * se
    assert result.width < 0.05
    assert result.lower < result.estimate < result.upper or result.upper < result.estimate < result.lower


@pytest.mark.parametrize("energy", [rings, bimodal])
def test_energies_with_several_modes_agree_with_quadrature(energy: Energy, seeded: Seeded) -> None:
    """Two rings, and two unequal modes, within 0.01 nat or five standard errors."""
    expected = quadrature(tilt(energy))
    result = bracket(energy, (1, 1), seeded(2), n_particles=8192, refine=2)
    for value, se in ((result.lower, result.lower_se), (result.upper, result.upper_se)):
        assert se < 0.012
        assert abs(value.item() - expected) < max(0.01, 5 * se.item())
    assert abs(expected) > 0.1  # the answer is not that of the base


def test_a_base_that_is_not_gaussian_has_its_own_normalizer(seeded: Seeded) -> None:
    """The base is a normalised mixture given as a callable; log Z is relative to it."""
    centres = torch.tensor([[-1.5, 0.0], [1.0, 1.0]], dtype=torch.float64)
    shares = torch.tensor([0.3, 0.7], dtype=torch.float64)

    def mixture(z: Latents) -> Tensor:
        distance = (flatten_latents(z)[:, None] - centres).square().sum(2)
        return (shares.log() - 0.5 * distance - LOG_2PI).logsumexp(1)

    generator = seeded(3)

    def sample(n: int) -> Latents:
        picks = (torch.rand(n, generator=generator, device=generator.device) < 0.7).long()
        return tuple((centres[picks] + normal(n, (2,), generator)[0]).split(1, 1))

    def target(z: Latents) -> Tensor:
        return mixture(z) - bimodal(flatten_latents(z))

    assert abs(quadrature(mixture)) < 1e-6
    result = bracket_log_normalizer(
        mixture, target, sample, kernel=KERNEL, n_particles=2048, n_pilot=256, refine=1, generator=generator
    )
    expected = quadrature(target)
    assert abs(result.lower.item() - expected) < max(0.01, 5 * result.lower_se.item())
    assert abs(result.upper.item() - expected) < max(0.01, 5 * result.upper_se.item())
    assert max(result.lower_se, result.upper_se) < 0.05


def test_a_constant_in_the_energy_shifts_the_normalizer(seeded: Seeded) -> None:
    """Every log-weight of E + c is that of E, less c (more, where it is of 1 / Z); nothing else moves."""
    start, schedule = normal(64, (2,), seeded(4)), uniform_schedule(5, 0.4)
    for anneal, sign in ((annealed_importance, 1), (reverse_annealing, -1)):
        plain, shifted = (
            anneal(base, tilt(energy), start, schedule, KERNEL, generator=seeded(5))
            for energy in (bimodal, lambda flat: bimodal(flat) + 7.25)
        )
        torch.testing.assert_close(shifted.log_weights, plain.log_weights - sign * 7.25, atol=1e-9, rtol=0)
        torch.testing.assert_close(shifted.latents, plain.latents)


def test_a_mode_that_no_particle_finds_is_missed_by_both_bounds(seeded: Seeded) -> None:
    """The documented limit: the bracket is narrow, and too low by the missing mode's mass."""

    def target(z: Latents) -> Tensor:
        far = 2 - 0.5 * (100 * (z[0] - 12).square().sum(1) + LOG_2PI) + math.log(10)
        return torch.logaddexp(base(z), far)  # Z = 1 + e²

    generator = seeded(5)
    result = bracket_log_normalizer(
        base,
        target,
        lambda n: normal(n, (1,), generator),
        kernel=KERNEL,
        n_particles=64,
        refine=1,
        generator=generator,
    )
    assert abs(result.lower) < 0.01
    assert abs(result.upper) < 0.01


# the weights


def test_forward_weights_average_to_the_normalizer(seeded: Seeded) -> None:
    """E[w] = Z with three uneven temperatures, one poor move at each, and an asymmetric energy."""
    schedule = AnnealingSchedule(
        torch.tensor([0, 0.2, 0.6, 1], dtype=torch.float64),
        torch.tensor([0.6, 0.4, 0.5], dtype=torch.float64),
    )
    start = normal(40_000, (1, 1), seeded(6))
    run = annealed_importance(base, tilt(bimodal), start, schedule, HMC(1.0, 3), generator=seeded(7))
    weights = (run.log_weights - quadrature(tilt(bimodal))).exp()
    standard_error = weights.std() / len(weights) ** 0.5
    assert standard_error < 0.01
    assert abs(weights.mean() - 1) < 5 * standard_error
    assert run.log_weights.dtype == torch.float64
    assert run.acceptance.shape == (3,)
    assert run.acceptance.min() < 0.97  # the test bites only if something is rejected


def test_weighted_ends_are_draws_from_the_target(seeded: Seeded) -> None:
    """Self-normalised means of the end positions have the target's mean and variance."""
    energy = Quadratic(2, seeded(8))
    start = normal(20_000, (2,), seeded(9))
    run = annealed_importance(
        base, tilt(energy), start, uniform_schedule(3, 0.5), KERNEL, generator=seeded(10)
    )
    weights = run.log_weights.softmax(0)
    exact = energy.sample(20_000, seeded(11))[0]
    for power in (1, 2):
        mean = (weights[:, None] * run.latents[0] ** power).sum(0)
        assert ((mean - (exact**power).mean(0)).abs() < 0.06).all()


def test_reverse_weights_average_to_the_inverse_normalizer(seeded: Seeded) -> None:
    """E[w'] = 1 / Z from exact draws of the target, with three uneven temperatures."""
    energy = Quadratic(2, seeded(12), scale=0.5)
    schedule = AnnealingSchedule(
        torch.tensor([0, 0.2, 0.6, 1], dtype=torch.float64), torch.full((3,), 0.7, dtype=torch.float64)
    )
    start = energy.sample(40_000, seeded(13))
    run = reverse_annealing(base, tilt(energy), start, schedule, HMC(1.0, 2), generator=seeded(14))
    weights = (run.log_weights + energy.log_normalizer).exp()
    standard_error = weights.std() / len(weights) ** 0.5
    assert standard_error < 0.01
    assert abs(weights.mean() - 1) < 5 * standard_error


def test_the_gap_of_coarse_schedules_holds_the_truth_and_halves_with_finer_ones(seeded: Seeded) -> None:
    """Mean log-weights bound log Z from both sides; their gap falls as one over the number of temperatures."""
    energy = Quadratic(3, seeded(15), scale=2.0)
    target, gaps = tilt(energy), []
    for n in (2, 4, 8, 16):
        schedule = uniform_schedule(n, 0.4)
        up = annealed_importance(
            base, target, normal(4000, (3,), seeded(16)), schedule, KERNEL, generator=seeded(17)
        )
        down = reverse_annealing(
            base, target, energy.sample(4000, seeded(18)), schedule, KERNEL, generator=seeded(19)
        )
        lower, upper = up.log_weights.mean().item(), -down.log_weights.mean().item()
        assert lower < energy.log_normalizer < upper
        gaps.append(upper - lower)
    assert all(1.5 < coarse / fine < 4 for coarse, fine in pairwise(gaps))
    assert gaps[0] > 1


def test_log_weights_do_not_depend_on_the_precision_of_the_latents(seeded: Seeded) -> None:
    """Weights of float32 latents are summed in float64."""
    start = tuple(z.float() for z in normal(16, (2,), seeded(20)))
    run = annealed_importance(
        base, tilt(bimodal), start, uniform_schedule(50, 0.3), KERNEL, generator=seeded(21)
    )
    assert run.log_weights.dtype == torch.float64
    assert run.latents[0].dtype == torch.float32


# plain importance weights


def test_importance_weights_know_their_mean_error_and_effective_number(seeded: Seeded) -> None:
    """log mean exp, the delta method's error against repetition, and n / (1 + relative variance)."""
    noise = normal(400, (1000,), seeded(22))[0]
    estimate = importance_log_normalizer(0.5 * noise + 300)  # log-normal: mean e^{300 + 1/8}
    spread = estimate.log_normalizer.std()
    assert abs(estimate.log_normalizer.mean() - 300.125) < 5 * spread / 20 + 1e-3
    assert 0.85 < (estimate.se.mean() / spread).item() < 1.15
    relative_variance = math.exp(0.25) - 1
    assert estimate.ess.mean().item() == pytest.approx(1000 / (1 + relative_variance), rel=0.02)


def test_blocks_of_copies_have_the_error_of_what_was_copied(seeded: Seeded) -> None:
    """Every weight eight times, in a row: the error of blocks is that of the originals, not of eight times as many."""
    noise = normal(200, (128,), seeded(23))[0]
    copies = importance_log_normalizer(0.3 * noise.repeat_interleave(8, 1), n_blocks=32)
    spread = copies.log_normalizer.std()
    assert 0.85 < (copies.se.mean() / spread).item() < 1.15


# the schedule


def test_every_temperature_keeps_the_share_of_the_effective_number(seeded: Seeded) -> None:
    """On a linear energy under a standard normal the share of a step δ is exp(-δ²|b|²), so all steps are alike."""
    slope = 3.0
    target = tilt(lambda z: slope * z[:, 0])
    start = normal(4096, (1,), seeded(24))
    schedule = adaptive_temperatures(base, target, start, kernel=KERNEL, ess_share=0.9, generator=seeded(25))
    steps = schedule.temperatures.diff()
    expected = math.sqrt(-math.log(0.9)) / slope
    assert ((steps[:-1] / expected - 1).abs() < 0.15).all()
    assert len(schedule) == math.ceil(1 / expected)


def test_the_pilot_finds_step_sizes_of_the_wanted_acceptance(seeded: Seeded) -> None:
    """From a start that is ten times too long, on a target that narrows."""
    target = tilt(lambda z: 20 * z.square().sum(1))
    start = normal(1024, (4,), seeded(26))
    schedule = adaptive_temperatures(
        base, target, start, kernel=KERNEL, initial_step_size=5.0, n_moves=5, generator=seeded(27)
    )
    fresh = normal(1024, (4,), seeded(28))
    run = annealed_importance(base, target, fresh, schedule, KERNEL, generator=seeded(29))
    assert ((run.acceptance - 0.8).abs() < 0.1).all()
    assert schedule.step_sizes[-1] < 0.4 * schedule.step_sizes[0]


def test_refining_cuts_every_interval(seeded: Seeded) -> None:
    """The old temperatures and their step sizes stay; new ones lie evenly between."""
    coarse = AnnealingSchedule(
        torch.tensor([0, 0.1, 1], dtype=torch.float64), torch.tensor([0.8, 0.2], dtype=torch.float64)
    )
    fine = coarse.refine(3)
    assert len(fine) == 6
    torch.testing.assert_close(fine.temperatures[::3], coarse.temperatures)
    torch.testing.assert_close(fine.step_sizes[2::3], coarse.step_sizes)
    torch.testing.assert_close(fine.temperatures.diff()[3:], torch.full((3,), 0.3, dtype=torch.float64))
    torch.testing.assert_close(fine.step_sizes[3:], torch.tensor([0.6, 0.4, 0.2], dtype=torch.float64))


def test_resampling_gives_every_particle_its_share(seeded: Seeded) -> None:
    """Copies between floor and ceil of W P, in each group for itself, neighbours next to each other."""
    weights = torch.tensor([[0.5, 0.3, 0.2, 0.0], [0.1, 0.1, 0.1, 0.7]], dtype=torch.float64)
    weights = weights.repeat_interleave(10, 1) / 10
    picks = resample_rows(weights.log(), seeded(30))
    counts = picks.bincount(minlength=80).view(2, 40)
    assert (counts >= (40 * weights - 1e-9).floor()).all()
    assert (counts <= (40 * weights + 1e-9).ceil()).all()
    assert (counts.sum(1) == 40).all()
    assert (picks.diff() >= 0).all()


def test_only_a_poor_group_is_resampled_and_its_weights_start_anew(seeded: Seeded) -> None:
    """Of two groups, the one whose effective number is below half is resampled; the other keeps its rows."""
    point = AnnealingPath(base, base).evaluate(normal(8, (1,), seeded(60)))
    log_weights = torch.tensor([[0.0, 0.1, 0.0, 0.1], [0.0, 0.0, 50.0, 0.0]], dtype=torch.float64)
    resampled, reset = _resample_if_poor(point, log_weights, seeded(61))
    torch.testing.assert_close(reset, torch.stack([log_weights[0], torch.zeros_like(log_weights[0])]))
    rows = torch.tensor([0, 1, 2, 3, 6, 6, 6, 6])
    assert torch.equal(resampled.latents[0], point.latents[0][rows])
    assert torch.equal(resampled.base.log_density, point.base.log_density[rows])


# the path


class Counting:
    """A target that counts how often it is asked, in all and alone for values."""

    def __init__(self, density: Callable[[Latents], Tensor]) -> None:
        self.density, self.n_calls = density, 0

    def __call__(self, z: Latents) -> Tensor:
        self.n_calls += 1
        return self.density(z)


def test_a_change_of_temperature_evaluates_nothing(seeded: Seeded) -> None:
    """One evaluation at the start and one per leapfrog step, in both directions."""
    for anneal in (annealed_importance, reverse_annealing):
        target = Counting(tilt(bimodal))
        start = normal(8, (2,), seeded(31))
        anneal(base, target, start, uniform_schedule(7, 0.3), HMC(0.3, 4), n_moves=2, generator=seeded(32))
        assert target.n_calls == 1 + 7 * 2 * 4


class LooksAround:
    """A kernel that asks the target for something else after its proposal, like no kernel of ours."""

    def step(
        self,
        log_density: Callable[[Latents], Tensor],
        state: ChainState,
        *,
        step_size: float | Tensor | None = None,
        generator: torch.Generator | None = None,
        free: Latents | None = None,
    ) -> tuple[ChainState, MoveInfo]:
        result = HMC(0.3, 2).step(log_density, state, step_size=step_size, generator=generator, free=free)
        evaluate_state(log_density, tuple(z + 1 for z in state.latents))
        return result


@pytest.mark.parametrize("kernel", [HMC(1.0, 3), MALA(0.5), LooksAround()], ids=["hmc", "mala", "other"])
def test_a_moved_point_is_the_one_that_evaluation_gives(
    kernel: HMC | MALA | LooksAround, seeded: Seeded
) -> None:
    """Accepted or not, both ends of the path are those at the new positions."""
    path = AnnealingPath(base, tilt(rings))
    point = path.evaluate(normal(200, (1, 1), seeded(33)))
    moved, acceptance = path.move(point, 0.7, kernel, step_size=0.7, n_moves=2, generator=seeded(34))
    fresh = path.evaluate(moved.latents)
    for kept, expected in ((moved.base, fresh.base), (moved.target, fresh.target)):
        torch.testing.assert_close(kept.log_density, expected.log_density)
        torch.testing.assert_close(kept.grads, expected.grads)
    assert 0.1 < acceptance < 0.9


def test_trajectories_of_a_full_period_still_move(seeded: Seeded) -> None:
    """Four leapfrog steps of √2 come back to where they began on N(0, I); steps that vary do not."""
    kernel, start = HMC(math.sqrt(2), 4), normal(1000, (1,), seeded(50))
    stuck, _ = kernel.step(base, evaluate_state(base, start), generator=seeded(51))
    torch.testing.assert_close(stuck.latents, start)
    path = AnnealingPath(base, base)
    moved, _ = path.move(path.evaluate(start), 0.5, kernel, step_size=math.sqrt(2), generator=seeded(52))
    assert (moved.latents[0] - start[0]).abs().median() > 0.2


# clamped levels


def coupled(flat: Tensor) -> Tensor:
    """An energy that ties a held level of one to free ones of one each, without symmetry."""
    top, middle, bottom = flat.unbind(1)
    return (
        (middle - top).square()
        + 1.5 * torch.nn.functional.softplus(3 * bottom + top)
        + 0.4 * top * middle * bottom.tanh()
    )


def draw_free(generator: torch.Generator) -> Callable[[Latents], Latents]:
    return lambda held: normal(len(held[0]), tuple(z.shape[1] for z in held), generator)


def test_clamped_items_agree_with_quadrature_together_and_one_by_one(seeded: Seeded) -> None:
    """log Z(held) of several held values: a batch in small chunks, every item alone, and the integral."""
    held = torch.tensor([-1.5, 0.0, 0.8, 2.0], dtype=torch.float64)[:, None]
    nothing = torch.full_like(held, torch.nan)  # what free levels hold is not looked at
    points, log_cell = grid()
    expected = []
    for top in held[:, 0]:
        flat = torch.cat([top.expand(len(points), 1), points], 1)
        expected.append((base((points,)) - coupled(flat)).logsumexp(0).item() + log_cell)
    assert max(expected) - min(expected) > 1

    def measure(items: Tensor, generator: torch.Generator) -> LogNormalizer:
        return bracket_conditional_log_normalizer(
            base, tilt(coupled), (items, nothing[: len(items)], nothing[: len(items)]), [1, 2], draw_free(generator),
            kernel=KERNEL, n_particles=512, n_pilot=128, n_equilibrate=10, refine=1, max_rows=1600, generator=generator,
        )  # fmt: skip

    together = measure(held, seeded(35))
    assert together.lower.shape == together.upper.shape == together.acceptance.shape == (4,)
    alone = [measure(held[i : i + 1], seeded(36 + i)) for i in range(4)]
    for i in range(4):
        for result, row in ((together, i), (alone[i], 0)):
            assert max(result.lower_se[row], result.upper_se[row]) < 0.08
            assert abs(result.lower[row].item() - expected[i]) < max(0.01, 5 * result.lower_se[row].item())
            assert abs(result.upper[row].item() - expected[i]) < max(0.01, 5 * result.upper_se[row].item())


def test_held_levels_stay_bit_by_bit(seeded: Seeded) -> None:
    """Whatever the target is shown, at every move, contains the held values and no others."""
    held = normal(3, (1,), seeded(40))[0]
    seen: list[Tensor] = []

    def watched(z: Latents) -> Tensor:
        seen.append(z[0].detach().unique())
        return tilt(coupled)(z)

    latents = (held, torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64))
    generator = seeded(41)
    bracket_conditional_log_normalizer(
        base, watched, latents, {1, 2}, draw_free(generator), kernel=KERNEL, n_particles=8, n_pilot=16,
        n_equilibrate=3, generator=generator,
    )  # fmt: skip
    assert len(seen) > 100
    assert all(torch.equal(values, held.flatten().sort().values) for values in seen)


def test_bounds_hold_on_average_and_their_errors_are_those_of_repetition(seeded: Seeded) -> None:
    """The same item 200 times, few particles, few temperatures: lower < log Z < upper on average, errors honest."""
    energy = Quadratic(2, seeded(42), scale=1.5)
    nothing = torch.zeros(200, 1, dtype=torch.float64)
    generator = seeded(43)
    result = bracket_conditional_log_normalizer(
        base, lambda z: base(z) - energy(flatten_latents(z[1:])), (nothing, nothing, nothing), [1, 2],
        draw_free(generator), kernel=KERNEL, n_particles=24, n_pilot=24, ess_share=0.6, refine=1, generator=generator,
    )  # fmt: skip
    assert result.lower.mean() < energy.log_normalizer < result.upper.mean()
    assert abs(result.estimate.mean() - energy.log_normalizer) < 0.05
    for values, errors in ((result.lower, result.lower_se), (result.upper, result.upper_se)):
        assert 0.6 < (errors.mean() / values.std()).item() < 1.3


# reproducibility and bad input


def test_the_generator_decides_everything(seeded: Seeded) -> None:
    """The same generator gives equal bits, another does not; the global stream is left alone."""
    before = torch.random.get_rng_state()
    first, second, other = (bracket(rings, (2,), seeded(s), n_particles=32, n_pilot=32) for s in (44, 44, 45))
    assert first.lower == second.lower
    assert first.upper == second.upper
    assert first.lower != other.lower
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_infinite_density_or_weight_is_named(seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start where the target is infinite, weights that are, and an energy no schedule can follow."""
    start = normal(4, (2,), seeded(46))
    schedule = uniform_schedule(2, 0.3)
    with pytest.raises(NonFiniteError, match="log-density of 4 of 4"):
        annealed_importance(base, lambda z: base(z) / 0, start, schedule, KERNEL, generator=seeded(47))
    with pytest.raises(NonFiniteError, match=r"1 of 3 log-weights.*ess_share"):
        importance_log_normalizer(torch.tensor([0.0, math.nan, 1.0]))
    monkeypatch.setattr("hebm.samplers.annealing_schedule.MAX_TEMPERATURES", 20)
    with pytest.raises(NonFiniteError, match=r"more than 20 temperatures.*lower `ess_share`"):
        bracket(lambda z: 1e3 * z[:, 0], (2,), seeded(48), n_particles=8, n_pilot=8)


@pytest.mark.parametrize("times", [[0.1, 1.0], [0.0, 0.9], [0.0, 0.6, 0.5, 1.0], [1.0]])
def test_temperatures_must_rise_from_zero_to_one(times: list[float]) -> None:
    """A schedule that starts or ends elsewhere measures another integral."""
    with pytest.raises(ConfigError, match="rise from 0 to 1"):
        AnnealingSchedule(torch.tensor(times), torch.ones(max(len(times) - 1, 1)))


def test_wrong_arguments_are_refused(seeded: Seeded) -> None:
    """Each with the name of what is wrong."""
    zeros = torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(ConfigError, match="2 positive step sizes"):
        AnnealingSchedule(torch.tensor([0, 0.5, 1]), torch.ones(3))
    with pytest.raises(ConfigError, match="at least 1"):
        uniform_schedule(2, 0.1).refine(0)
    with pytest.raises(ConfigError, match="ess_share"):
        adaptive_temperatures(base, base, (zeros,), kernel=KERNEL, ess_share=1.0)
    with pytest.raises(ConfigError, match="n_moves"):
        annealed_importance(base, base, (zeros,), uniform_schedule(2, 0.1), KERNEL, n_moves=0)
    with pytest.raises(ConfigError, match="two weights"):
        importance_log_normalizer(torch.zeros(1))

    def conditional(levels: list[int], drawn: Latents = (zeros, zeros), **options: int) -> LogNormalizer:
        return bracket_conditional_log_normalizer(
            base, base, (zeros, zeros), levels, lambda held: drawn, kernel=KERNEL, **options
        )

    with pytest.raises(ConfigError, match="max_rows"):
        conditional([0], max_rows=10)
    with pytest.raises(LatentShapeError, match="do not exist"):
        conditional([2])
    with pytest.raises(LatentShapeError, match="at least one free level"):
        conditional([])
    with pytest.raises(LatentShapeError, match="2 levels"):
        conditional([0], drawn=(zeros,))
