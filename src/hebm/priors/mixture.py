r"""A mixture of full Gaussians over all levels, p₀(z) = Σ_k w_k N(z; m_k, C_k)."""

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hebm.errors import LatentShapeError, NonFiniteError
from hebm.priors.components_prior import ComponentsPrior
from hebm.priors.gaussian_components import GaussianComponents
from hebm.priors.precision import DenseFactors, TriangularFactors, precision_factors

__all__ = ["MixtureCandidate", "MixtureFit", "MixturePrior", "fit_mixture", "kmeans_start"]


class MixtureCandidate(NamedTuple):
    """How a mixture of one size did: mean log-densities in nats per item, and whether its EM came to rest."""

    n_components: int
    train_log_density: float
    held_out_log_density: float
    n_iter: int
    converged: bool


class MixtureFit(NamedTuple):
    """The best mixture on held-out latents, in float64: [K], [K, D], [K, D, D]; and every size that was tried."""

    weights: Tensor
    means: Tensor
    covariances: Tensor
    candidates: tuple[MixtureCandidate, ...]


class MixturePrior(ComponentsPrior):
    r"""Σ_k w_k N(m_k, C_k) over the flat state; learned through logits, means and the factors of C_k⁻¹ = L_k L_kᵀ.

    All components start at N(0, I), which a gradient cannot tell apart: load components before learning.

    Args:
        level_dims: Number of latents of each level, top first.
        n_components: K.
    """

    def __init__(self, level_dims: Sequence[int], n_components: int) -> None:
        super().__init__()
        self.level_dims = tuple(level_dims)
        dim = sum(level_dims)
        self.logits = nn.Parameter(torch.zeros(n_components))
        self.means = nn.Parameter(torch.zeros(n_components, dim))
        self.factors = TriangularFactors(n_components, dim)

    def components(self) -> GaussianComponents:
        """The mixture as tensors, differentiable in the parameters."""
        return GaussianComponents(self.logits.log_softmax(0), self.means, DenseFactors(self.factors()))

    @torch.no_grad()
    def load_components_(self, weights: Tensor, means: Tensor, covariances: Tensor) -> None:
        """Set the components, e.g. to those of :func:`fit_mixture`.

        Args:
            weights: Positive, proportional to w_k, [K].
            means: [K, D].
            covariances: Positive definite, [K, D, D].

        Raises:
            LatentShapeError: If a shape disagrees with this prior's.
        """
        n, dim = self.means.shape
        shapes = [tuple(t.shape) for t in (weights, means, covariances)]
        if shapes != [(n,), (n, dim), (n, dim, dim)]:
            raise LatentShapeError(
                f"weights [{n}], means [{n}, {dim}] and covariances [{n}, {dim}, {dim}] are expected, but the "
                f"shapes are {shapes}; make the prior with as many components and latents as were fitted."
            )
        self.logits.copy_((weights / weights.sum()).log())
        self.means.copy_(means)
        self.factors.load_(precision_factors(covariances))


def fit_mixture(
    flat_train: Tensor,
    flat_valid: Tensor,
    *,
    n_components: Sequence[int],
    seed: int,
    max_iter: int = 200,
    tol: float = 1e-3,
    reg_covar: float = 1e-6,
    n_init_rows: int = 10_000,
) -> MixtureFit:
    """Fit one mixture per size by EM, starting from k-means; keep the size that is best on held-out latents.

    Args:
        flat_train: Posterior samples z ~ q(z|x), [N, D].
        flat_valid: Posterior samples of other items, [M, D]; they choose the size.
        n_components: Sizes to try.
        seed: Of k-means and of the rows it looks at.
        max_iter: EM steps at most; a fit that stops there says ``converged=False``.
        tol: EM stops when the mean log-density of a step rises by less, in nats.
        reg_covar: Variance added to the diagonal of every covariance, in squared units of the latents.
        n_init_rows: k-means looks at this many rows at most.

    Raises:
        NonFiniteError: If a held-out log-density is not finite.

    Source: Dempster et al. (1977), as implemented by scikit-learn's ``GaussianMixture``, in float64.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    train, valid = (flat.detach().double().cpu() for flat in (flat_train, flat_valid))
    best, candidates = None, []
    for k in n_components:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is the field `converged`
            weights, means, precisions = kmeans_start(
                train, k, seed=seed, n_rows=n_init_rows, floor=reg_covar
            )
            model = GaussianMixture(
                k,
                covariance_type="full",
                tol=tol,
                reg_covar=reg_covar,
                max_iter=max_iter,
                weights_init=weights.numpy(),
                means_init=means.numpy(),
                precisions_init=precisions.numpy(),
            ).fit(train.numpy())
        on_train, on_valid = float(model.score(train.numpy())), float(model.score(valid.numpy()))
        if not math.isfinite(on_valid):
            raise NonFiniteError(
                f"the held-out log-density of {k} components is not finite; raise `reg_covar`."
            )
        candidates.append(MixtureCandidate(k, on_train, on_valid, model.n_iter_, model.converged_))
        if candidates[-1] == max(candidates, key=lambda c: c.held_out_log_density):
            best = model
    if best is None:
        raise LatentShapeError("no number of components was given; pass at least one.")
    arrays = (best.weights_, best.means_, best.covariances_)
    weights, means, covariances = (torch.from_numpy(array) for array in arrays)
    return MixtureFit(weights, means, covariances, tuple(candidates))


def kmeans_start(
    flat: Tensor, k: int, *, seed: int, n_rows: int, floor: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [K], means [K, D] and precisions [K, D, D] of the clusters of k-means, where EM starts.

    A cluster's covariance is drawn towards the mean one by D + 1 items' worth, so that small ones are regular.

    Args:
        flat: Latents in float64 on the CPU, [N, D].
        k: Number of clusters.
        seed: Of k-means and of the rows it looks at.
        n_rows: It looks at this many rows at most.
        floor: Variance added to the diagonal of the mean covariance.
    """
    from sklearn.cluster import KMeans

    rows = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed))[:n_rows]
    z, dim = flat[rows], flat.shape[1]
    kmeans = KMeans(k, n_init=1, random_state=seed % 2**32).fit(z.numpy())
    one_hot = torch.nn.functional.one_hot(torch.from_numpy(kmeans.labels_).long(), k).double()
    counts, means = one_hot.sum(0), torch.from_numpy(kmeans.cluster_centers_).double()
    residual = z - means[kmeans.labels_]
    pooled = residual.T @ residual / len(z) + floor * torch.eye(dim, dtype=z.dtype)
    scatter = torch.stack([(one_hot[:, i, None] * residual).T @ residual for i in range(k)])
    covariances = (scatter + (dim + 1) * pooled) / (counts + dim + 1)[:, None, None]
    return (counts + 1) / (len(z) + k), means, torch.linalg.inv(covariances)
