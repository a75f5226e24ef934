"""The chained Gaussian and the spline flow: white noise through an invertible map."""

import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hebm.distributions import DiagonalNormal, standard_normal_log_prob
from hebm.errors import LatentShapeError, MissingDependencyError, NonFiniteError
from hebm.latents import Latents, unflatten_latents
from hebm.priors import FlowPrior, GaussianPrior, TopDownPrior

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (2, 1, 3)
DTYPE = torch.float64

both = pytest.mark.parametrize("name", ["top_down", "flow"])


def prior_named(name: str) -> TopDownPrior | FlowPrior:
    torch.manual_seed(0)
    prior = (
        TopDownPrior(DIMS, width=16, depth=2, log_scale_bound=2.0)
        if name == "top_down"
        else FlowPrior(DIMS, n_transforms=2, hidden=(16,), bins=5)
    )
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    if isinstance(prior, FlowPrior):
        prior.mean.normal_()
        prior.scale.uniform_(0.5, 2)
    return prior.double()


def draws(n: int, generator: torch.Generator, scale: float = 1.0) -> Latents:
    return unflatten_latents(scale * torch.randn(n, 6, generator=generator, dtype=DTYPE), DIMS)


@both
def test_whitening_has_an_inverse(name: str, seeded: Seeded) -> None:
    """Both ways round, also far from the origin."""
    prior, z = prior_named(name), draws(50, seeded(0), scale=4)
    torch.testing.assert_close(prior.from_white(prior.to_white(z)), z, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(prior.to_white(prior.from_white(z)), z, rtol=1e-8, atol=1e-8)


@both
def test_the_density_is_that_of_white_noise_and_the_jacobian(name: str, seeded: Seeded) -> None:
    """log p₀(z) = log N(u; 0, I) + log |det ∂u/∂z|, the determinant by autograd."""
    prior, z = prior_named(name), draws(6, seeded(0), scale=2)

    def white(flat: Tensor) -> Tensor:
        return torch.cat(prior.to_white(unflatten_latents(flat[None], DIMS)), 1)[0]

    flat = torch.cat(z, 1)
    log_dets = [torch.autograd.functional.jacobian(white, row).slogdet().logabsdet for row in flat]
    expected = standard_normal_log_prob(torch.cat(prior.to_white(z), 1)) + torch.stack(log_dets)
    torch.testing.assert_close(prior.log_prob(z), expected, rtol=1e-9, atol=1e-9)


@both
def test_draws_are_white_noise_pushed_through(name: str, seeded: Seeded) -> None:
    """The white state of a draw is the draw of N(0, I) from the same generator."""
    prior = prior_named(name)
    z = prior.sample_base(10, like=torch.empty(0, dtype=DTYPE), generator=seeded(0))
    expected = GaussianPrior(DIMS).sample_base(10, like=z[0], generator=seeded(0))
    torch.testing.assert_close(prior.to_white(z), expected, rtol=1e-8, atol=1e-8)


@both
def test_white_latents_of_other_shapes_are_refused(name: str, seeded: Seeded) -> None:
    """Bottom first is an error both ways."""
    for function in (prior_named(name).to_white, prior_named(name).from_white):
        with pytest.raises(LatentShapeError, match="top first"):
            function(tuple(reversed(draws(2, seeded(0)))))


def test_a_chain_looks_at_higher_levels_only(seeded: Seeded) -> None:
    """The white state of a level does not change with the levels below it, but with those above."""
    prior, z = prior_named("top_down"), draws(3, seeded(0))
    for changed in range(3):
        moved = tuple(level + (i == changed) for i, level in enumerate(z))
        pairs = zip(prior.to_white(z), prior.to_white(moved), strict=True)
        assert [not torch.equal(a, b) for a, b in pairs] == [i >= changed for i in range(3)]


def test_the_scales_of_a_chain_are_bounded(seeded: Seeded) -> None:
    """exp(-b) ≤ σ ≤ exp(b) however far the latents above are, and the bound has slope 1 at zero."""
    prior, z = prior_named("top_down"), draws(100, seeded(0), scale=1e4)
    log_scale = prior.conditional(2, z[:2], z[2]).scale.log()
    assert log_scale.max().item() == pytest.approx(2.0)
    assert log_scale.min().item() == pytest.approx(-2.0)
    last = prior.conditionals[1].layers[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, 1e-3)
    torch.testing.assert_close(
        prior.conditional(2, z[:2], z[2]).scale.log(),
        torch.full((100, 3), 1e-3, dtype=DTYPE),
        rtol=1e-6,
        atol=0,
    )


def test_a_flow_is_the_identity_outside_of_its_interval() -> None:
    """Beyond 5 standard deviations white noise is the standardised latent itself, inside it is not."""
    prior = prior_named("flow")
    for y, outside in [(6.0, True), (-6.0, True), (1.0, False)]:
        z = unflatten_latents((prior.mean + prior.scale * y)[None], DIMS)
        white = torch.cat(prior.to_white(z), 1)
        assert torch.allclose(white, torch.full_like(white, y)) is outside


def test_a_standardised_flow_starts_at_the_diagonal_gaussian(seeded: Seeded) -> None:
    """N(mean, diag scale²) of the samples, Jacobian included."""
    flat = torch.cat(draws(200, seeded(0)), 1) * torch.arange(1, 7) + 3
    prior = FlowPrior(DIMS).double()
    prior.standardise_(flat)
    expected = DiagonalNormal(flat.mean(0).expand(200, 6), flat.std(0)).log_prob(flat)
    torch.testing.assert_close(prior.log_prob(unflatten_latents(flat, DIMS)), expected)
    with pytest.raises(NonFiniteError, match="scale of a latent"):
        prior.standardise_(torch.ones(10, 6, dtype=DTYPE))


def test_a_flow_draws_in_single_precision(seeded: Seeded) -> None:
    """4,000 draws in float32 are finite and agree with those in float64 to its precision."""
    prior = prior_named("flow")
    u = draws(4000, seeded(0))
    z = torch.cat(prior.from_white(u), 1)
    single = torch.cat(prior.float().from_white(tuple(level.float() for level in u)), 1)
    assert torch.isfinite(single).all()
    assert (single - z).abs().quantile(0.99).item() < 1e-4


def test_a_flow_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else of the package needs it."""
    monkeypatch.setitem(sys.modules, "zuko", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'hebm\[flow\]'"):
        FlowPrior(DIMS)


def test_a_flow_of_one_latent_is_refused() -> None:
    """An autoregressive flow needs something to condition on."""
    with pytest.raises(LatentShapeError, match="at least two latents"):
        FlowPrior((1,))
