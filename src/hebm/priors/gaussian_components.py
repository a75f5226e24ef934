r"""Weighted Gaussian components Σ_k w_k N(m_k, P_k⁻¹) over the flat state: density, gradient, draws, conditionals.

With the held units put last, a conditional draw is one triangular solve: u in the held units is what it is there, and
fresh noise in the free ones.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.latents import Latents, check_latents, flatten_latents, level_indices, unflatten_latents
from hebm.priors.precision import Factors, chunks
from hebm.randomness import NoiseSource, standard_normal

__all__ = ["GaussianComponents"]


@dataclass(frozen=True)
class GaussianComponents:
    r"""Σ_k w_k N(m_k, (L_k L_kᵀ)⁻¹) as plain tensors; as a density it takes the levels, or the flat state as a
    tuple of one.

    Args:
        log_weights: Normalised logarithms of the weights, [K].
        means: [K, D].
        factors: Cholesky factors of the precisions.
    """

    log_weights: Tensor
    means: Tensor
    factors: Factors

    def __call__(self, latents: Latents) -> Tensor:
        """Normalised log-density, [B] nats, differentiable in the latents."""
        return torch.logsumexp(self.log_joint(self._flat(latents)), 1)

    def log_joint(self, flat: Tensor) -> Tensor:
        """log w_k + log N(z; m_k, P_k⁻¹) of every component, [B, D] to [B, K]."""
        with torch.autocast(flat.device.type, enabled=False):
            parts = [self._log_joint(self.factors.whiten(z, self.means)) for z in self._chunks(flat)]
        return torch.cat(parts)

    def value_and_grad(self, latents: Latents) -> tuple[Tensor, Latents]:
        r"""The same value [B] and its gradients, shaped like the latents.

        .. math:: \nabla \log p(z) = -\sum_k p(k | z) L_k u_k
        """
        values, grads = [], []
        flat = self._flat(latents)
        with torch.autocast(flat.device.type, enabled=False):
            for z in self._chunks(flat):
                u = self.factors.whiten(z, self.means)
                log_joint = self._log_joint(u)
                values.append(log_joint.logsumexp(1))
                grads.append(-self.factors.pull_back(log_joint.softmax(1)[:, :, None] * u))
        return torch.cat(values), unflatten_latents(torch.cat(grads), [z.shape[1] for z in latents])

    def marginal(self, columns: Sequence[int]) -> "GaussianComponents":
        """The components of some columns, the others integrated out; [K] weights, [K, n] means."""
        others = [i for i in range(self.means.shape[1]) if i not in columns]
        factors = self.factors.ordered([*others, *columns]).last(len(columns))
        return GaussianComponents(self.log_weights, self.means[:, list(columns)], factors)

    def draw(self, n: int, *, like: Tensor, generator: NoiseSource) -> Tensor:
        """Exact draws, [n, D], on the device and in the dtype of `like`."""
        u = standard_normal(
            torch.empty(n, self.means.shape[1], dtype=like.dtype, device=like.device), generator
        )
        component = _choose(self.log_weights.expand(n, -1), u, generator)
        return (self.means[component] + self.factors.colour(u.to(self.means), component)).to(like)

    def draw_given(self, flat: Tensor, free: Sequence[int], *, generator: NoiseSource) -> Tensor:
        """Exact draws of the free columns given the others, [B, D] to [B, D]; the others come back as they are.

        The held columns choose the component, by w_k times their marginal density; then u is noise in the free
        units and what it is in the held ones.
        """
        held = sorted(set(range(flat.shape[1])) - set(free))
        columns = [*free, *held]
        factors, means = self.factors.ordered(columns), self.means[:, columns]
        z_held = flat[:, held].to(means)
        marginal = GaussianComponents(self.log_weights, means[:, len(free) :], factors.last(len(held)))
        noise = standard_normal(flat[:, : len(free)], generator)
        component = _choose(marginal.log_joint(z_held), noise, generator)
        u_held = torch.cat(
            [
                marginal.factors.whiten(z, marginal.means)[torch.arange(len(z), device=z.device), k]
                for z, k in zip(marginal._chunks(z_held), marginal._chunks(component), strict=True)
            ]
        )
        z = means[component] + factors.colour(torch.cat([noise.to(means), u_held], 1), component)
        drawn = flat.clone()
        drawn[:, list(free)] = z[:, : len(free)].to(flat.dtype)
        return drawn

    def draw_levels_given(
        self, latents: Latents, level_dims: Sequence[int], levels: Collection[int], generator: NoiseSource
    ) -> Latents:
        """Exact draws of some levels given the others, which come back as they are; see :meth:`draw_given`."""
        check_latents(latents, level_dims)
        free = level_indices(level_dims, levels)
        drawn = self.draw_given(flatten_latents(latents), free, generator=generator)
        return unflatten_latents(drawn, level_dims)

    def _flat(self, latents: Latents) -> Tensor:
        flat = flatten_latents(latents)
        check_latents((flat,), (self.means.shape[1],))
        return flat

    def _chunks(self, rows: Tensor) -> tuple[Tensor, ...]:
        return chunks(rows, self.means.numel())

    def _log_joint(self, u: Tensor) -> Tensor:
        log_scale = self.factors.log_det() - 0.5 * u.shape[2] * math.log(2 * math.pi)
        return self.log_weights + log_scale - 0.5 * u.square().sum(2)


def _choose(log_weights: Tensor, like: Tensor, generator: NoiseSource) -> Tensor:
    """A component for each row of unnormalised log-weights [B, K]: the quantile of Φ(ε) in float64, ε ~ N(0, 1)."""
    if log_weights.shape[1] == 1:
        return torch.zeros(len(log_weights), dtype=torch.long, device=log_weights.device)
    noise = standard_normal(torch.empty(len(like), 1, dtype=like.dtype, device=like.device), generator)
    cumulative = log_weights.double().softmax(1).cumsum(1)
    component = torch.searchsorted(cumulative, torch.special.ndtr(noise.double()), right=True)
    return component.squeeze(1).clamp(max=log_weights.shape[1] - 1)
