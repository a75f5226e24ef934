"""Bounds on log p(x), log Z and gains against a linear Gaussian model, where all of them have a closed form."""

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.quadratic_energy import Quadratic, QuadraticEnergy
from tests.training.tiny import tiny_config
from torch import Tensor, nn

from hebm.config import LikelihoodConfig
from hebm.data import ImageSet
from hebm.distributions import Bernoulli, DiagonalNormal, DiscretizedLogistic
from hebm.errors import ConfigError, DataError, NonFiniteError
from hebm.evaluation import evaluate
from hebm.evaluation.bounded_mean import bounded_mean
from hebm.evaluation.importance import (
    importance_bound,
    latent_terms,
    log_likelihoods,
    variational_bound,
)
from hebm.evaluation.inferred import InferredImages, infer_images, posterior_draws
from hebm.evaluation.level_gain import gain_of_level
from hebm.evaluation.likelihood import active_units, bits_per_dim, likelihood_measure
from hebm.evaluation.log_z import LogZ, interval_around, measure_log_z
from hebm.evaluation.prior_values import density_values, energy_values
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.models import LatentPosterior
from hebm.priors import GaussianPrior, JointPrior, MixturePrior, Prior, TopDownPrior, base_of
from hebm.randomness import NoiseSource
from hebm.training.loop import train

DIMS = (2, 1)  # latents of each level, top first
PIXELS = 4  # an image of 2×2
NOISE = 0.4  # scale of p(y|z)
SETTINGS = LikelihoodConfig(
    n_prior_samples=4000,
    n_base_draws=40_000,
    n_conditional_draws=1000,
    min_conditional_ess=100,
    n_images_conditional=40,
    n_particles=256,
    n_conditional_particles=64,
    n_pilot=128,
    n_equilibrate=10,
)


def coupled_energy(strength: float) -> QuadraticEnergy:
    """An energy that couples the levels, of any strength."""
    a = torch.tensor([[1.0, 0.3, -0.6], [0.3, 0.5, 0.4], [-0.6, 0.4, 2.0]], dtype=torch.float64)
    return QuadraticEnergy(strength * a, strength * torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64))


class LinearModel(nn.Module):
    """y = W z + c + noise, with posteriors that are near the exact ones but not equal; the model's methods it needs."""

    image_shape = (1, 2, 2)
    level_dims = DIMS
    device = torch.device("cpu")

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.prior = prior
        self.w = nn.Parameter(torch.randn(PIXELS, 3, generator=generator, dtype=torch.float64))
        self.c = torch.tensor([0.1, -0.2, 0.3, 0.0], dtype=torch.float64)

    def exact_prior(self) -> tuple[Tensor, Tensor, float]:
        """Mean, precision and log Z of the prior."""
        mean, covariance = base_moments(self.prior)
        if self.prior.energy is None:
            return mean, torch.linalg.inv(covariance), 0.0
        return tilted(mean, torch.linalg.inv(covariance), *quadratic(self.prior))

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(y) of images in closed form, [B] nats."""
        mean, precision, _ = self.exact_prior()
        y = (2 * x.double() - 1).flatten(1)
        w = self.w.detach()
        covariance = w @ torch.linalg.inv(precision) @ w.T + NOISE**2 * torch.eye(PIXELS, dtype=torch.float64)
        return torch.distributions.MultivariateNormal(w @ mean + self.c, covariance).log_prob(y)

    def encode(self, x: Tensor) -> LatentPosterior:
        mean, precision, _ = self.exact_prior()
        y = (2 * x.double() - 1).flatten(1) - self.c
        w = self.w.detach()
        exact = torch.linalg.inv(precision + w.T @ w / NOISE**2)
        mu = (y @ w / NOISE**2 + precision @ mean) @ exact + 0.05
        scale = (1.1 * exact.diagonal().sqrt()).expand_as(mu)
        levels = zip(unflatten_latents(mu, DIMS), unflatten_latents(scale, DIMS), strict=True)
        return LatentPosterior(tuple(DiagonalNormal(m, s) for m, s in levels))

    def log_likelihood(self, x: Tensor, latents: Latents) -> Tensor:
        mean = flatten_latents(latents) @ self.w.T + self.c
        return DiagonalNormal(mean, torch.tensor(NOISE, dtype=torch.float64)).log_prob(
            (2 * x.double() - 1).flatten(1)
        )

    @torch.no_grad()
    def sample_prior(self, n: int, *, n_steps: int | None = None, generator: NoiseSource = None) -> Latents:
        """Exact draws."""
        mean, precision, _ = self.exact_prior()
        noise = torch.randn(n, 3, generator=generator, dtype=torch.float64)  # type: ignore[arg-type]
        flat = mean + noise @ torch.linalg.cholesky(torch.linalg.inv(precision)).T
        return unflatten_latents(flat, DIMS)


def tilted(mean: Tensor, precision: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, float]:
    """N(mean, precision⁻¹) exp(-½ zᵀAz + bᵀz): new mean, new precision, log Z."""
    new_precision, shift = precision + a, precision @ mean + b
    new_mean = torch.linalg.solve(new_precision, shift)
    log_z = 0.5 * (torch.logdet(precision) - torch.logdet(new_precision))
    log_z = log_z + 0.5 * (shift @ new_mean) - 0.5 * (mean @ precision @ mean)
    return new_mean, new_precision, log_z.item()


BASE_MEAN = torch.tensor([0.2, -0.1, 0.3], dtype=torch.float64)
BASE_COVARIANCE = torch.tensor([[1.5, 0.4, 0.2], [0.4, 0.8, -0.3], [0.2, -0.3, 0.6]], dtype=torch.float64)


def correlated() -> MixturePrior:
    """N(m, C) as a mixture of one."""
    prior = MixturePrior(DIMS, 1).double()
    prior.load_components_(torch.ones(1, dtype=torch.float64), BASE_MEAN[None], BASE_COVARIANCE[None])
    return prior


def base_moments(prior: Prior) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the base."""
    if isinstance(base_of(prior), MixturePrior):
        return BASE_MEAN, BASE_COVARIANCE
    return torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)


def quadratic(prior: Prior) -> tuple[Tensor, Tensor]:
    """A and b of the energy, zeros without one."""
    if prior.energy is None:
        return torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    frozen = prior.energy.frozen()
    return frozen.a, frozen.b


def model_of(name: str) -> LinearModel:
    """The linear model under one of the priors."""
    prior: Prior = {
        "gaussian": lambda: GaussianPrior(DIMS),
        "correlated": correlated,
        "joint": lambda: JointPrior(GaussianPrior(DIMS), coupled_energy(0.6)),
        "joint_on_correlated": lambda: JointPrior(correlated(), coupled_energy(0.6)),
        "strong": lambda: JointPrior(GaussianPrior(DIMS), coupled_energy(25.0)),
    }[name]()
    return LinearModel(prior).requires_grad_(False)


NAMES = ("gaussian", "correlated", "joint", "joint_on_correlated", "strong")
every_prior = pytest.mark.parametrize("name", NAMES)
every_energy = pytest.mark.parametrize("name", NAMES[2:])


def image_set(n: int = 60) -> ImageSet:
    pixels = np.random.default_rng(2).integers(0, 256, (n, 1, 2, 2), dtype=np.uint8)
    return ImageSet("noise", "test", pixels)


def inferred(model: LinearModel, n: int = 60) -> InferredImages:
    return infer_images(model, image_set(), n)  # type: ignore[arg-type]


def flat_moments(images: InferredImages) -> tuple[Tensor, Tensor]:
    """Means and variances of the posteriors, [N, 3]."""
    return flatten_latents(images.posterior.mean), flatten_latents(images.posterior.scale).square()


def expected_quadratic(images: InferredImages, a: Tensor, b: Tensor) -> Tensor:
    """E_q[½ zᵀAz - bᵀz] of every image."""
    mean, variance = flat_moments(images)
    return Quadratic(a, b)(mean) + 0.5 * variance @ a.diagonal()


def expected_log_base(images: InferredImages, prior: Prior) -> Tensor:
    """E_q[log p₀(z)] of every image."""
    centre, covariance = base_moments(prior)
    precision = torch.linalg.inv(covariance)
    mean, variance = flat_moments(images)
    at_mean = torch.distributions.MultivariateNormal(centre, covariance).log_prob(mean)
    return at_mean - 0.5 * variance @ precision.diagonal()


def exact(log_z: float) -> LogZ:
    return LogZ("none", (log_z, log_z), log_z, log_z)


def contains(interval: list[float] | tuple[float, float], truth: float, slack: float = 0.0) -> bool:
    return interval[0] - slack <= truth <= interval[1] + slack


@every_prior
def test_importance_weights_average_to_the_evidence(name: str) -> None:
    """E_q[w] = Z p(y), image by image: no term is missing and none has the wrong sign."""
    model = model_of(name)
    images, (_, _, log_z) = inferred(model), model.exact_prior()
    terms = latent_terms(model.prior, images, 1000, seed=0)
    weights = log_likelihoods(model, images, 1000, seed=0) + terms.log_ratio  # type: ignore[arg-type]
    truth = model.log_evidence(images.images.batch(images.items))
    shares = (weights - log_z - truth[:, None]).exp()
    assert shares.mean().item() == pytest.approx(1, abs=5 * shares.mean(1).std().item() / len(images) ** 0.5)
    bounds = [importance_bound(weights, k) - log_z for k in (1, 10, 100, 1000)]
    assert all((a < b).all() for a, b in pairwise(bounds)), "more samples, tighter"
    assert (truth - bounds[-1]).mean().abs() < 0.03 < (truth - bounds[0]).mean()


@every_prior
def test_the_bound_is_the_exact_one(name: str) -> None:
    """E_q[log p(y|z) + log p₀(z) - E(z)] + entropy, by hand."""
    model, n_draws = model_of(name), 400
    images, w = inferred(model), model.w
    mean, variance = flat_moments(images)
    x = images.images.batch(images.items)
    truth = model.log_likelihood(x, (mean,)) - 0.5 * variance @ (w * w).sum(0) / NOISE**2
    truth = (
        truth + expected_log_base(images, model.prior) - expected_quadratic(images, *quadratic(model.prior))
    )
    truth = truth + 0.5 * (variance.log() + math.log(2 * math.pi) + 1).sum(1)
    terms = latent_terms(model.prior, images, n_draws, seed=0)
    log_likelihood = log_likelihoods(model, images, n_draws, seed=0)  # type: ignore[arg-type]
    rate = torch.stack(images.posterior.rate_per_level()).sum(0)
    for bound, draws in (
        (
            variational_bound(log_likelihood, terms, rate),
            log_likelihood + terms.log_base - terms.log_standard - terms.energy,
        ),
        ((log_likelihood + terms.log_ratio).mean(1), log_likelihood + terms.log_ratio),
    ):
        standard_error = draws.std(1).mean().item() / (len(images) * n_draws) ** 0.5
        assert (bound - truth).mean().abs() < 5 * standard_error
    if name == "gaussian":
        assert (terms.log_base == terms.log_standard).all(), "the KL is in closed form"
        alone = variational_bound(torch.zeros_like(log_likelihood), terms, rate)
        torch.testing.assert_close(alone, -rate)


@every_prior
def test_log_z_is_inside_its_interval(name: str) -> None:
    """None without an energy, plain weights where they are good, annealing otherwise."""
    model = model_of(name)
    log_z = measure_log_z(model, SETTINGS, seed=3)  # type: ignore[arg-type]
    truth = model.exact_prior()[2]
    assert contains(log_z.interval, truth)
    assert log_z.interval[1] - log_z.interval[0] < (0.6 if name == "strong" else 0.1)
    methods = {"gaussian": "none", "correlated": "none", "strong": "annealed"}
    assert log_z.method == methods.get(name, "importance")
    if log_z.method == "none":
        assert log_z.interval == (0.0, 0.0)
    else:
        half = 2 * log_z.lower_se, 2 * log_z.upper_se
        assert log_z.interval == pytest.approx((log_z.lower - half[0], log_z.upper + half[1]))


def test_the_upper_log_z_gives_the_lower_end() -> None:
    """Subtracting an interval turns it round; the error over images is that of the mean."""
    log_z = LogZ("annealed", (1.0, 3.0), 1.5, 2.5)
    assert log_z.under(10.0) == (7.0, 9.0)
    values = torch.tensor([9.0, 11.0, 10.0, 10.0], dtype=torch.float64)
    fields = bounded_mean("elbo", values, log_z)
    assert fields["elbo"] == [7.0, 9.0]
    assert fields["elbo_se"] == pytest.approx(math.sqrt(2 / 3) / 2)


def test_crossed_bounds_are_put_in_order() -> None:
    """Each keeps its own error."""
    assert interval_around(1.0, 2.0, 0.1, 0.3) == pytest.approx((0.8, 2.6))
    assert interval_around(2.0, 1.0, 0.1, 0.3) == pytest.approx((0.4, 2.2))


@every_energy
def test_gain_and_divergence_of_a_gaussian_tilt_have_their_closed_form(name: str) -> None:
    """E_q[-E] - log Z, and KL(p || p₀) between two Gaussians."""
    model = model_of(name)
    images, (mean, precision, log_z) = inferred(model), model.exact_prior()
    terms = latent_terms(model.prior, images, 400, seed=0)
    settings = SETTINGS.model_copy(update={"n_images_conditional": 2})
    values = energy_values(model, terms, images, exact(log_z), settings, seed=0)  # type: ignore[arg-type]
    truth = -expected_quadratic(images, *quadratic(model.prior)).mean().item() - log_z
    error = (-terms.energy.mean(1) + expected_quadratic(images, *quadratic(model.prior))).std().item()
    assert contains(values["gain_over_base"], truth, 5 * error / len(images) ** 0.5)
    base_mean, base_covariance = base_moments(model.prior)
    divergence = torch.distributions.kl_divergence(
        torch.distributions.MultivariateNormal(mean, torch.linalg.inv(precision)),
        torch.distributions.MultivariateNormal(base_mean, base_covariance),
    ).item()
    assert contains(values["kl_joint_base"], divergence, 5 * values["kl_joint_base_se"])
    assert values["kl_joint_base_se"] < 0.05


@every_energy
@pytest.mark.parametrize("level", [0, 1])
def test_the_gain_of_a_level_has_its_closed_form(name: str, level: int) -> None:
    """The level's conditional is a tilted Gaussian, image by image; coupling between levels is part of it."""
    model = model_of(name)
    images = inferred(model, 20)
    blocks = [draws.latents for draws in posterior_draws(images, 1, seed=0, stream="gain")]
    flat = torch.cat([flatten_latents(block) for block in blocks])
    a, b = quadratic(model.prior)
    truth = (-Quadratic(a, b)(flat) - conditional_log_z(model.prior, flat, level)).mean().item()
    settings = SETTINGS.model_copy(update={"min_conditional_ess": 999.0 if name == "strong" else 100.0})
    gain = gain_of_level(model.prior, images, level, settings, seed=0)
    assert gain is not None
    assert gain["share_annealed"] == (1.0 if name == "strong" else 0.0)
    assert contains(gain["interval"], truth, 0.5 * (gain["interval"][1] - gain["interval"][0]))
    assert gain["interval"][1] - gain["interval"][0] < 0.4
    per_image = -Quadratic(a, b)(flat) - conditional_log_z(model.prior, flat, level)
    assert gain["se"] == pytest.approx(per_image.std().item() / 20**0.5, rel=0.1)


def conditional_log_z(prior: Prior, flat: Tensor, level: int) -> Tensor:
    """log E_{p₀(z_l | others)} exp(-E) for every row, from the Gaussian conditional and completed squares."""
    free = [0, 1] if level == 0 else [2]
    held = [i for i in range(3) if i not in free]
    mean, covariance = base_moments(prior)
    precision, (a, b) = torch.linalg.inv(covariance), quadratic(prior)
    own = precision[free][:, free]
    values = []
    for z in flat:
        centre = mean[free] - torch.linalg.solve(own, precision[free][:, held] @ (z[held] - mean[held]))
        slope = b[free] - a[free][:, held] @ z[held]
        rest = Quadratic(a[held][:, held], b[held])(z[None, held]).item()
        values.append(tilted(centre, own, a[free][:, free], slope)[2] - rest)
    return torch.tensor(values, dtype=torch.float64)


def test_images_whose_weights_are_poor_are_annealed() -> None:
    """Which images are annealed makes no difference but to the error: both ways agree, and a mixture of them."""
    model = model_of("joint")
    images, gains = inferred(model, 20), []
    for share in (0.01, 0.88, 0.99):
        settings = SETTINGS.model_copy(update={"min_conditional_ess": share * SETTINGS.n_conditional_draws})
        gains.append(gain_of_level(model.prior, images, 0, settings, seed=0))
    shares = [gain["share_annealed"] for gain in gains if gain]
    assert shares[0] == 0 < shares[1] < shares[2] == 1
    middles = [sum(gain["interval"]) / 2 for gain in gains if gain]
    assert len(set(middles)) == 3, "the annealed bounds are the ones that count"
    assert middles == pytest.approx([middles[0]] * 3, abs=0.03)


def test_a_level_that_the_base_cannot_draw_has_no_gain() -> None:
    """A chained Gaussian draws its bottom level given the top one, and not the other way round."""
    model = model_of("gaussian")
    prior = JointPrior(TopDownPrior(DIMS, width=4, depth=1).double(), coupled_energy(0.3)).requires_grad_(
        False
    )
    settings = SETTINGS.model_copy(update={"n_conditional_draws": 200})
    gains = [gain_of_level(prior, inferred(model, 4), level, settings, seed=0) for level in (0, 1)]
    assert gains[0] is None
    assert gains[1] is not None


@every_prior
def test_the_prior_density_of_posterior_latents_has_its_closed_form(name: str) -> None:
    """E_x E_q log p(z), with and without the energy, of both sets of images."""
    model = model_of(name)
    images, log_z = inferred(model), model.exact_prior()[2]
    dark = infer_images(model, ImageSet("dark", "train", image_set().images // 8), 60)  # type: ignore[arg-type]
    terms = latent_terms(model.prior, images, 400, seed=0)
    values = density_values(model, terms, dark, exact(log_z), seed=0)  # type: ignore[arg-type]
    for split, chosen in (("held_out", images), ("train", dark)):
        base = expected_log_base(chosen, model.prior)
        prior = base - expected_quadratic(chosen, *quadratic(model.prior)) - log_z
        for part, truth in (("base", base), ("prior", prior)):
            value, se = (values[f"{split}_log_{part}{end}"] for end in ("", "_se"))
            assert value == pytest.approx(
                truth.mean().item() if part == "base" else [truth.mean().item()] * 2, abs=5 * se
            )
            assert se < 0.5 * abs(truth.mean().item())
    assert values["held_out_log_base_se"] == pytest.approx(
        terms.log_base.mean(1).std().item() / len(images) ** 0.5
    )


def test_draws_do_not_depend_on_the_block_or_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image's noise is that of its index in the set; other seeds and streams have other noise."""
    model = model_of("joint")
    whole = latent_terms(model.prior, inferred(model), 20, seed=1).energy
    monkeypatch.setattr("hebm.evaluation.inferred.ROWS", 7)
    torch.testing.assert_close(latent_terms(model.prior, inferred(model), 20, seed=1).energy, whole)
    few = inferred(model, 30)
    assert few.items.tolist() == list(range(0, 60, 2)), "evenly spaced: a set may be sorted"
    torch.testing.assert_close(latent_terms(model.prior, few, 20, seed=1).energy, whole[::2])
    thinned = inferred(model).thinned(30)
    torch.testing.assert_close(latent_terms(model.prior, thinned, 20, seed=1).energy, whole[::2])
    for other in (
        latent_terms(model.prior, inferred(model), 20, seed=2),
        latent_terms(model.prior, inferred(model), 20, seed=1, stream="train"),
    ):
        assert not torch.isclose(other.energy, whole).any()


def test_importance_bounds_use_every_group() -> None:
    """log mean exp by hand; what is left over is not used, and too few are refused."""
    weights = torch.tensor([[1.0, 3.0, 2.0, 2.0, 100.0]], dtype=torch.float64).log()
    assert importance_bound(weights, 2).item() == pytest.approx(math.log(2))
    assert importance_bound(weights[:, :4], 1).item() == pytest.approx(math.log(12) / 4)
    with pytest.raises(ConfigError, match="a bound of 6 samples"):
        importance_bound(weights, 6)


def test_discrete_likelihoods_are_probabilities_so_bits_need_no_jacobian() -> None:
    """Over all grey levels they sum to 1, and a fair coin per pixel costs one bit, a uniform grey level eight."""
    levels = torch.linspace(0, 1, 256, dtype=torch.float64).reshape(256, 1, 1, 1)
    logistic = DiscretizedLogistic(torch.full_like(levels, 0.2), torch.tensor(0.1, dtype=torch.float64))
    assert logistic.log_prob(2 * levels - 1).exp().sum().item() == pytest.approx(1)
    coins = Bernoulli(torch.zeros(1, 3, 4, 4, dtype=torch.float64)).log_prob(torch.ones(1, 3, 4, 4).double())
    assert bits_per_dim((coins.item(), coins.item()), 48) == pytest.approx([1.0, 1.0])
    uniform = -48 * math.log(256)
    assert bits_per_dim((uniform - 48 * math.log(2), uniform), 48) == pytest.approx([8.0, 9.0])


def test_what_the_likelihood_is_a_density_of() -> None:
    """Grey images under Bernoulli have a cross-entropy, not a likelihood."""
    grey = image_set().images
    binary = np.where(grey > 100, 255, 0).astype(np.uint8)
    cases = {"gaussian": "density", "gaussian_learned": "density", "discretized_logistic": "probability"}
    assert {name: likelihood_measure(name, grey) for name in cases} == cases
    assert likelihood_measure("bernoulli", grey) == "cross_entropy"
    assert likelihood_measure("bernoulli", binary) == "probability"


def test_units_are_active_where_their_posterior_mean_varies() -> None:
    """A variance over images above 0.01, whatever the mean; counted level by level, top first."""
    wave = torch.tensor([-1.0, 1.0]).repeat(50)[:, None]
    top = torch.cat([5 + 0.2 * wave, 5 + 0.05 * wave, 0.11 * wave], 1)  # variances 0.04, 0.0025, 0.0122
    assert active_units((top, 0 * wave)) == [2, 0]


def test_infinite_terms_and_single_images_are_refused() -> None:
    """With the name of the term, and what to change."""
    model = model_of("joint")
    model.prior.energy.b.fill_(math.inf)
    with pytest.raises(NonFiniteError, match="energy of posterior draws"):
        latent_terms(model.prior, inferred(model_of("gaussian")), 3, seed=0)
    with pytest.raises(DataError, match="one image"):
        infer_images(model, image_set(1), 5)  # type: ignore[arg-type]


FIELDS = {
    "log_z_lower", "log_z_upper", "elbo", "elbo_se", "iwae_k", "iwae_k_se", "iwae_k_n_images", "bits_per_dim",
    "rate_per_level", "kl_joint_base", "active_units", "distortion", "held_out_log_prior", "held_out_log_base",
    "train_log_prior", "train_log_base", "gain_over_base", "gain_per_level", "n_images",
}  # fmt: skip
SMALL = [
    "n_images=30", "n_importance=10", "n_images_1000=2", "n_images_conditional=4", "n_prior_samples=40",
    "n_base_draws=500", "n_conditional_draws=100", "n_particles=32", "n_pilot=32", "n_equilibrate=3",
    "n_conditional_particles=8", "ess_share=0.8",
]  # fmt: skip


@pytest.mark.parametrize(
    ("has_energy", "is_discrete", "overrides"),
    [
        (False, True, ["prior.kind=gaussian", "model.likelihood=discretized_logistic"]),
        (True, False, ["prior.kind=joint", "evaluation.likelihood.min_ess_share=0.999"]),
        (True, False, ["prior.kind=nce", "prior.base=mixture", "prior.n_components=[2]",
                       "trainer.energy_only_steps=10"]),
        (True, False, ["prior.kind=recovery", "prior.noise_levels=[0.5, 0.9]", "trainer.energy_only_steps=5"]),
    ],
    ids=["gaussian", "joint", "nce-on-mixture", "recovery"],
)  # fmt: skip
def test_the_suite_runs_on_a_trained_run(
    tmp_path: Path, has_energy: bool, is_discrete: bool, overrides: list[str]
) -> None:
    """All fields of the contract, consistent with each other, and valid JSON."""
    small = [f"evaluation.likelihood.{text}" for text in SMALL]
    config = tiny_config("trainer.max_steps=10", *small, *overrides)
    run = train(config, tmp_path / "run", device="cpu")
    results = json.loads(evaluate(run, "likelihood", seed=0).read_text())["results"]
    assert results.keys() >= FIELDS
    assert results["log_z_lower"] <= results["log_z_upper"]
    width = results["log_z_upper"] - results["log_z_lower"]
    for interval in (results["elbo"], *results["iwae_k"].values(), results["held_out_log_prior"]):
        assert interval[1] - interval[0] == pytest.approx(width, abs=1e-6)
    assert results["iwae_k_n_images"] == {"1": 30, "10": 30, "100": 2, "1000": 2}
    assert results["iwae_k"]["1"][0] == pytest.approx(results["elbo"][0], abs=5 * results["elbo_se"])
    assert (results["bits_per_dim"] is not None) is is_discrete
    assert (width > 0) is has_energy
    assert len(results["rate_per_level"]) == len(results["active_units"]) == 2
    if not has_energy:
        assert results["log_z_lower"] == results["log_z_upper"] == 0
        assert results["gain_over_base"] == results["kl_joint_base"] == [0, 0]
        assert results["gain_per_level"] is None
        bound = -results["distortion"] - sum(results["rate_per_level"])
        assert results["elbo"] == pytest.approx([bound, bound])
        best = results["iwae_k"]["10"]
        assert results["bits_per_dim"] == pytest.approx([-v / (64 * math.log(2)) for v in reversed(best)])
    else:
        assert len(results["gain_per_level"]) == 2
    assert (results["note"] is None) is (config.prior.kind != "recovery")
