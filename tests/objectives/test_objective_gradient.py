r"""The losses give the gradient of the joint KL divergence, exactly, on models small enough for quadrature.

.. math:: KL(p_{data}(x) q_\phi(z|x) \| p_\alpha(z) p_\theta(x|z))
          = E_{x, q}[\log q - \log p_\theta(x|z) - \log p_0(z) + E_\alpha(z)] + \log Z_\alpha + const

The exact side integrates q(z|x) over a grid, log Z included, and differentiates through densities (never through
samples). The estimator's side is the library's: reparametrised posterior samples weighted by Gauss-Hermite
nodes, prior samples weighted by their grid probabilities.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from hebm.distributions import DiagonalNormal
from hebm.latents import Latents, unflatten_latents
from hebm.models import LatentPosterior
from hebm.objectives import ElboTerms, autoencoder_loss, contrastive_loss
from hebm.priors import EnergyNetwork

pytestmark = pytest.mark.usefixtures("on_device")
PIXELS = 3


@dataclass
class SmallModel:
    """Tiny nets with one latent per level, and three data points."""

    n_levels: int
    encoder: nn.Module
    decoder: nn.Module
    energy: EnergyNetwork
    y: Tensor

    @property
    def dims(self) -> list[int]:
        return [1] * self.n_levels

    def moments(self) -> tuple[Tensor, Tensor]:
        """Posterior means and scales, [items, latents]."""
        mean, log_scale = self.encoder(self.y).chunk(2, dim=1)
        return mean, (0.5 * torch.tanh(log_scale) - 0.7).exp()

    def likelihood(self, flat: Tensor) -> Normal:
        return Normal(self.decoder(flat), 0.6)

    def parameters(self) -> dict[str, list[nn.Parameter]]:
        nets = {"encoder": self.encoder, "generator": self.decoder, "energy": self.energy}
        return {name: [p for p in net.parameters() if p.requires_grad] for name, net in nets.items()}


def small_model(n_levels: int, coupling: str = "joint") -> SmallModel:
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(PIXELS, 4), nn.Tanh(), nn.Linear(4, 2 * n_levels))
    decoder = nn.Sequential(nn.Linear(n_levels, 4), nn.Tanh(), nn.Linear(4, PIXELS))
    energy = EnergyNetwork([1] * n_levels, width=6, depth=1, activation="tanh", coupling=coupling)
    y = torch.tensor([[0.9, -0.4, 0.1], [-0.8, 0.5, 0.7], [0.2, 1.0, -0.9]])
    with torch.no_grad():
        for parameter in energy.parameters():
            parameter.mul_(2.0)  # a tilt worth the name
    return SmallModel(n_levels, encoder.double(), decoder.double(), energy.double(), y.double())


def grid(n_levels: int) -> tuple[Tensor, float]:
    """Points [N, levels] and the cell volume; exponentially accurate for these smooth, fast-decaying integrands."""
    axis = torch.linspace(-7.5, 7.5, 121, dtype=torch.float64)
    points = torch.cartesian_prod(*[axis] * n_levels).reshape(-1, n_levels)
    return points, ((axis[1] - axis[0]) ** n_levels).item()


def log_base(flat: Tensor) -> Tensor:
    return Normal(torch.zeros((), dtype=flat.dtype), 1.0).log_prob(flat).sum(-1)


def exact_divergence(model: SmallModel) -> Tensor:
    """The joint KL up to the entropy of the data, by quadrature through the densities."""
    z, volume = grid(model.n_levels)
    energy = model.energy(unflatten_latents(z, model.dims))
    log_z = torch.logsumexp(log_base(z) - energy, 0) + math.log(volume)
    mean, scale = model.moments()
    log_q = Normal(mean[:, None], scale[:, None]).log_prob(z[None]).sum(-1)
    log_likelihood = model.likelihood(z).log_prob(model.y[:, None]).sum(-1)
    integrand = log_q - log_likelihood - log_base(z) + energy + log_z
    return (log_q.exp() * integrand).sum(1).mean() * volume


def hermite(n_levels: int, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Nodes [N, levels] and weights [N] for expectations over standard normal noise."""
    nodes, weights = (
        torch.as_tensor(a, device=torch.get_default_device())
        for a in np.polynomial.hermite_e.hermegauss(n_nodes)
    )
    weights = weights / weights.sum()
    points = torch.cartesian_prod(*[nodes] * n_levels).reshape(-1, n_levels)
    return points, torch.cartesian_prod(*[weights] * n_levels).reshape(-1, n_levels).prod(1)


def posterior_samples(model: SmallModel, n_nodes: int) -> tuple[LatentPosterior, Latents, Tensor, Tensor]:
    """Every data point with every noise node: posterior, reparametrised latents, images, weights that sum to 1."""
    eps, weights = hermite(model.n_levels, n_nodes)
    items = torch.arange(len(model.y)).repeat_interleave(len(eps))
    mean, scale = model.moments()
    posterior = LatentPosterior(
        tuple(DiagonalNormal(mean[items, i : i + 1], scale[items, i : i + 1]) for i in range(model.n_levels))
    )
    noise = eps.repeat(len(model.y), 1)
    latents = posterior.at(noise)
    return posterior, latents, model.y[items], weights.repeat(len(model.y)) / len(model.y)


def expected_autoencoder_loss(model: SmallModel, n_nodes: int) -> Tensor:
    posterior, latents, y, weights = posterior_samples(model, n_nodes)
    flat = torch.cat(latents, 1)
    distortion = -DiagonalNormal(model.decoder(flat), torch.full_like(y, 0.6)).log_prob(y)
    terms = ElboTerms(distortion, posterior.rate_per_level(), model.energy.frozen()(flat))
    return (weights * autoencoder_loss(terms)).sum()


def expected_contrastive_loss(model: SmallModel, n_nodes: int) -> Tensor:
    """Over all pairs of a posterior sample and a prior sample, each pair weighted by its probability."""
    _, latents, _, weights = posterior_samples(model, n_nodes)
    z, _ = grid(model.n_levels)
    prior_latents = unflatten_latents(z, model.dims)
    energy_data = model.energy(tuple(level.detach() for level in latents))
    energy_prior = model.energy(prior_latents)
    prior = torch.softmax(log_base(z) - energy_prior.detach(), 0)
    if model.n_levels == 1:
        pairs = contrastive_loss(energy_data.repeat_interleave(len(z)), energy_prior.repeat(len(energy_data)))
        return (pairs * torch.outer(weights, prior).flatten()).sum()
    return (
        weights * contrastive_loss(energy_data, (prior * energy_prior).sum().expand_as(energy_data))
    ).sum()


def relative_error(value: list[Tensor], expected: list[Tensor]) -> float:
    value, expected = (torch.cat([t.flatten() for t in tensors]) for tensors in (value, expected))
    return ((value - expected).norm() / expected.norm()).item()


CASES = pytest.mark.parametrize(
    ("n_levels", "coupling", "n_nodes"), [(1, "joint", 80), (2, "joint", 50), (2, "per_level", 50)]
)


@CASES
def test_the_losses_give_the_gradient_of_the_joint_divergence(
    n_levels: int, coupling: str, n_nodes: int
) -> None:
    """For generator, encoder and energy the expected estimator is the exact gradient, to 1e-6."""
    model = small_model(n_levels, coupling)
    parameters = model.parameters()
    exact = {
        name: list(torch.autograd.grad(exact_divergence(model), nets, retain_graph=True))
        for name, nets in parameters.items()
    }
    loss = expected_autoencoder_loss(model, n_nodes)
    for name in ("generator", "encoder"):
        estimate = torch.autograd.grad(loss, parameters[name], retain_graph=True)
        assert relative_error(list(estimate), exact[name]) < 1e-6, name
    energy_loss = expected_contrastive_loss(model, n_nodes)
    estimate = torch.autograd.grad(energy_loss, parameters["energy"])
    assert relative_error(list(estimate), exact["energy"]) < 1e-6


@CASES
def test_the_loss_is_the_joint_divergence_up_to_log_z(n_levels: int, coupling: str, n_nodes: int) -> None:
    """Expected loss + log Z is the divergence itself: every normalising constant is in its place."""
    model = small_model(n_levels, coupling)
    z, volume = grid(n_levels)
    log_z = torch.logsumexp(log_base(z) - model.energy(unflatten_latents(z, model.dims)), 0) + math.log(
        volume
    )
    total = expected_autoencoder_loss(model, n_nodes) + log_z
    torch.testing.assert_close(total, exact_divergence(model), rtol=1e-8, atol=0)


def test_each_loss_trains_its_own_parameters_alone() -> None:
    """The autoencoder's loss has no gradient in the energy, the energy's none in generator and encoder."""
    model = small_model(2)
    parameters = model.parameters()
    nets = parameters["encoder"] + parameters["generator"]
    through_energy = torch.autograd.grad(
        expected_autoencoder_loss(model, 4), parameters["energy"], allow_unused=True, retain_graph=True
    )
    through_nets = torch.autograd.grad(expected_contrastive_loss(model, 4), nets, allow_unused=True)
    assert all(g is None for g in (*through_energy, *through_nets))


def test_the_tilt_matters_to_every_gradient() -> None:
    """The test has power: without the energy in the loss the encoder's gradient is visibly another."""
    model = small_model(2)
    encoder = model.parameters()["encoder"]
    with_energy = list(torch.autograd.grad(expected_autoencoder_loss(model, 20), encoder))
    with torch.no_grad():
        for parameter in model.energy.parameters():
            parameter.zero_()
    without = list(torch.autograd.grad(expected_autoencoder_loss(model, 20), encoder))
    assert relative_error(without, with_energy) > 0.01
