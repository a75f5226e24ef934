"""The defence against the exact posterior of a linear Gaussian model, with and without an energy."""

import pytest
import torch
from linear import DIMS, LinearModel, images
from torch import Tensor

from hebm.attacks import HMCDefence, posterior_density
from hebm.errors import ConfigError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.randomness import CommonGenerator

SLOPE = torch.tensor([0.8, -1.2, 2.0], dtype=torch.float64)
SCALE = (torch.tensor([0.5, 2.0], dtype=torch.float64), torch.tensor([0.8], dtype=torch.float64))
N_CHAINS = 300


def run(model: LinearModel, x: Tensor, *, scale: Latents | None = None) -> tuple[Tensor, Tensor]:
    """Means and variances of chains [B, 3] that start far from the posterior."""
    start = unflatten_latents(torch.full((len(x), 3), 3.0, dtype=torch.float64), DIMS)
    defence = HMCDefence(n_warmup=60, n_draws=40, n_leapfrog=4, step_size=0.2, target_acceptance=0.8)
    defended = defence(
        posterior_density(model, x), start, scale=scale, generator=torch.Generator().manual_seed(0)
    )
    return (
        flatten_latents(defended.posterior.mean),
        flatten_latents(tuple(scale.square() for scale in defended.posterior.scale)),
    )


@pytest.mark.parametrize("slope", [None, SLOPE], ids=["base", "energy"])
@pytest.mark.parametrize("scale", [None, SCALE], ids=["unit", "scaled"])
def test_chains_have_the_exact_mean_and_variance(slope: Tensor | None, scale: Latents | None) -> None:
    """p(z|x) of a linear Gaussian model is normal; a linear energy shifts its mean by -Λ⁻¹ b; units do not matter."""
    model, x = LinearModel(slope), images(1, 0, low=0.0, high=1.0)
    means, variances = run(model, x.expand(N_CHAINS, -1, -1, -1), scale=scale)
    exact_mean, covariance = model.exact_posterior(x)
    error = means.std(0) / N_CHAINS**0.5
    assert ((means.mean(0) - exact_mean[0]).abs() < 5 * error).all()
    total = variances.mean(0) + means.var(0)  # within chains and between them
    spread = (variances.var(0) + (means - means.mean(0)).square().var(0)).sqrt() / N_CHAINS**0.5
    assert ((total - covariance.diagonal()).abs() < 6 * spread).all()


def test_the_energy_pushes_towards_low_energy() -> None:
    """E = bᵀz moves the mean by -Λ⁻¹ b: with the wrong sign it would move the other way."""
    x = images(1, 0).expand(N_CHAINS, -1, -1, -1)
    (with_energy, _), (without, _) = run(LinearModel(SLOPE), x), run(LinearModel(), x)
    covariance = LinearModel().exact_posterior(x)[1]
    shift = (with_energy - without).mean(0)
    error = (with_energy.var(0) + without.var(0)).sqrt() / N_CHAINS**0.5
    assert ((shift + covariance @ SLOPE).abs() < 5 * error).all()
    assert (SLOPE @ shift).item() < -5 * (SLOPE.abs() @ error).item()


def test_the_density_is_that_of_the_model() -> None:
    """log p(x|z) + log p₀(z) - E(z), each image with its own latents."""
    model, x = LinearModel(SLOPE), images(4, 0)
    z = unflatten_latents(
        torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64), DIMS
    )
    expected = model.log_likelihood(x, z) + model.prior.log_density(z)
    torch.testing.assert_close(posterior_density(model, x)(z), expected, rtol=1e-12, atol=0)


def test_chains_leave_parameters_alone_and_share_their_noise() -> None:
    """No gradients, no settings changed; equal images end alike, and in another order."""
    model, x = LinearModel(SLOPE), images(2, 0)[[0, 1, 0]]
    noise = CommonGenerator(torch.Generator().manual_seed(0), 1)
    start = model.encode(x).mean
    defence = HMCDefence(n_warmup=10, n_draws=5, n_leapfrog=2)
    defended = defence(posterior_density(model, x), start, generator=noise)
    top = defended.posterior[0].mean
    assert torch.equal(top[0], top[2])
    assert not torch.equal(top[0], top[1])
    parameters = [model.a, model.w, model.prior.energy.slope]
    assert [(p.grad, p.requires_grad) for p in parameters] == [(None, True)] * 3
    assert defended.acceptance.shape == (3,)
    assert not top.requires_grad


def test_chains_start_where_they_are_told_to() -> None:
    """With steps too small to get anywhere the answer is the start, whatever the units."""
    model, x = LinearModel(), images(3, 0)
    start = unflatten_latents(torch.full((3, 3), 3.0, dtype=torch.float64), DIMS)
    defence = HMCDefence(n_warmup=1, n_draws=2, n_leapfrog=1, step_size=1e-7)
    generator = torch.Generator().manual_seed(0)
    defended = defence(posterior_density(model, x), start, scale=SCALE, generator=generator)
    torch.testing.assert_close(
        flatten_latents(defended.posterior.mean), flatten_latents(start), rtol=0, atol=1e-4
    )


def test_the_kept_moves_use_the_adapted_step_size() -> None:
    """A search that starts with a step hundreds of times too large comes to the wanted acceptance all the same."""
    model, x = LinearModel(), images(1, 0).expand(50, -1, -1, -1)
    start = tuple(z.detach() for z in model.encode(x).mean)
    defence = HMCDefence(n_warmup=80, n_draws=20, n_leapfrog=2, step_size=20.0, target_acceptance=0.8)
    defended = defence(posterior_density(model, x), start, generator=torch.Generator().manual_seed(0))
    assert defended.step_size < 2
    assert defended.acceptance.mean().item() == pytest.approx(0.8, abs=0.1)


def test_a_chain_that_does_not_move_has_the_smallest_scale() -> None:
    """Its variance is 0, which no normal has: the floor is the encoder's, 1e-6."""
    model, x = LinearModel(), images(1, 0)
    start = tuple(z.detach() for z in model.encode(x).mean)

    def cliff(latents: tuple[Tensor, ...]) -> Tensor:
        moved = sum((z - s).square().sum(1) for z, s in zip(latents, start, strict=True))
        return -1e30 * moved

    noise = torch.Generator().manual_seed(0)
    defended = HMCDefence(n_warmup=1, n_draws=3, n_leapfrog=1)(cliff, start, generator=noise)
    torch.testing.assert_close(defended.posterior[0].scale, torch.full((1, 2), 1e-3, dtype=torch.float64))
    assert defended.acceptance.item() == 0


def test_a_single_draw_is_refused() -> None:
    """It has no variance."""
    with pytest.raises(ConfigError, match="needs 2 or more"):
        HMCDefence(n_draws=1)
