r"""Cholesky factors of the precisions of K Gaussians, P = L Lᵀ with L lower triangular, dense or diagonal.

With u = Lᵀ (z - m), log N(z; m, P⁻¹) = -½ |u|² + Σ_i log L_ii - D/2 log 2π. As Lᵀ is upper triangular, u_i looks
at z_i and the units after it only, so the last block of L is the factor of the last units' marginal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

__all__ = [
    "DenseFactors",
    "DiagonalFactors",
    "Factors",
    "TriangularFactors",
    "chunks",
    "precision_factors",
]

CHUNK_ELEMENTS = 2**20  # of one intermediate tensor; 4 MiB in float32 stays in the cache


class Factors(Protocol):
    """The K factors L of the precisions."""

    def log_det(self) -> Tensor:
        """Sum of log L_ii, [K]."""
        ...

    def whiten(self, z: Tensor, means: Tensor) -> Tensor:
        """u = Lᵀ (z - m) under every component, [B, D] and [K, D] to [B, K, D]."""
        ...

    def pull_back(self, u: Tensor) -> Tensor:
        """Sum over k of L_k u_k, [B, K, D] to [B, D]."""
        ...

    def colour(self, u: Tensor, component: Tensor) -> Tensor:
        """z - m with Lᵀ (z - m) = u for each row's component, [B, D] and [B] to [B, D]."""
        ...

    def ordered(self, columns: Sequence[int]) -> "Factors":
        """Factors of the same Gaussians over reordered units."""
        ...

    def last(self, n: int) -> "Factors":
        """Factors of the marginals of the last n units."""
        ...


@dataclass(frozen=True)
class DenseFactors:
    """Full lower triangular factors, [K, D, D]."""

    lower: Tensor

    def log_det(self) -> Tensor:
        """Sum of log L_ii, [K]."""
        return self.lower.diagonal(dim1=1, dim2=2).log().sum(1)

    def _side_by_side(self) -> Tensor:
        return self.lower.transpose(0, 1).flatten(1)

    def whiten(self, z: Tensor, means: Tensor) -> Tensor:
        """u = Lᵀ (z - m) by one matrix product over all components, [B, K, D]."""
        offset = (means[:, None] @ self.lower).reshape(-1)
        return torch.addmm(-offset, z, self._side_by_side()).reshape(len(z), *means.shape)

    def pull_back(self, u: Tensor) -> Tensor:
        """Sum over k of L_k u_k, [B, D]."""
        return u.flatten(1) @ self._side_by_side().t()

    def colour(self, u: Tensor, component: Tensor) -> Tensor:
        """z - m by one triangular solve per row, [B, D]."""
        size = self.lower[0].numel()
        solved = [
            torch.linalg.solve_triangular(self.lower[k].mT, part[:, :, None], upper=True)
            for part, k in zip(chunks(u, size), chunks(component, size), strict=True)
        ]
        return torch.cat(solved)[:, :, 0]

    def ordered(self, columns: Sequence[int]) -> "DenseFactors":
        """Factors of the precisions with rows and columns reordered, by a new factorisation in float64."""
        lower = self.lower.double()
        precision = (lower @ lower.mT)[:, columns][:, :, columns]
        return DenseFactors(torch.linalg.cholesky(precision).to(self.lower.dtype))

    def last(self, n: int) -> "DenseFactors":
        """Factors of the marginals of the last n units."""
        start = self.lower.shape[1] - n
        return DenseFactors(self.lower[:, start:, start:])


@dataclass(frozen=True)
class DiagonalFactors:
    """Factors of independent units: inverse standard deviations, [K, D]."""

    inverse_scales: Tensor

    def log_det(self) -> Tensor:
        """Sum of log 1/σ_i, [K]."""
        return self.inverse_scales.log().sum(1)

    def whiten(self, z: Tensor, means: Tensor) -> Tensor:
        """u = (z - m) / σ, [B, K, D]."""
        return (z[:, None] - means) * self.inverse_scales

    def pull_back(self, u: Tensor) -> Tensor:
        """Sum over k of u_k / σ_k, [B, D]."""
        return (u * self.inverse_scales).sum(1)

    def colour(self, u: Tensor, component: Tensor) -> Tensor:
        """z - m = σ u, [B, D]."""
        return u / self.inverse_scales[component]

    def ordered(self, columns: Sequence[int]) -> "DiagonalFactors":
        """The columns in another order."""
        return DiagonalFactors(self.inverse_scales[:, columns])

    def last(self, n: int) -> "DiagonalFactors":
        """The last n columns."""
        return DiagonalFactors(self.inverse_scales[:, self.inverse_scales.shape[1] - n :])


class TriangularFactors(nn.Module):
    """K lower triangular matrices with a positive diagonal as free parameters; the identity at first.

    The parameters are the logarithms of the diagonals and what lies below them.

    Args:
        n_matrices: K.
        dim: D.
    """

    def __init__(self, n_matrices: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.log_diagonal = nn.Parameter(torch.zeros(n_matrices, dim))
        self.below = nn.Parameter(torch.zeros(n_matrices, dim * (dim - 1) // 2))

    def forward(self) -> Tensor:
        """The matrices, [K, D, D]."""
        i, j = torch.tril_indices(self.dim, self.dim, -1, device=self.below.device)
        matrices = torch.diag_embed(self.log_diagonal.exp())
        return matrices.index_put((torch.arange(len(matrices), device=i.device)[:, None], i, j), self.below)

    @torch.no_grad()
    def load_(self, matrices: Tensor) -> None:
        """Set the parameters to those of given matrices, [K, D, D]."""
        i, j = torch.tril_indices(self.dim, self.dim, -1, device=matrices.device)
        self.log_diagonal.copy_(matrices.diagonal(dim1=1, dim2=2).log())
        self.below.copy_(matrices[:, i, j])


def precision_factors(covariances: Tensor) -> Tensor:
    """Lower Cholesky factors L of the precisions, C⁻¹ = L Lᵀ, in float64: [K, D, D] to [K, D, D]."""
    # L is the inverse of the *upper* root of C: turn the units round, take the lower root, turn it back.
    root = torch.linalg.cholesky(covariances.double().flip(1, 2)).flip(1, 2)
    eye = torch.eye(root.shape[1], dtype=root.dtype, device=root.device).expand_as(root)
    inverse: Tensor = torch.linalg.solve_triangular(root, eye, upper=True)
    return inverse.mT


def chunks(rows: Tensor, elements_per_row: int) -> tuple[Tensor, ...]:
    """Cut a tensor into runs of rows, so that an intermediate of so many elements per row stays small."""
    return torch.split(rows, max(1, CHUNK_ELEMENTS // max(1, elements_per_row)))
