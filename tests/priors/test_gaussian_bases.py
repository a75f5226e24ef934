"""The full Gaussian, the mixture and the mixture of posteriors: closed forms, other libraries, fits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from torch import Tensor

from hebm.distributions import DiagonalNormal
from hebm.errors import LatentShapeError, NonFiniteError
from hebm.latents import Latents, unflatten_latents
from hebm.priors import FullGaussianPrior, MixturePrior, VampPrior, fit_mixture
from hebm.priors.mixture import kmeans_start

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (2, 1, 3)
DTYPE = torch.float64


def levels(flat: Tensor) -> Latents:
    return unflatten_latents(flat, DIMS)


def noise(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=DTYPE)


def components(k: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Weights, means and covariances."""
    roots = noise(k, 6, 6, generator=generator)
    weights = torch.rand(k, generator=generator, dtype=DTYPE) + 0.1
    return (
        weights / weights.sum(),
        2 * noise(k, 6, generator=generator),
        roots @ roots.mT + 0.2 * torch.eye(6),
    )


def clusters(n: int, generator: torch.Generator) -> Tensor:
    """Three well separated round clusters of scale 0.5, weights 0.5, 0.3, 0.2."""
    centres = 4 * torch.eye(6, dtype=DTYPE)[:3]
    which = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), n, replacement=True, generator=generator)
    return centres[which] + 0.5 * noise(n, 6, generator=generator)


def test_the_full_gaussian_fits_mean_and_covariance(seeded: Seeded) -> None:
    """The maximum of the likelihood: SciPy's density with the samples' own mean and covariance (1/N)."""
    z = noise(50, 6, generator=seeded(0)) @ noise(6, 6, generator=seeded(1)) + 3
    prior = FullGaussianPrior(DIMS).double()
    prior.fit_(z)
    flat = z.cpu().numpy()
    expected = multivariate_normal(flat.mean(0), np.cov(flat.T, bias=True)).logpdf(flat)
    np.testing.assert_allclose(prior.log_prob(levels(z)).detach().cpu(), expected, rtol=1e-9)


def test_the_floor_of_the_full_gaussian_is_relative(seeded: Seeded) -> None:
    """A latent that never moves gets the largest variance times the floor, the others are left alone."""
    z = noise(100, 6, generator=seeded(0)) * 10
    z[:, 4] = 1.0
    prior = FullGaussianPrior(DIMS).double()
    prior.fit_(z, relative_floor=1e-6)
    lower = prior.factor()[0].detach()
    covariance = torch.linalg.inv(lower @ lower.T)
    expected = torch.cov(z.T, correction=0)
    expected[4, 4] = 1e-6 * torch.linalg.eigvalsh(expected)[-1]
    torch.testing.assert_close(covariance, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("flat", "match"), [(torch.full((5, 6), math.nan), "not finite"), (torch.zeros(5, 6), "zero")]
)
def test_samples_without_a_covariance_are_refused(flat: Tensor, match: str) -> None:
    """Nothing is replaced in silence."""
    with pytest.raises(NonFiniteError, match=match):
        FullGaussianPrior(DIMS).fit_(flat.to(torch.get_default_device()))


def test_the_mixture_is_that_of_scikit_learn(seeded: Seeded) -> None:
    """The same components give the same log-density, also in float32 to its precision."""
    weights, means, covariances = components(4, seeded(0))
    reference = GaussianMixture(4)
    reference.weights_, reference.means_ = weights.cpu().numpy(), means.cpu().numpy()
    reference.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(covariances.cpu().numpy()))
    z = 3 * noise(50, 6, generator=seeded(1))
    expected = torch.from_numpy(reference.score_samples(z.cpu().numpy())).to(z)
    prior = MixturePrior(DIMS, 4).double()
    prior.load_components_(3 * weights, means, covariances)
    torch.testing.assert_close(prior.log_prob(levels(z)), expected, rtol=1e-9, atol=1e-9)
    single = prior.float().log_prob(levels(z.float()))
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-4)


def test_components_of_another_size_are_refused(seeded: Seeded) -> None:
    """The message has the shapes."""
    with pytest.raises(LatentShapeError, match=r"\[3, 6, 6\] are expected"):
        MixturePrior(DIMS, 3).load_components_(*components(4, seeded(0)))


def test_a_fit_keeps_the_size_that_is_best_on_held_out_latents(seeded: Seeded) -> None:
    """Of 1, 3 and 20 components on 200 items of three clusters: 3; its value is that of the prior that loads it."""
    train, valid = clusters(200, seeded(0)), clusters(5000, seeded(1))
    fit = fit_mixture(train, valid, n_components=(1, 20, 3), seed=0)
    assert [c.n_components for c in fit.candidates] == [1, 20, 3]
    by_size = {c.n_components: c for c in fit.candidates}
    assert by_size[3].held_out_log_density > max(by_size[k].held_out_log_density for k in (1, 20))
    assert by_size[20].train_log_density > by_size[3].train_log_density
    assert len(fit.weights) == 3
    prior = MixturePrior(DIMS, 3).double()
    prior.load_components_(*fit[:3])
    value = prior.log_prob(levels(valid)).mean().item()
    assert value == pytest.approx(by_size[3].held_out_log_density, abs=1e-6)
    again = fit_mixture(train, valid, n_components=(1, 20, 3), seed=0)
    assert torch.equal(fit.means, again.means)


def test_a_fit_finds_the_clusters(seeded: Seeded) -> None:
    """Weights, centres and scales within five standard errors; k-means looks at a tenth of the rows."""
    n = 5000
    fit = fit_mixture(
        clusters(n, seeded(0)), clusters(100, seeded(1)), n_components=[3], seed=0, n_init_rows=500
    )
    order = fit.weights.argsort(descending=True)
    true_weights = torch.tensor([0.5, 0.3, 0.2], dtype=DTYPE, device="cpu")
    error = (true_weights * (1 - true_weights) / n).sqrt()
    assert ((fit.weights[order] - true_weights).abs() < 5 * error).all()
    centres = 4 * torch.eye(6, dtype=DTYPE, device="cpu")[:3]
    assert (fit.means[order] - centres).abs().max().item() < 5 * 0.5 / (0.2 * n) ** 0.5
    variances = fit.covariances.diagonal(dim1=1, dim2=2)
    assert (variances - 0.25).abs().max().item() < 5 * 0.25 * (2 / (0.2 * n)) ** 0.5


def test_a_fit_starts_at_the_clusters_of_k_means(seeded: Seeded) -> None:
    """Their weights, centres and *precisions*, before any step of EM."""
    weights, means, precisions = kmeans_start(
        clusters(5000, seeded(0)).cpu(), 3, seed=0, n_rows=4000, floor=1e-6
    )
    order = weights.argsort(descending=True)
    cpu = {"dtype": DTYPE, "device": "cpu"}
    assert (weights[order] - torch.tensor([0.5, 0.3, 0.2], **cpu)).abs().max().item() < 5 * (
        0.25 / 4000
    ) ** 0.5
    assert (means[order] - 4 * torch.eye(6, **cpu)[:3]).abs().max().item() < 5 * 0.5 / 800**0.5
    assert (precisions - 4 * torch.eye(6, **cpu)).abs().max().item() < 5 * 4 * (2 / 800) ** 0.5


def test_a_fit_that_does_not_converge_says_so(seeded: Seeded) -> None:
    """A field, not a warning (warnings are errors here)."""
    z = noise(300, 6, generator=seeded(0))
    (candidate,) = fit_mixture(z, z, n_components=[5], seed=0, max_iter=2, tol=1e-9).candidates
    assert candidate.converged is False
    assert candidate.n_iter == 2


def test_latents_with_fewer_places_than_components_are_fitted(seeded: Seeded) -> None:
    """Copies of four points in five clusters: k-means' own warning is not let through either."""
    z = noise(4, 6, generator=seeded(0)).repeat(30, 1)
    fit = fit_mixture(z, z, n_components=[5], seed=0, reg_covar=1e-2)
    assert torch.isfinite(fit.means).all()


def test_no_size_to_fit_is_an_error(seeded: Seeded) -> None:
    """An empty list of candidates has no best one."""
    z = noise(10, 6, generator=seeded(0))
    with pytest.raises(ValueError, match="pass at least one"):
        fit_mixture(z, z, n_components=[], seed=0)


def test_the_mixture_of_posteriors_is_the_mean_of_their_densities(seeded: Seeded) -> None:
    """log (1/K) Σ_k q(z | u_k), each by the distribution's own log_prob."""
    means, scales = noise(5, 6, generator=seeded(0)), noise(5, 6, generator=seeded(1)).exp()
    z = noise(20, 6, generator=seeded(2))
    per_item = [
        DiagonalNormal(m.expand(20, 6), s.expand(20, 6)).log_prob(z)
        for m, s in zip(means, scales, strict=True)
    ]
    prior = VampPrior(DIMS, DiagonalNormal(means, scales))
    expected = torch.stack(per_item).logsumexp(0) - math.log(5)
    torch.testing.assert_close(prior.log_prob(levels(z)), expected, rtol=1e-12, atol=1e-12)
    assert not any(p.requires_grad for p in prior.parameters())


def test_diagonal_and_dense_components_agree(seeded: Seeded) -> None:
    """The mixture of posteriors is a mixture with diagonal covariances, draw by draw."""
    means, scales = noise(5, 6, generator=seeded(0)), noise(5, 6, generator=seeded(1)).exp()
    vamp, mixture = VampPrior(DIMS, DiagonalNormal(means, scales)), MixturePrior(DIMS, 5).double()
    mixture.load_components_(torch.ones(5, dtype=DTYPE), means, torch.diag_embed(scales.square()))
    z = levels(noise(20, 6, generator=seeded(2)))
    torch.testing.assert_close(vamp.log_prob(z), mixture.log_prob(z))
    torch.testing.assert_close(vamp.density().value_and_grad(z), mixture.density().value_and_grad(z))
    drawn = [p.sample_base(50, like=z[0], generator=seeded(3)) for p in (vamp, mixture)]
    torch.testing.assert_close(*drawn)
    given = [p.sample_base_given(z, [0], generator=seeded(3)) for p in (vamp, mixture)]
    torch.testing.assert_close(*given)


def test_posteriors_of_other_shapes_are_refused() -> None:
    """As many columns as latents, scales like means."""
    with pytest.raises(LatentShapeError, match="6 latents per item"):
        VampPrior(DIMS, DiagonalNormal(torch.zeros(4, 5), torch.ones(4, 5)))
    with pytest.raises(LatentShapeError, match="like the means"):
        VampPrior(DIMS, DiagonalNormal(torch.zeros(4, 6), torch.ones(6)))
