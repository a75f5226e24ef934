"""Likelihoods p(x|h): weights of the squared error, learned scales, model coordinates."""

import math

import pytest
import torch
from torch.distributions import Normal

from hebm.distributions import Bernoulli, DiscretizedLogistic
from hebm.models import LIKELIHOODS, make_likelihood

pytestmark = pytest.mark.usefixtures("on_device")


def image(seed: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(2, channels, 4, 4, generator=generator, dtype=torch.float64, device="cpu")
    return noise.to(torch.get_default_device())


def test_the_gaussian_likelihood_agrees_with_torch() -> None:
    """N(tanh(h), scale²) in model coordinates, summed over all pixels."""
    h, y = image(0), image(1)
    p = make_likelihood("gaussian", 3, 0.25).double()(h)
    torch.testing.assert_close(p.log_prob(y), Normal(torch.tanh(h), 0.25).log_prob(y).sum((1, 2, 3)))
    torch.testing.assert_close(p.mean, torch.tanh(h))


@pytest.mark.parametrize("weight", [3.0, 10.0])
def test_the_gradient_of_the_distortion_is_twice_the_papers_weight_times_the_error(weight: float) -> None:
    """With scale = 1/√(2G) the distortion is G·|ŷ - y|² + const, so its gradient in ŷ is 2G(ŷ - y)."""
    y, y_hat = image(1), image(0).tanh().requires_grad_()
    p = make_likelihood("gaussian", 3, math.sqrt(1 / (2 * weight))).double()(torch.atanh(y_hat))
    (grad,) = torch.autograd.grad(-p.log_prob(y).sum(), y_hat)
    torch.testing.assert_close(grad, 2 * weight * (y_hat.detach() - y), rtol=1e-6, atol=1e-6)


def test_a_learned_scale_has_the_gradient_of_the_gaussian() -> None:
    """∂(-log p)/∂ log σ = n - Σ(y - ŷ)²/σ², zero at the root mean square error."""
    h, y = image(0), image(1)
    error = y - torch.tanh(h)
    rms = error.square().mean().sqrt()
    for scale in (0.4, rms.item()):
        likelihood = make_likelihood("gaussian_learned", 3, scale).double()
        (grad,) = torch.autograd.grad(-likelihood(h).log_prob(y).sum(), list(likelihood.parameters()))
        expected = error.numel() - error.square().sum() / scale**2
        torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-4)
    assert abs(grad.item()) < 1e-4


def test_a_fixed_scale_is_neither_learned_nor_stored() -> None:
    """It is the configuration's; a learned one is a parameter that starts there."""
    fixed, learned = make_likelihood("gaussian", 1, 0.3), make_likelihood("gaussian_learned", 1, 0.3)
    assert list(fixed.parameters()) == []
    assert dict(fixed.state_dict()) == {}
    assert [p.exp().item() for p in learned.parameters()] == [pytest.approx(0.3)]


def test_the_bernoulli_likelihood_reads_the_ladder_as_log_odds() -> None:
    """No tanh before the sigmoid."""
    h, x = image(0, 1), (image(1, 1) > 0).double()
    p = make_likelihood("bernoulli", 1, 0.3)(h)
    assert isinstance(p, Bernoulli)
    torch.testing.assert_close(p.log_prob(2 * x - 1), -(torch.log1p((-h * (2 * x - 1)).exp())).sum((1, 2, 3)))


def test_the_logistic_likelihood_learns_one_scale_per_channel() -> None:
    """Raising one channel's scale changes that channel's bins alone; finite differences give its gradient."""
    h, y = image(0), image(1).clamp(-1, 1)
    likelihood = make_likelihood("discretized_logistic", 3, 0.2).double()
    assert isinstance(likelihood(h), DiscretizedLogistic)
    (grad,) = torch.autograd.grad(likelihood(h).log_prob(y).sum(), list(likelihood.parameters()))
    assert grad.shape == (3, 1, 1)
    log_scale = likelihood.log_scale.detach()
    for channel in range(3):
        part = slice(channel, channel + 1)
        values = [
            DiscretizedLogistic(torch.tanh(h[:, part]), (log_scale[part] + d).exp())
            .log_prob(y[:, part])
            .sum()
            for d in (1e-5, -1e-5)
        ]
        torch.testing.assert_close(grad[channel].squeeze(), (values[0] - values[1]) / 2e-5, rtol=1e-6, atol=0)


def test_an_unknown_likelihood_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match="bernoulli"):
        make_likelihood("poisson", 1, 0.3)


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_every_likelihood_is_widest_in_favour_of_its_own_mean(kind: str) -> None:
    """An image at the mean is likelier than one half a range away, and the mean lies within the grey range."""
    h = torch.full((1, 1, 2, 2), 1.0)
    p = make_likelihood(kind, 1, 0.3)(h)
    assert p.mean.abs().max() <= 1
    assert p.log_prob(p.mean).item() > p.log_prob(p.mean - 1).item()
