r"""Convergence and precision of chains, from their draws [n_draws, n_chains] or [n_draws, n_chains, D].

Each function looks at every one of the D quantities by itself and gives back a number, or [D] of them; all
computations are in float64. With ρ_t the autocorrelation at lag t over N draws in all (every chain's):

.. math::
    \tau = 1 + 2 \sum_{t \geq 1} \rho_t, \qquad
    \mathrm{ESS} = \frac{N}{\tau}, \qquad
    \mathrm{MCSE} = \frac{\mathrm{sd}}{\sqrt{\mathrm{ESS}}}

.. math::
    \hat R = \sqrt{\frac{(n - 1) W / n + B / n}{W}}

with W the mean variance within chains of n draws and B / n the variance of their means. Chains are split into halves
first, so that a drift within a chain is seen. A quantity that never moved has no answer: NaN (a clamped latent).

Source: Vehtari et al. (2021), arXiv:1903.08008; the truncation of the sum: Geyer (1992), Statistical Science 7(4).
"""

import math

import torch
from torch import Tensor

from hebm.errors import LatentShapeError, NonFiniteError

__all__ = [
    "autocorrelation",
    "bulk_effective_sample_size",
    "effective_sample_size",
    "integrated_autocorrelation_time",
    "mcse_mean",
    "rank_r_hat",
    "split_r_hat",
]


def split_r_hat(draws: Tensor) -> Tensor:
    """The plain R-hat of halved chains, [] or [D]; near 1 where all halves have the same mean.

    Raises:
        LatentShapeError: If the shape is another, or there are fewer than 4 draws.
        NonFiniteError: If a draw is not finite.
    """
    return _r_hat(_halves(draws))


def rank_r_hat(draws: Tensor) -> Tensor:
    """The rank-normalised R-hat, [] or [D]: the greater of that of location and that of spread about the median.

    Sound for heavy tails too; below 1.01 is the paper's advice.

    Raises:
        LatentShapeError: If the shape is another, or there are fewer than 4 draws.
        NonFiniteError: If a draw is not finite.
    """
    halves = _halves(draws)
    spread = (halves - _median(halves)).abs()
    return torch.maximum(_r_hat(_normal_scores(halves)), _r_hat(_normal_scores(spread)))


def effective_sample_size(draws: Tensor) -> Tensor:
    """How many independent draws would give the mean as precisely, [] or [D].

    Raises:
        LatentShapeError: If the shape is another, or there are fewer than 4 draws.
        NonFiniteError: If a draw is not finite.
    """
    return _effective_sample_size(_halves(draws))


def bulk_effective_sample_size(draws: Tensor) -> Tensor:
    """Effective sample size of the rank-normalised draws, [] or [D]: exists for heavy tails too.

    Raises:
        LatentShapeError: If the shape is another, or there are fewer than 4 draws.
        NonFiniteError: If a draw is not finite.
    """
    return _effective_sample_size(_normal_scores(_halves(draws)))


def integrated_autocorrelation_time(draws: Tensor) -> Tensor:
    """τ in draws, [] or [D]; so many draws weigh as much as an independent one.

    Raises:
        LatentShapeError: If the shape is another, or there are fewer than 4 draws.
        NonFiniteError: If a draw is not finite.
    """
    halves = _halves(draws)
    return halves.shape[0] * halves.shape[1] / _effective_sample_size(halves)


def mcse_mean(draws: Tensor) -> Tensor:
    """Standard error of the mean over all draws, [] or [D], in the draws' unit.

    Raises:
        LatentShapeError: If the shape is another, or there are fewer than 4 draws.
        NonFiniteError: If a draw is not finite.
    """
    n_effective = effective_sample_size(draws)
    return draws.double().flatten(0, 1).std(0) / n_effective.sqrt()


def autocorrelation(draws: Tensor) -> Tensor:
    """Each chain's autocorrelation at all lags, shaped like the draws, about the chain's own mean.

    Raises:
        LatentShapeError: If the shape is another, or there are fewer than 4 draws.
        NonFiniteError: If a draw is not finite.
    """
    _check(draws)
    covariance = _autocovariance(draws.double())
    return covariance / covariance[:1]


def _check(draws: Tensor) -> None:
    if draws.ndim not in (2, 3) or len(draws) < 4:
        raise LatentShapeError(
            f"draws [n_draws, n_chains] or [n_draws, n_chains, D] with at least 4 draws are expected, but the shape "
            f"is {list(draws.shape)}."
        )
    if not torch.isfinite(draws).all():
        raise NonFiniteError("a draw is not finite; look at the chains before their diagnostics.")


def _halves(draws: Tensor) -> Tensor:
    """[n, C, ...] to [n // 2, 2C, ...]; the middle draw of an odd number is left out."""
    _check(draws)
    half = len(draws) // 2
    return torch.cat([draws[:half], draws[-half:]], dim=1).double()


def _r_hat(chains: Tensor) -> Tensor:
    n = len(chains)
    within, between = chains.var(0).mean(0), chains.mean(0).var(0)
    return ((n - 1) / n + between / within).sqrt()


def _normal_scores(chains: Tensor) -> Tensor:
    """Φ⁻¹((rank - 3/8) / (S + 1/4)) over the S draws of all chains; equal draws share their mean rank."""
    pooled = chains.flatten(0, 1).movedim(0, -1).contiguous()
    ordered = pooled.sort(dim=-1).values
    below, up_to = (torch.searchsorted(ordered, pooled, right=right) for right in (False, True))
    rank = (below + up_to + 1) / 2
    scores: Tensor = torch.special.ndtri((rank.double() - 3 / 8) / (pooled.shape[-1] + 1 / 4))
    return scores.movedim(-1, 0).reshape(chains.shape)


def _median(chains: Tensor) -> Tensor:
    ordered = chains.flatten(0, 1).sort(dim=0).values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _autocovariance(chains: Tensor) -> Tensor:
    """Biased (divided by n) autocovariances at lags 0 to n - 1; the zeros that are added keep lags from wrapping."""
    n = len(chains)
    spectrum = torch.fft.rfft(chains - chains.mean(0), n=2 * n, dim=0)
    covariance: Tensor = torch.fft.irfft(spectrum.abs().square(), n=2 * n, dim=0)[:n] / n
    return covariance


def _effective_sample_size(chains: Tensor) -> Tensor:
    """Sum ρ in pairs of lags (2k, 2k + 1) while they are positive, each no greater than the pair before.

    The pair that ends the sum gives its even lag once, if positive. τ is held above 1 / log10 N: draws that
    alternate may beat independent ones, but not without bounds.
    """
    n, n_total = len(chains), chains.shape[0] * chains.shape[1]
    covariance = _autocovariance(chains).mean(1)
    within = covariance[0] * n / (n - 1)
    total = covariance[0] + (chains.mean(0).var(0) if chains.shape[1] > 1 else 0)
    rho = 1 - (within - covariance) / total
    rho[0] = 1
    last = max((n - 3) // 2, 0)
    even = rho[0 : 2 * last + 1 : 2]
    pairs = even + rho[1 : 2 * last + 2 : 2]
    positive = (pairs > 0).cumprod(0)
    end = positive.sum(0).clamp(max=last)
    counted = torch.arange(last + 1, device=rho.device).reshape(-1, *[1] * end.ndim) < end
    closing, closing_pair = (values.gather(0, end[None])[0] for values in (even, pairs))
    closing = torch.where(closing_pair < 0, closing.clamp(min=0), closing)
    tau = -1 + 2 * (pairs.cummin(0).values * counted).sum(0) + closing
    moved = chains.flatten(0, 1).amax(0) > chains.flatten(0, 1).amin(0)
    return torch.where(moved, n_total / tau.clamp(min=1 / math.log10(n_total)), torch.nan)
