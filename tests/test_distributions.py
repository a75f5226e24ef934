"""Distributions against torch.distributions, quadrature and their definitions."""

import math
from collections.abc import Callable

import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Independent, Normal

from hebm.distributions import Bernoulli, DiagonalNormal, DiscretizedLogistic, standard_normal_log_prob

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]


def normal(shape: tuple[int, ...], generator: torch.Generator) -> DiagonalNormal:
    mean, log_scale = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return DiagonalNormal(mean, log_scale.exp())


def grey_levels(n: int = 256) -> torch.Tensor:
    return torch.linspace(-1, 1, n, dtype=torch.float64)


def test_the_standard_normal_agrees_with_torch(seeded: Seeded) -> None:
    """Summed over the units, constant included."""
    z = torch.randn(4, 3, generator=seeded(0), dtype=torch.float64)
    expected = Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(standard_normal_log_prob(z), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 5, 5), (1, 1)])
def test_the_diagonal_normal_agrees_with_torch(shape: tuple[int, ...], seeded: Seeded) -> None:
    """Latent levels and images; one value per item."""
    q = normal(shape, seeded(0))
    value = torch.randn(shape, generator=seeded(1), dtype=torch.float64)
    expected = Independent(Normal(q.mean, q.scale), len(shape) - 1).log_prob(value)
    torch.testing.assert_close(q.log_prob(value), expected, rtol=1e-12, atol=0)


def test_one_scale_for_all_pixels_counts_once_per_pixel(seeded: Seeded) -> None:
    """A scalar scale broadcasts: its logarithm enters C·H·W times."""
    mean, y = torch.randn(2, 2, 3, 4, 4, generator=seeded(0), dtype=torch.float64)
    scale = torch.tensor(0.3, dtype=torch.float64)
    expected = Normal(mean, scale).log_prob(y).sum((1, 2, 3))
    torch.testing.assert_close(DiagonalNormal(mean, scale).log_prob(y), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1.3, 0.4), (-0.7, 1.9)])
def test_the_closed_form_kl_is_the_integral(mean: float, scale: float) -> None:
    """KL(q ‖ N(0, 1)) = ∫ q log(q / p₀), on a fine grid, and summed over two equal units."""
    q = Normal(torch.tensor(mean, dtype=torch.float64), scale)
    z = torch.linspace(mean - 12 * scale, mean + 12 * scale, 4001, dtype=torch.float64)
    log_ratio = q.log_prob(z) - Normal(torch.zeros((), dtype=torch.float64), 1.0).log_prob(z)
    integral = (q.log_prob(z).exp() * log_ratio).sum() * (z[1] - z[0])
    ours = DiagonalNormal(q.mean.expand(1, 2), q.stddev.expand(1, 2)).kl_to_standard()
    torch.testing.assert_close(ours, 2 * integral[None], rtol=1e-10, atol=1e-12)


def test_a_normal_sample_is_reparametrised(seeded: Seeded) -> None:
    """The sample is μ + σε: its derivative in μ is 1 and in σ the noise that was drawn."""
    mean, scale = (t.requires_grad_() for t in (torch.zeros(3, 2) + 0.5, torch.zeros(3, 2) + 2.0))
    eps = torch.randn(3, 2, generator=seeded(0))
    sample = DiagonalNormal(mean, scale).sample(seeded(0))
    torch.testing.assert_close(sample, 0.5 + 2 * eps)
    grads = torch.autograd.grad(sample.sum(), (mean, scale))
    torch.testing.assert_close(grads[0], torch.ones(3, 2))
    torch.testing.assert_close(grads[1], eps)


def test_bernoulli_agrees_with_torch_on_binary_images(seeded: Seeded) -> None:
    """Black is y = -1, white y = 1; the mean is 2p - 1."""
    logits = 3 * torch.randn(4, 1, 3, 3, generator=seeded(0), dtype=torch.float64)
    x = (torch.rand(4, 1, 3, 3, generator=seeded(1), dtype=torch.float64) < 0.5).double()
    reference = TorchBernoulli(logits=logits)
    ours = Bernoulli(logits)
    torch.testing.assert_close(ours.log_prob(2 * x - 1), reference.log_prob(x).sum((1, 2, 3)))
    torch.testing.assert_close(ours.mean, 2 * reference.mean - 1)


def test_bernoulli_of_a_grey_pixel_is_the_cross_entropy() -> None:
    """x log p + (1 - x) log(1 - p)."""
    x, p = 0.3, 0.8
    logits = torch.full((1, 1, 1, 1), math.log(p / (1 - p)), dtype=torch.float64)
    value = Bernoulli(logits).log_prob(torch.full_like(logits, 2 * x - 1)).item()
    assert value == pytest.approx(x * math.log(p) + (1 - x) * math.log(1 - p), rel=1e-12)


@pytest.mark.parametrize("scale", [0.001, 0.01, 0.3, 5.0])
@pytest.mark.parametrize("mean", [-1.0, 0.123, 0.999])
def test_the_discretised_logistic_sums_to_one_over_the_grey_levels(mean: float, scale: float) -> None:
    """Outer bins reach to infinity, so no mass is lost wherever the mean is."""
    y = grey_levels()[:, None, None, None]
    p = DiscretizedLogistic(torch.full_like(y, mean), torch.tensor(scale, dtype=torch.float64))
    assert p.log_prob(y).exp().sum().item() == pytest.approx(1, rel=1e-10)


def test_the_discretised_logistic_is_the_mass_of_the_bin() -> None:
    """sigmoid((y + 1/255 - μ)/s) - sigmoid((y - 1/255 - μ)/s), pixels summed."""
    y = grey_levels()[[100, 140]].reshape(1, 1, 1, 2)
    mean, scale = torch.full_like(y, 0.05), torch.tensor(0.2, dtype=torch.float64)
    mass = ((y + 1 / 255 - mean) / scale).sigmoid() - ((y - 1 / 255 - mean) / scale).sigmoid()
    torch.testing.assert_close(DiscretizedLogistic(mean, scale).log_prob(y), mass.log().sum()[None])


def test_the_discretised_logistic_stays_finite_in_its_tails() -> None:
    """A thousand scales away its log-mass still falls by 1/s per unit, and its gradient is 1/s."""
    mean = torch.full((1, 1, 1, 1), -1.0, dtype=torch.float32, requires_grad=True)
    scale = torch.tensor(0.001)
    values = [DiscretizedLogistic(mean, scale).log_prob(torch.full((1, 1, 1, 1), y)) for y in (0.2, 0.6)]
    steps = (round(1.6 / 2 * 255) - round(1.2 / 2 * 255)) * 2 / 255
    assert (values[0] - values[1]).item() == pytest.approx(steps / 0.001, rel=1e-4)
    assert torch.autograd.grad(values[1].sum(), mean)[0].item() == pytest.approx(1 / 0.001, rel=1e-4)


def test_a_value_between_grey_levels_counts_as_the_nearest() -> None:
    """Rounding, not truncation."""
    levels = grey_levels()
    y = (levels[10] + 0.4 * (levels[11] - levels[10])).reshape(1, 1, 1, 1)
    near = levels[10].reshape(1, 1, 1, 1)
    p = DiscretizedLogistic(torch.zeros_like(y), torch.tensor(0.5, dtype=torch.float64))
    assert p.log_prob(y).item() == p.log_prob(near).item()
    assert p.log_prob(2 * levels[11:12].reshape(1, 1, 1, 1) - y).item() != p.log_prob(near).item()
