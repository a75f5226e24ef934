"""Fits by gradient: they reach known densities, keep the best parameters, and stop at non-finite values."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hebm.distributions import DiagonalNormal
from hebm.errors import NonFiniteError
from hebm.latents import unflatten_latents
from hebm.priors import FlowPrior, FullGaussianPrior, MixturePrior, TopDownPrior, fit_by_gradient
from hebm.priors.base import BasePrior

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
PLANE = (1, 1)
AXIS = torch.linspace(-8, 8, 321, dtype=torch.float64)
STEP = (AXIS[1] - AXIS[0]).item()


def bent(n: int, generator: torch.Generator) -> Tensor:
    """The means of the posteriors: the bottom latent around a sine of the top one."""
    eps = torch.randn(n, 2, generator=generator)
    return torch.stack([eps[:, 0], torch.sin(2 * eps[:, 0]) + 0.5 * eps[:, 1]], 1)


def bent_log_prob(z: Tensor, posterior_scale: float) -> Tensor:
    """Its density: in the bottom unit only, the posterior's noise of scale s adds s² to 0.5²."""
    sd = math.hypot(0.5, posterior_scale)
    top, bottom = z[:, :1], z[:, 1:]
    standard = DiagonalNormal(torch.zeros_like(top), torch.ones_like(top))
    return standard.log_prob(top) + DiagonalNormal(torch.sin(2 * top), torch.full_like(top, sd)).log_prob(
        bottom
    )


def posterior(means: Tensor, bottom_scale: float) -> DiagonalNormal:
    return DiagonalNormal(means, torch.tensor([0.0, bottom_scale]).expand_as(means))


def divergence(log_prob: Callable[[Tensor], Tensor], prior: BasePrior) -> float:
    """KL(truth ‖ prior) by quadrature: how much lower the expected held-out log-density is than the best."""
    axis = AXIS.to(torch.get_default_device(), torch.float32)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        log_p, log_q = log_prob(grid).double(), prior.log_prob(unflatten_latents(grid, PLANE)).double()
    return (log_p.exp() * (log_p - log_q)).sum().item() * STEP**2


@pytest.mark.parametrize("name", ["top_down", "flow"])
def test_a_fit_reaches_a_bent_density(name: str, seeded: Seeded) -> None:
    """Within 0.02 nat of the truth, posterior noise included: samples are fitted, not means."""
    torch.manual_seed(0)
    prior = (
        TopDownPrior(PLANE, width=32)
        if name == "top_down"
        else FlowPrior(PLANE, n_transforms=2, hidden=(32,))
    )
    fit = fit_by_gradient(
        prior,
        posterior(bent(20_000, seeded(0)), 0.3),
        posterior(bent(4000, seeded(1)), 0.3),
        n_steps=1000 if name == "top_down" else 400,
        lr=1e-2,
        generator=seeded(2),
    )
    assert divergence(lambda z: bent_log_prob(z, 0.3), prior) < 0.02
    truth = bent_log_prob(posterior(bent(4000, seeded(1)), 0.3).sample(seeded(3)), 0.3)
    assert fit.best_held_out_log_prob > truth.mean().item() - 0.02 - 5 * truth.std().item() / 4000**0.5


def test_a_fit_polishes_a_mixture(seeded: Seeded) -> None:
    """From a displaced start to the mixture that made the samples."""
    torch.manual_seed(0)
    covariances = torch.tensor([[[0.3, 0.2], [0.2, 0.5]], [[0.4, 0.0], [0.0, 0.2]]])
    means = torch.tensor([[-1.5, 0.0], [1.5, 1.0]])
    truth, prior = MixturePrior(PLANE, 2), MixturePrior(PLANE, 2)
    truth.load_components_(torch.tensor([0.7, 0.3]), means, covariances)
    prior.load_components_(torch.tensor([0.5, 0.5]), means + 0.5, 2 * covariances)

    def true_log_prob(z: Tensor) -> Tensor:
        return truth.log_prob(unflatten_latents(z, PLANE))

    assert divergence(true_log_prob, prior) > 0.2
    samples = [
        torch.cat(truth.sample_base(n, like=means, generator=seeded(i)), 1)
        for i, n in enumerate((20_000, 2000))
    ]
    train, valid = (posterior(flat, 0.0) for flat in samples)
    fit_by_gradient(prior, train, valid, n_steps=400, lr=2e-2, generator=seeded(2))
    assert divergence(true_log_prob, prior) < 0.02


def test_the_parameters_that_are_best_on_held_out_items_are_kept(seeded: Seeded) -> None:
    """Three items are soon overfitted: the best step is an early one, and the prior is that step's."""
    prior = FullGaussianPrior(PLANE)
    train, valid = (posterior(bent(n, seeded(n)) + 2, 0.1) for n in (3, 500))
    fit = fit_by_gradient(prior, train, valid, n_steps=600, lr=3e-2, evaluate_every=20, generator=seeded(2))
    assert 0 < fit.best_step < 600
    assert fit.held_out_log_prob[-1] < fit.best_held_out_log_prob - 0.5
    assert fit.train_log_prob[-1] > fit.train_log_prob[fit.steps.index(fit.best_step)]
    assert fit.best_held_out_log_prob == max(fit.held_out_log_prob)
    held_out = valid.sample(seeded(2))  # the first draw of the stream
    value = prior.log_prob(unflatten_latents(held_out, PLANE)).mean().item()
    assert value == pytest.approx(fit.best_held_out_log_prob, abs=1e-5)
    assert all(p.grad is None for p in prior.parameters())


def test_a_fit_follows_its_generator(seeded: Seeded) -> None:
    """Same generator the same, another different; the global stream untouched."""
    train = posterior(bent(100, seeded(0)), 0.1)
    before = torch.random.get_rng_state()

    def fitted(seed: int) -> Tensor:
        prior = FullGaussianPrior(PLANE)
        fit_by_gradient(prior, train, train, n_steps=5, lr=1e-2, evaluate_every=2, generator=seeded(seed))
        return torch.cat([p.detach().flatten() for p in prior.parameters()])

    assert torch.equal(fitted(0), fitted(0))
    assert not torch.equal(fitted(0), fitted(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_history_averages_over_the_batches_since_the_look_before(seeded: Seeded) -> None:
    """With one item and no noise, the entry of steps 1 and 2 is the mean of those of looking at each step."""
    train = posterior(torch.full((1, 2), 2.0), 0.0)
    each, every_second = (
        fit_by_gradient(
            FullGaussianPrior(PLANE), train, train, n_steps=4, evaluate_every=k, generator=seeded(0)
        ).train_log_prob
        for k in (1, 2)
    )
    expected = [each[0], (each[1] + each[2]) / 2, (each[3] + each[4]) / 2]
    assert every_second == pytest.approx(expected, rel=1e-6)


def test_no_steps_change_nothing(seeded: Seeded) -> None:
    """One look at the held-out items, at step 0."""
    prior, train = FullGaussianPrior(PLANE), posterior(bent(100, seeded(0)), 0.0)
    fit = fit_by_gradient(prior, train, train, n_steps=0, generator=seeded(1))
    assert (fit.steps, fit.best_step) == ((0,), 0)
    torch.testing.assert_close(prior.mean.detach(), torch.zeros(2))


def test_the_gradient_is_clipped(seeded: Seeded) -> None:
    """The step of Adam after a clip to nearly nothing is far smaller than its rate (its epsilon is 1e-8)."""
    prior, train = FullGaussianPrior(PLANE), posterior(bent(100, seeded(0)) + 5, 0.0)
    fit_by_gradient(prior, train, train, n_steps=1, lr=0.1, max_grad_norm=1e-10, generator=seeded(1))
    assert 0 < prior.mean.abs().max().item() < 0.01


def test_the_rate_falls_along_half_a_cosine(seeded: Seeded) -> None:
    """Far from the target each step of Adam is as long as the rate; their sum is lr (T + 1) / 2, not lr T."""
    prior, train = FullGaussianPrior(PLANE), posterior(bent(100, seeded(0)) + 1000, 0.0)
    fit_by_gradient(prior, train, train, n_steps=20, lr=1e-3, generator=seeded(1))
    torch.testing.assert_close(prior.mean.detach(), torch.full((2,), 1e-3 * 21 / 2), rtol=0.05, atol=0)


def test_a_value_that_is_not_finite_stops_the_fit(seeded: Seeded) -> None:
    """The message names the step and the quantity: of the batch, of the held-out items, of the gradient."""
    good = posterior(bent(100, seeded(0)), 0.0)
    bad = posterior(torch.full((100, 2), math.inf), 0.0)
    with pytest.raises(NonFiniteError, match="training batch is not finite at step 0"):
        fit_by_gradient(FullGaussianPrior(PLANE), bad, good, n_steps=3, generator=seeded(1))
    with pytest.raises(NonFiniteError, match="held-out samples is not finite at step 0"):
        fit_by_gradient(FullGaussianPrior(PLANE), good, bad, n_steps=3, generator=seeded(1))
    prior = FullGaussianPrior(PLANE)
    prior.mean.register_hook(lambda grad: grad * math.nan)
    with pytest.raises(NonFiniteError, match="norm of the gradient is not finite at step 0"):
        fit_by_gradient(prior, good, good, n_steps=3, generator=seeded(1))
