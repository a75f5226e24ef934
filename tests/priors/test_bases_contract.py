"""Every base prior: normalised, drawn from exactly, its frozen density, its conditionals, its noise and its shapes."""

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from hebm.distributions import DiagonalNormal
from hebm.errors import LatentShapeError, UnsupportedError
from hebm.latents import Latents, unflatten_latents
from hebm.priors import FlowPrior, FullGaussianPrior, GaussianPrior, MixturePrior, TopDownPrior, VampPrior
from hebm.priors.base import BasePrior
from hebm.randomness import ShardedGenerator

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (2, 1, 3)
PLANE = (1, 1)
DTYPE = torch.float64

every_base = pytest.mark.parametrize(
    "name", ["gaussian", "full_gaussian", "mixture", "vamp", "top_down", "flow"]
)
with_conditionals = pytest.mark.parametrize(
    "name", ["gaussian", "full_gaussian", "mixture", "vamp", "top_down"]
)
gaussian_components = pytest.mark.parametrize("name", ["full_gaussian", "mixture", "vamp"])


def base_named(name: str, dims: tuple[int, ...] = DIMS, seed: int = 0) -> BasePrior:
    """A base away from where it starts: levels correlated, means and scales unequal."""
    torch.manual_seed(seed)
    dim = sum(dims)
    prior: BasePrior
    if name == "gaussian":
        return GaussianPrior(dims)
    if name == "vamp":
        posteriors = DiagonalNormal(1.5 * torch.randn(4, dim), 0.4 + 0.8 * torch.rand(4, dim))
        prior = VampPrior(dims, posteriors, learn_weights=True)
        torch.nn.init.normal_(prior.logits)
    elif name == "full_gaussian":
        prior = FullGaussianPrior(dims)
        randomise(prior, 0.6)
    elif name == "mixture":
        prior = MixturePrior(dims, 3)
        randomise(prior, 0.6)
        torch.nn.init.normal_(prior.means, std=1.5)
    elif name == "top_down":
        prior = TopDownPrior(dims, width=16, depth=1, activation="tanh", log_scale_bound=1.5)
        randomise(prior, 0.6)
    else:
        prior = FlowPrior(dims, n_transforms=2, hidden=(8,), bins=4)
        randomise(prior, 0.7)
        prior.mean.normal_()
        prior.scale.uniform_(0.5, 1.5)
    return prior.double()


def randomise(prior: torch.nn.Module, std: float) -> None:
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=std)


def draws(n: int, generator: torch.Generator, dims: tuple[int, ...] = DIMS) -> Latents:
    return unflatten_latents(torch.randn(n, sum(dims), generator=generator, dtype=DTYPE), dims)


def like() -> Tensor:
    return torch.empty(0, dtype=DTYPE)


AXIS = torch.linspace(-14, 14, 561, dtype=DTYPE)
STEP = (AXIS[1] - AXIS[0]).item()


@cache
def plane_log_prob(name: str, device: str) -> Tensor:
    """log p on a grid of two levels of one unit: rows are the top level."""
    axis = AXIS.to(device)
    with torch.no_grad():
        grid = torch.cartesian_prod(axis, axis)
        return base_named(name, PLANE).log_prob((grid[:, :1], grid[:, 1:])).reshape(len(axis), -1).cpu()


def assert_within_errors(draws: Tensor, expected: Tensor) -> None:
    """Means over the rows, within five standard errors."""
    draws = draws.cpu()
    error = draws.std(0) / len(draws) ** 0.5
    assert ((draws.mean(0) - expected).abs() < 5 * error).all()


def moments(flat: Tensor) -> Tensor:
    """z and z zᵀ of each row."""
    return torch.cat([flat, (flat[:, :, None] * flat[:, None]).flatten(1)], 1)


@every_base
def test_a_base_is_normalised(name: str, device: torch.device) -> None:
    """∫∫ p₀ = 1 by quadrature over two levels."""
    total = plane_log_prob(name, str(device)).exp().sum().item() * STEP**2
    assert abs(total - 1) < 1e-3


@every_base
def test_draws_have_the_moments_and_the_entropy_of_the_density(
    name: str, seeded: Seeded, device: torch.device
) -> None:
    """E z, E z zᵀ and E[-log p] over exact draws equal their integrals by quadrature."""
    prior = base_named(name, PLANE)
    z = prior.sample_base(20_000, like=like(), generator=seeded(0))
    log_p = plane_log_prob(name, str(device)).flatten()
    mass = log_p.exp() * STEP**2
    columns = torch.cat([moments(torch.cartesian_prod(AXIS, AXIS).cpu()), -log_p[:, None]], 1)
    with torch.no_grad():
        drawn = torch.cat([moments(torch.cat(z, 1)), -prior.log_prob(z)[:, None]], 1)
    assert_within_errors(drawn, (mass[:, None] * columns).sum(0))


@every_base
def test_the_log_density_is_the_log_prob_and_reaches_every_parameter(name: str, seeded: Seeded) -> None:
    """A base has no unknown constant, no energy, and learns through its latents and its parameters."""
    prior, z = base_named(name), draws(4, seeded(1))
    assert prior.energy is None
    assert torch.equal(prior.log_density(z), prior.log_prob(z))
    if parameters := [p for p in prior.parameters() if p.requires_grad]:
        grads = torch.autograd.grad(prior.log_prob(z).sum(), parameters)
        assert all(grad.abs().sum() > 0 for grad in grads)


@every_base
def test_the_frozen_density_is_the_log_prob_and_its_gradient(name: str, seeded: Seeded) -> None:
    """For levels and for the flat state, by hand where it is by hand; no parameter gets a gradient."""
    prior, density = base_named(name), base_named(name).density()
    z = tuple(level.requires_grad_() for level in draws(7, seeded(1)))
    expected = prior.log_prob(z)
    grads = torch.autograd.grad(expected.sum(), z)
    levels = tuple(level.detach() for level in z)
    for state, state_grads in [(levels, grads), ((torch.cat(levels, 1),), (torch.cat(grads, 1),))]:
        value, by_hand = density.value_and_grad(state)
        assert not value.requires_grad
        torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(by_hand, state_grads, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(density(state), expected.detach(), rtol=1e-10, atol=1e-10)
    through_call = torch.autograd.grad(prior.density()(z).sum(), z)
    torch.testing.assert_close(through_call, grads, rtol=1e-10, atol=1e-10)
    prior.density()(z).sum().backward()
    assert all(p.grad is None for p in prior.parameters())


@pytest.mark.parametrize(
    ("name", "free"),
    [(name, free) for name in ("gaussian", "full_gaussian", "mixture", "vamp") for free in (0, 1)]
    + [("top_down", 1)],
)
def test_one_level_given_the_other_has_the_conditional_law(
    name: str, free: int, seeded: Seeded, device: torch.device
) -> None:
    """Its distribution function equals that of quadrature along a line (Kolmogorov's distance)."""
    n, row = 10_000, int(torch.argmin((AXIS - 0.8).abs()))
    held = AXIS[row].item()
    z = tuple(torch.full((n, 1), held, dtype=DTYPE) for _ in PLANE)
    drawn = base_named(name, PLANE).sample_base_given(z, [free], generator=seeded(0))
    assert torch.equal(drawn[1 - free], z[1 - free])
    joint = plane_log_prob(name, str(device)).exp()
    cumulative = (joint[:, row] if free == 0 else joint[row]).cumsum(0)
    cumulative = (cumulative - 0.5 * (joint[:, row] if free == 0 else joint[row])) / cumulative[-1]
    empirical = torch.searchsorted(drawn[free].flatten().sort().values.cpu(), AXIS.cpu()) / n
    assert (empirical - cumulative).abs().max().item() < 2.2 / n**0.5  # a probability of 1e-4


@pytest.mark.parametrize("levels", [[1], [0, 2], [0], [0, 1, 2]])
@gaussian_components
def test_drawing_levels_anew_keeps_the_law_of_all(name: str, levels: list[int], seeded: Seeded) -> None:
    """z ~ p₀, some levels from p₀(· | the others): still p₀, with correlations across levels; the rest bit-equal."""
    prior, generator = base_named(name), seeded(0)
    z = prior.sample_base(20_000, like=like(), generator=generator)
    drawn = prior.sample_base_given(z, levels, generator=generator)
    for i, (old, new) in enumerate(zip(z, drawn, strict=True)):
        assert torch.equal(old, new) is (i not in levels)
    components = prior.components()
    second = [covariance(components.factors, k) + torch.outer(m, m) for k, m in enumerate(components.means)]
    weights = components.log_weights.exp()
    expected = torch.cat([weights @ components.means, (weights @ torch.stack(second).flatten(1))])
    assert_within_errors(moments(torch.cat(drawn, 1)), expected.detach().cpu())


def covariance(factors: object, k: int) -> Tensor:
    if hasattr(factors, "lower"):
        return torch.linalg.inv(factors.lower[k] @ factors.lower[k].T)
    return torch.diag(factors.inverse_scales[k] ** -2)


@with_conditionals
def test_draws_given_levels_change_no_others(name: str, seeded: Seeded) -> None:
    """The bottom level given the two above; no level at all; a level that does not exist."""
    prior, z = base_named(name), draws(5, seeded(1))
    drawn = prior.sample_base_given(z, [2], generator=seeded(0))
    assert torch.equal(drawn[0], z[0])
    assert torch.equal(drawn[1], z[1])
    assert (drawn[2] != z[2]).all()
    again = prior.sample_base_given(z, [2], generator=seeded(0))
    assert torch.equal(drawn[2], again[2])
    assert all(map(torch.equal, prior.sample_base_given(z, [], generator=seeded(0)), z))
    with pytest.raises(LatentShapeError, match="do not exist"):
        prior.sample_base_given(z, [3], generator=seeded(0))


@with_conditionals
def test_draws_given_levels_are_rows_of_the_stream(name: str, seeded: Seeded) -> None:
    """Two processes with a half each draw what one draws."""
    prior, z = base_named(name), draws(6, seeded(1))
    whole = prior.sample_base_given(z, [1, 2], generator=seeded(0))
    halves = [
        prior.sample_base_given(
            tuple(level[3 * rank : 3 * rank + 3] for level in z),
            [1, 2],
            generator=ShardedGenerator(seeded(0), rank, 2),
        )
        for rank in (0, 1)
    ]
    torch.testing.assert_close(tuple(map(torch.cat, zip(*halves, strict=True))), whole)


@pytest.mark.parametrize(
    ("name", "levels"), [("flow", [2]), ("top_down", [0]), ("top_down", [1]), ("top_down", [0, 2])]
)
def test_a_conditional_without_closed_form_is_an_error(name: str, levels: list[int], seeded: Seeded) -> None:
    """It says that a chain is needed."""
    with pytest.raises(UnsupportedError, match="run a chain"):
        base_named(name).sample_base_given(draws(2, seeded(0)), levels, generator=seeded(0))


@every_base
def test_base_draws_follow_their_generator(name: str, seeded: Seeded) -> None:
    """Same generator the same, another different, shards are rows, the global stream untouched."""
    prior = base_named(name)
    before = torch.random.get_rng_state()

    def draw(source: torch.Generator | ShardedGenerator, n: int = 8) -> Tensor:
        return torch.cat(prior.sample_base(n, like=like(), generator=source), 1)

    whole = draw(seeded(0))
    assert torch.equal(whole, draw(seeded(0)))
    assert not torch.equal(whole, draw(seeded(1)))
    halves = [draw(ShardedGenerator(seeded(0), rank, 2), 4) for rank in (0, 1)]
    torch.testing.assert_close(torch.cat(halves), whole, rtol=1e-12, atol=1e-12)
    assert torch.equal(torch.random.get_rng_state(), before)


@every_base
def test_draws_have_the_type_of_the_template_and_no_history(name: str, seeded: Seeded) -> None:
    """A float32 template gives float32 levels, top first, from parameters in float64."""
    z = base_named(name).sample_base(5, like=torch.empty(0), generator=seeded(0))
    assert [(tuple(level.shape), level.dtype) for level in z] == [((5, d), torch.float32) for d in DIMS]
    assert not any(level.requires_grad for level in z)


@every_base
def test_an_item_does_not_depend_on_its_batch(
    name: str, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, together, in chunks of rows, and none at all."""
    prior, z = base_named(name), draws(5, seeded(1))
    together = prior.log_prob(z)
    alone = torch.cat([prior.log_prob(tuple(level[i : i + 1] for level in z)) for i in range(5)])
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)
    _, grads = prior.density().value_and_grad(z)
    drawn = prior.sample_base(5, like=like(), generator=seeded(0))
    monkeypatch.setattr("hebm.priors.precision.CHUNK_ELEMENTS", 40)
    torch.testing.assert_close(prior.log_prob(z), together, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(prior.density().value_and_grad(z)[1], grads, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(prior.sample_base(5, like=like(), generator=seeded(0)), drawn)
    assert prior.sample_base(0, like=like(), generator=seeded(0))[0].shape == (0, 2)


@every_base
def test_a_state_dict_carries_the_whole_prior(name: str, seeded: Seeded) -> None:
    """Another prior of the same shape that loads it has the same density and draws."""
    prior, other, z = base_named(name), base_named(name, seed=1), draws(4, seeded(1))
    if name != "gaussian":
        assert not torch.allclose(other.log_prob(z), prior.log_prob(z))
    other.load_state_dict(prior.state_dict())
    assert torch.equal(other.log_prob(z), prior.log_prob(z))
    drawn = [p.sample_base(3, like=like(), generator=seeded(0)) for p in (prior, other)]
    assert all(map(torch.equal, *drawn))


@every_base
def test_a_base_is_never_computed_in_half_precision(name: str, seeded: Seeded, device: torch.device) -> None:
    """Autocast around it changes neither its dtype nor its value."""
    prior = base_named(name).float()
    z = tuple(level.float() for level in draws(3, seeded(1)))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        value, (frozen_value, _) = prior.log_prob(z), prior.density().value_and_grad(z)
    assert value.dtype == torch.float32
    assert torch.equal(value, prior.log_prob(z))
    torch.testing.assert_close(frozen_value, value.detach(), rtol=1e-5, atol=1e-5)


@every_base
def test_latents_of_other_shapes_are_refused(name: str, seeded: Seeded) -> None:
    """Bottom first is an error, whatever is asked."""
    prior, z = base_named(name), tuple(reversed(draws(2, seeded(0))))
    with pytest.raises(LatentShapeError, match="top first"):
        prior.log_prob(z)


@with_conditionals
def test_held_latents_of_other_shapes_are_refused(name: str, seeded: Seeded) -> None:
    """Bottom first is an error for a conditional draw too."""
    with pytest.raises(LatentShapeError, match="top first"):
        base_named(name).sample_base_given(tuple(reversed(draws(2, seeded(0)))), [2])


@pytest.mark.parametrize("name", ["full_gaussian", "mixture", "top_down", "flow"])
def test_a_base_starts_at_the_standard_normal(name: str, seeded: Seeded) -> None:
    """Before it has learned anything: log N(z; 0, I) exactly, the normalising constant included."""
    made = {
        "full_gaussian": lambda: FullGaussianPrior(DIMS),
        "mixture": lambda: MixturePrior(DIMS, 3),
        "top_down": lambda: TopDownPrior(DIMS),
        "flow": lambda: FlowPrior(DIMS),
    }
    prior, z = made[name]().double(), draws(20, seeded(1))
    expected = -0.5 * torch.cat(z, 1).square().sum(1) - 0.5 * sum(DIMS) * math.log(2 * math.pi)
    torch.testing.assert_close(prior.log_prob(z), expected, rtol=1e-12, atol=1e-12)


@gaussian_components
def test_names_and_shapes_of_stored_tensors_stay(name: str) -> None:
    """What checkpoints on disk hold: six latents, K components, the factors' 15 entries below the diagonal."""
    n = {"full_gaussian": 1, "mixture": 3, "vamp": 4}[name]
    expected = {
        "full_gaussian": {"mean": (6,), "factor.log_diagonal": (n, 6), "factor.below": (n, 15)},
        "mixture": {
            "logits": (n,),
            "means": (n, 6),
            "factors.log_diagonal": (n, 6),
            "factors.below": (n, 15),
        },
        "vamp": {"logits": (n,), "means": (n, 6), "scales": (n, 6)},
    }
    stored = base_named(name).state_dict()  # type: ignore[attr-defined]
    assert {key: tuple(value.shape) for key, value in stored.items()} == expected[name]
