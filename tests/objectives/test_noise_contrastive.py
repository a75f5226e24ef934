"""Noise-contrastive estimation: the value, the optimum at a log-ratio of densities, the sign."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from hebm.objectives import noise_contrastive_loss

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
Q_MEAN, Q_SCALE, P_MEAN, P_SCALE = 0.7, 0.6, -0.2, 1.1
AXIS = torch.linspace(-9, 9, 4001, dtype=torch.float64)


def test_the_loss_by_hand() -> None:
    """log(1 + e^2) + log(1 + e^0.5) for energies 2 of data and -0.5 of noise; no information costs 2 log 2."""
    loss = noise_contrastive_loss(torch.tensor([2.0, 0.0]), torch.tensor([-0.5, 0.0]))
    by_hand = [math.log(1 + math.exp(2)) + math.log(1 + math.exp(0.5)), 2 * math.log(2)]
    torch.testing.assert_close(loss, torch.tensor(by_hand))


def test_low_energy_says_data() -> None:
    """The gradient lowers the energy of data and raises that of noise, by the probability of the wrong answer."""
    data, noise = torch.tensor([0.3], requires_grad=True), torch.tensor([-1.2], requires_grad=True)
    noise_contrastive_loss(data, noise).sum().backward()
    assert data.grad is not None
    assert noise.grad is not None
    wrong = [1 / (1 + math.exp(-0.3)), -1 / (1 + math.exp(-1.2))]
    assert [data.grad.item(), noise.grad.item()] == pytest.approx(wrong)


def log_ratio(z: Tensor) -> Tensor:
    return Normal(Q_MEAN, Q_SCALE).log_prob(z) - Normal(P_MEAN, P_SCALE).log_prob(z)


def gradient(energy: Tensor) -> Tensor:
    """Of the expected loss, in the energy's values on the axis: every function's directions at once."""
    q, p = Normal(Q_MEAN, Q_SCALE).log_prob(AXIS).exp(), Normal(P_MEAN, P_SCALE).log_prob(AXIS).exp()
    energy = energy.clone().requires_grad_()
    none = torch.zeros_like(energy)  # log 2 of the other term: no gradient
    loss = (q * noise_contrastive_loss(energy, none) + p * noise_contrastive_loss(none, energy)).sum()
    return torch.autograd.grad(loss, energy)[0]


def test_the_optimum_is_the_log_ratio_of_the_densities() -> None:
    """At -E = log q - log p of two Gaussians the expected gradient vanishes in every direction; nearby it does not."""
    assert gradient(-log_ratio(AXIS)).abs().max().item() < 1e-14
    for other in (-log_ratio(AXIS) + 0.1, log_ratio(AXIS), -0.9 * log_ratio(AXIS)):
        assert gradient(other).abs().max().item() > 1e-3


def test_the_gradient_over_draws_vanishes_at_the_optimum(seeded: Seeded) -> None:
    """For E = -log q/p + θ₁ + θ₂ z at θ = 0, within five standard errors; at θ₁ = 0.2 it points back."""
    n, generator = 20_000, seeded(0)
    noise = torch.randn(2, n, generator=generator, dtype=torch.float64)
    data, base = Q_MEAN + Q_SCALE * noise[0], P_MEAN + P_SCALE * noise[1]

    def gradients(offset: float) -> Tensor:
        theta = torch.zeros(n, 2, dtype=torch.float64, requires_grad=True)

        def energy(z: Tensor) -> Tensor:
            return -log_ratio(z) + offset + theta[:, 0] + theta[:, 1] * z

        loss = noise_contrastive_loss(energy(data), energy(base))
        return torch.autograd.grad(loss.sum(), theta)[0]

    at_optimum = gradients(0.0)
    assert (at_optimum.mean(0).abs() < 5 * at_optimum.std(0) / n**0.5).all()
    assert gradients(0.2)[:, 0].mean().item() > 0.02
