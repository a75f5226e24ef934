"""What holds for every kernel: the target's law (its bias where it has one), clamped levels, generators, purity."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.special import polygamma
from torch import Tensor

from hebm.errors import ConfigError, LatentShapeError, NonFiniteError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.randomness import ShardedGenerator
from hebm.samplers import (
    HMC,
    MALA,
    Draws,
    LogDensity,
    ParallelTempering,
    UnadjustedLangevin,
    effective_sample_size,
    evaluate_state,
    run_chain,
)

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (2, 2, 1)


class Wide:
    """A base that is none of the targets: N(0.5, 3²) in every latent."""

    def __call__(self, latents: Latents) -> Tensor:
        return -0.5 * (flatten_latents(latents) - 0.5).square().sum(1) / 9

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        return self(latents), tuple((0.5 - z) / 9 for z in latents)


KERNELS: dict[str, Any] = {
    "ula": UnadjustedLangevin(0.15),
    "mala": MALA(0.25),
    "hmc": HMC(0.35, 4),
    "tempered mala": ParallelTempering(MALA(0.25), (1.0, 0.6, 0.3)),
    "tempered hmc": ParallelTempering(HMC(0.35, 2), (1.0, 0.5, 0.0), base=Wide()),
}
every_kernel = pytest.mark.parametrize("name", KERNELS)
metropolis_kernels = pytest.mark.parametrize("name", [name for name in KERNELS if name != "ula"])


def begin(kernel: Any, log_density: LogDensity, latents: Latents) -> Any:
    if isinstance(kernel, ParallelTempering):
        return kernel.start(log_density, latents)
    return evaluate_state(log_density, latents)


def run(
    kernel: Any,
    log_density: LogDensity,
    latents: Latents,
    generator: torch.Generator,
    *,
    n: int = 80,
    burn_in: int = 50,
    **options: Any,
) -> Draws[Any]:
    """Draws after a burn-in."""
    state = begin(kernel, log_density, latents)
    state = run_chain(kernel, log_density, state, burn_in, generator=generator, **options).state
    return run_chain(kernel, log_density, state, n, generator=generator, **options)


def assert_means(draws: Tensor, expected: Tensor | Sequence[float]) -> None:
    """Means of [n_draws, n_chains, D] within 5 standard errors, by the effective sample size."""
    draws = draws.double()
    errors = draws.flatten(0, 1).std(0) / effective_sample_size(draws).sqrt()
    misses = (draws.mean((0, 1)) - torch.as_tensor(expected, dtype=torch.float64)) / errors
    assert (misses.abs() < 5).all(), misses


class CorrelatedGaussian:
    """log p(z) = -½ zᵀPz + bᵀz over the flat state, with a precision that couples all latents."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        generator = torch.Generator().manual_seed(3)
        root = torch.randn(5, 5, generator=generator, dtype=torch.float64, device="cpu")
        precision = root @ root.T / 5 + 0.5 * torch.eye(5, dtype=torch.float64, device="cpu")
        self.precision = precision.to(torch.get_default_device(), dtype)
        self.b = torch.linspace(-1, 1, 5, dtype=dtype)

    def __call__(self, latents: Latents) -> Tensor:
        flat = flatten_latents(latents)
        return -0.5 * ((flat @ self.precision) * flat).sum(1) + flat @ self.b

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        grad = self.b - flatten_latents(latents) @ self.precision
        return self(latents), unflatten_latents(grad, DIMS)

    def conditional(self, held: list[int], values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the free latents given the held ones, in float64."""
        free = [i for i in range(5) if i not in held]
        precision, b = self.precision.double(), self.b.double()
        pull = b[free] - precision[free][:, held] @ values.double()
        return torch.linalg.solve(precision[free][:, free], pull), torch.linalg.inv(precision[free][:, free])


def first_and_second(positions: Tensor, mean: Tensor) -> Tensor:
    """The latents and their products about the mean, [n, C, D + D²]."""
    centred = positions.double() - mean
    return torch.cat([centred, (centred[..., None] * centred[..., None, :]).flatten(2)], dim=2)


def stationary_covariance(kernel: Any, covariance: Tensor) -> Tensor:
    """(P - ηP²/2)⁻¹ of the unadjusted step, P⁻¹ of the others."""
    if not isinstance(kernel, UnadjustedLangevin):
        return covariance
    precision = torch.linalg.inv(covariance)
    return torch.linalg.inv(precision - kernel.step_size / 2 * precision @ precision)


@every_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_correlated_gaussian_has_its_moments(name: str, dtype: torch.dtype, seeded: Seeded) -> None:
    """Means and all covariances over three coupled levels, in single and double precision."""
    kernel, target = KERNELS[name], CorrelatedGaussian(dtype)
    initial = unflatten_latents(torch.zeros(100, 5, dtype=dtype), DIMS)
    draws = run(kernel, target, initial, seeded(0))
    assert {t.dtype for t in draws[:3]} == {dtype}
    mean, covariance = target.conditional([], torch.zeros(0))
    covariance = stationary_covariance(kernel, covariance)
    expected = torch.cat([torch.zeros(5, dtype=torch.float64), covariance.flatten()])
    assert_means(first_and_second(draws.positions, mean), expected)


@every_kernel
@pytest.mark.parametrize(("clamped", "held"), [([1], [2, 3]), ([0, 2], [0, 1, 4])])
def test_clamped_levels_stay_and_the_others_follow_the_conditional(
    name: str, clamped: list[int], held: list[int], seeded: Seeded
) -> None:
    """Held levels are bit-equal; free ones have mean P_ff⁻¹(b_f - P_fc z_c) and covariance P_ff⁻¹."""
    kernel, target = KERNELS[name], CorrelatedGaussian()
    values = torch.tensor([1.5, -1.0, 2.0, -2.0, 0.5], dtype=torch.float64)
    initial = unflatten_latents(values.expand(100, 5).clone(), DIMS)
    positions = run(kernel, target, initial, seeded(1), clamped=clamped).positions
    assert (positions[..., held] == values[held]).all()
    free = [i for i in range(5) if i not in held]
    mean, covariance = target.conditional(held, values[held])
    covariance = stationary_covariance(kernel, covariance)
    expected = torch.cat([torch.zeros(len(free), dtype=torch.float64), covariance.flatten()])
    assert_means(first_and_second(positions[..., free], mean), expected)


SHAPE = 2.0


def log_gamma(latents: Latents) -> Tensor:
    """z = log G with G ~ Gamma(2, 1): mean ψ(2), variance ψ'(2), third central moment ψ''(2) < 0."""
    return (SHAPE * latents[0] - latents[0].exp()).sum(1)


def unadjusted_moments(eta: float, centre: float) -> Tensor:
    """First three moments about the centre of the law that the unadjusted step leaves as it is, by quadrature."""
    z = torch.linspace(-14, 5, 900, dtype=torch.float64)
    mean = z + eta * (SHAPE - z.exp())
    transition = torch.softmax(-((z[None] - mean[:, None]) ** 2) / (4 * eta), dim=1)
    for _ in range(12):  # 4096 steps
        transition = transition @ transition
    return torch.stack([(z - centre) ** k for k in (1, 2, 3)]) @ transition[500]


@every_kernel
def test_a_skewed_target_has_its_moments(name: str, seeded: Seeded) -> None:
    """Mean, variance and third central moment in closed form; of the unadjusted step those of its own law."""
    kernel = KERNELS[name]
    mean, variance, third = (float(polygamma(k, SHAPE)) for k in (0, 1, 2))
    expected = torch.tensor([0.0, variance, third], dtype=torch.float64)
    if isinstance(kernel, UnadjustedLangevin):
        exact, expected = expected, unadjusted_moments(kernel.step_size, mean)
        assert (exact - expected).abs().max() > 0.02  # the bias is there to be seen
    draws = run(kernel, log_gamma, (torch.zeros(400, 1, dtype=torch.float64),), seeded(2), n=120)
    centred = draws.positions - mean
    assert_means(torch.cat([centred, centred**2, centred**3], dim=2), expected)


WEIGHT, PLACE, SCALE = 0.3, 4.0, 0.6


def two_modes(latents: Latents) -> Tensor:
    """0.3 N(-4, 0.6²) + 0.7 N(4, 0.6²) along the first axis, N(0, 0.6²) along the second."""
    x, y = latents[0].unbind(1)
    left = math.log(WEIGHT) - 0.5 * ((x + PLACE) / SCALE).square()
    right = math.log(1 - WEIGHT) - 0.5 * ((x - PLACE) / SCALE).square()
    return torch.logaddexp(left, right) - 0.5 * (y / SCALE).square()


LADDERS: dict[str, Any] = {
    "mala": MALA(0.1),
    "hmc": HMC(0.4, 4),
    "powers": ParallelTempering(MALA(0.1), (1.0, 0.5, 0.2, 0.08, 0.03)),
    "with a base": ParallelTempering(HMC(0.6, 2), (1.0, 0.5, 0.2, 0.08, 0.0), base=Wide()),
}


@pytest.mark.parametrize("name", LADDERS)
def test_only_tempering_finds_the_weights_of_far_modes(name: str, seeded: Seeded) -> None:
    """From a start in the lighter mode, where the untempered kernels stay for ever."""
    kernel = LADDERS[name]
    initial = (torch.tensor([[-PLACE, 0.0]], dtype=torch.float64).repeat(150, 1),)
    steps = None
    if name == "powers":
        steps = 0.1 / torch.tensor([kernel.inverse_temperatures], dtype=torch.float64)
    draws = run(kernel, two_modes, initial, seeded(3), n=200, burn_in=200, step_size=steps)
    x = draws.positions[..., :1]
    left = (x < 0).double()
    if isinstance(kernel, MALA | HMC):
        assert left.all()
        return
    moments = torch.cat([left, x, (x.abs() - PLACE).square(), draws.positions[..., 1:].square()], dim=2)
    assert_means(moments, [WEIGHT, (1 - 2 * WEIGHT) * PLACE, SCALE**2, SCALE**2])


def half_normal(bad: float) -> LogDensity:
    """N(0, 1) right of 0; left of it the log-density is not finite."""
    return lambda latents: torch.where(latents[0][:, 0] > 0, -0.5 * latents[0][:, 0].square(), bad)


class BadGradient:
    """N(0, 1) whose gradient is lost left of 0; the value is fine everywhere."""

    def __call__(self, latents: Latents) -> Tensor:
        return -0.5 * latents[0][:, 0].square()

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        return self(latents), (torch.where(latents[0] > 0, -latents[0], math.nan),)


BROKEN = {
    "nan": half_normal(math.nan),
    "inf": half_normal(math.inf),
    "-inf": half_normal(-math.inf),
    "gradient": BadGradient(),
}


@metropolis_kernels
@pytest.mark.parametrize("target", BROKEN)
def test_proposals_that_are_not_finite_are_rejected(name: str, target: str, seeded: Seeded) -> None:
    """The chain stays finite and has the law of the finite part: the half-normal, mean √(2/π), square 1."""
    kernel = KERNELS[name]
    if isinstance(kernel, ParallelTempering):
        kernel = replace(kernel, base=None, inverse_temperatures=(1.0, 0.5))
    draws = run(kernel, BROKEN[target], (torch.ones(300, 1, dtype=torch.float64),), seeded(4))
    assert (draws.positions > 0).all()
    assert torch.isfinite(draws.log_density).all()
    assert_means(torch.cat([draws.positions, draws.positions**2], 2), [math.sqrt(2 / math.pi), 1])


@pytest.mark.parametrize("name", ["mala", "hmc"])
def test_a_rejected_proposal_is_seen(name: str, seeded: Seeded) -> None:
    """Its acceptance is 0, its energy error infinite, and the state is the one before."""
    state = evaluate_state(BROKEN["nan"], (torch.full((200, 1), 0.05, dtype=torch.float64),))
    moved, info = KERNELS[name].step(BROKEN["nan"], state, generator=seeded(0))
    lost = torch.isinf(info.energy_error)
    assert 20 < lost.sum() < 180
    assert (info.acceptance[lost] == 0).all()
    assert not info.accepted[lost].any()
    assert torch.equal(moved.latents[0][lost], state.latents[0][lost])
    assert torch.equal(moved.grads[0][lost], state.grads[0][lost])


def test_the_unadjusted_step_stops_where_nothing_is_finite() -> None:
    """It cannot reject."""
    state = evaluate_state(BROKEN["nan"], (torch.full((200, 1), 0.05, dtype=torch.float64),))
    with pytest.raises(NonFiniteError, match="not finite"):
        KERNELS["ula"].step(BROKEN["nan"], state)


@every_kernel
def test_moves_follow_their_generator(name: str, seeded: Seeded) -> None:
    """Same generator the same, another different, shards are rows, the global stream untouched."""
    kernel, target = KERNELS[name], CorrelatedGaussian()
    initial = unflatten_latents(torch.randn(4, 5, generator=seeded(0), dtype=torch.float64), DIMS)
    before = torch.random.get_rng_state()

    def moved(source: torch.Generator | ShardedGenerator, rows: slice = slice(None)) -> Tensor:
        state = begin(kernel, target, tuple(z[rows] for z in initial))
        return run_chain(kernel, target, state, 5, generator=source).positions

    whole = moved(seeded(1))
    assert torch.equal(whole, moved(seeded(1)))
    assert not torch.equal(whole, moved(seeded(2)))
    halves = [moved(ShardedGenerator(seeded(1), rank, 2), slice(2 * rank, 2 * rank + 2)) for rank in (0, 1)]
    torch.testing.assert_close(whole, torch.cat(halves, dim=1), rtol=1e-12, atol=1e-12)
    assert torch.equal(torch.random.get_rng_state(), before)


def tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state]
    return [t for part in state for t in tensors(part)] if isinstance(state, tuple) else []


@every_kernel
def test_a_step_is_pure_and_its_state_is_up_to_date(name: str, seeded: Seeded) -> None:
    """No input is written to, no history kept; what the state says of its positions is what the target says."""
    kernel, target = KERNELS[name], CorrelatedGaussian()
    initial = unflatten_latents(torch.randn(50, 5, generator=seeded(0), dtype=torch.float64), DIMS)
    state = begin(kernel, target, initial)
    before = [t.clone() for t in tensors(state)]
    generator, moved = seeded(1), state
    for _ in range(6):
        moved, info = kernel.step(target, moved, generator=generator)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(state), strict=True))
    assert not any(t.requires_grad for t in [*tensors(moved), *tensors(info)])
    torch.testing.assert_close(moved.log_density, target(moved.latents))
    assert info.acceptance.shape == info.accepted.shape == info.energy_error.shape == (50,)
    if not isinstance(kernel, ParallelTempering):
        torch.testing.assert_close(moved, evaluate_state(target, moved.latents))


@every_kernel
def test_each_chain_may_have_its_own_step_size(name: str, seeded: Seeded) -> None:
    """[B] step sizes move chain b as its own number would; None is the kernel's own."""
    kernel, target = KERNELS[name], CorrelatedGaussian()
    state = begin(kernel, target, unflatten_latents(torch.zeros(3, 5, dtype=torch.float64), DIMS))
    sizes = [0.01, 0.1, 0.3]

    def moved(size: float | Tensor | None) -> Tensor:
        return flatten_latents(kernel.step(target, state, step_size=size, generator=seeded(0))[0].latents)

    together = moved(torch.tensor(sizes, dtype=torch.float64))
    torch.testing.assert_close(together, torch.stack([moved(size)[i] for i, size in enumerate(sizes)]))
    own = (kernel.inner if isinstance(kernel, ParallelTempering) else kernel).step_size
    assert torch.equal(moved(None), moved(own))
    assert not torch.equal(moved(0.01), moved(0.3))


@every_kernel
def test_a_level_that_does_not_exist_cannot_be_clamped(name: str) -> None:
    """Levels are 0 to L - 1."""
    target = CorrelatedGaussian()
    state = begin(KERNELS[name], target, unflatten_latents(torch.zeros(3, 5, dtype=torch.float64), DIMS))
    with pytest.raises(LatentShapeError, match="levels 0"):
        run_chain(KERNELS[name], target, state, 1, clamped=[3])


@pytest.mark.parametrize("make", [UnadjustedLangevin, MALA, lambda size: HMC(size, 3)])
@pytest.mark.parametrize("size", [0.0, -0.1, math.nan])
def test_step_sizes_are_positive(make: Callable[[float], Any], size: float) -> None:
    """A negative one would be rejected for ever, in silence."""
    with pytest.raises(ConfigError, match="`step_size` is"):
        make(size)
