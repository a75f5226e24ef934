"""Diagnostics against ArviZ, and against the exact values of autoregressive chains."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hebm.errors import LatentShapeError, NonFiniteError
from hebm.samplers import (
    autocorrelation,
    bulk_effective_sample_size,
    effective_sample_size,
    integrated_autocorrelation_time,
    mcse_mean,
    rank_r_hat,
    split_r_hat,
)

with warnings.catch_warnings():  # ArviZ announces its next version when it is imported
    warnings.simplefilter("ignore")
    arviz = pytest.importorskip("arviz", exc_type=ImportError)

ALL = [
    autocorrelation,
    bulk_effective_sample_size,
    effective_sample_size,
    integrated_autocorrelation_time,
    mcse_mean,
    rank_r_hat,
    split_r_hat,
]


def autoregressive(n_draws: int, n_chains: int, phi: float, seed: int = 0) -> Tensor:
    """x_t = φ x_{t-1} + √(1 - φ²) ε from its stationary law N(0, 1); τ = (1 + φ) / (1 - φ)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n_draws, n_chains, generator=generator, dtype=torch.float64)
    rows = [noise[0]]
    for eps in noise[1:]:
        rows.append(phi * rows[-1] + math.sqrt(1 - phi**2) * eps)
    return torch.stack(rows)


def stuck() -> Tensor:
    """Every chain at a place of its own."""
    return torch.arange(4.0, dtype=torch.float64).expand(50, 4)


CHAINS = {
    "iid": autoregressive(200, 4, 0.0),
    "slow": autoregressive(500, 4, 0.9),
    "alternating": autoregressive(200, 4, -0.7),
    "odd": autoregressive(301, 3, 0.5),
    "two chains": autoregressive(100, 2, 0.6),
    "other means": autoregressive(200, 4, 0.5) + torch.arange(4),
    "other scales": autoregressive(200, 4, 0.5) * torch.arange(1, 5),
    "drift": autoregressive(200, 4, 0.3) + torch.linspace(0, 2, 200)[:, None],
    "heavy tails": autoregressive(300, 4, 0.5) ** 5,
    "ties": autoregressive(200, 4, 0.8).round(),
    "short": autoregressive(4, 2, 0.0),
    "shorter odd": autoregressive(7, 2, 0.0),
    "very slow": autoregressive(60, 4, 0.999),
    "single precision": autoregressive(200, 4, 0.5).float(),
}


@pytest.mark.parametrize("name", CHAINS)
def test_diagnostics_agree_with_arviz(name: str) -> None:
    """R-hat of both kinds, effective sample size of both kinds, standard error, autocorrelation."""
    draws = CHAINS[name]
    theirs = draws.double().numpy().T
    pairs = [
        (rank_r_hat(draws), arviz.rhat(theirs, method="rank")),
        (split_r_hat(draws), arviz.rhat(theirs, method="split")),
        (bulk_effective_sample_size(draws), arviz.ess(theirs, method="bulk")),
        (effective_sample_size(draws), arviz.ess(theirs, method="mean")),
        (mcse_mean(draws), arviz.mcse(theirs, method="mean")),
    ]
    for ours, expected in pairs:
        assert ours.shape == ()
        assert ours.item() == pytest.approx(np.asarray(expected).item(), rel=1e-9)  # an array where numba is
    np.testing.assert_allclose(autocorrelation(draws).numpy().T, arviz.autocorr(theirs), atol=1e-12)


def test_random_chains_agree_with_arviz() -> None:
    """Many lengths and correlations, so that every end of the truncated sum is met."""
    generator = np.random.default_rng(0)
    for seed in range(150):
        n_draws, n_chains = int(generator.integers(4, 40)), int(generator.integers(2, 4))
        draws = autoregressive(n_draws, n_chains, float(generator.uniform(-0.99, 0.999)), seed)
        assert effective_sample_size(draws).item() == pytest.approx(
            float(arviz.ess(draws.numpy().T, method="mean")), rel=1e-9
        )


def test_stuck_chains_are_seen() -> None:
    """As in ArviZ: R-hat is infinite, and the effective sample size about one per chain and half."""
    draws = stuck()
    assert rank_r_hat(draws).item() == split_r_hat(draws).item() == math.inf
    expected = float(arviz.ess(draws.numpy().T, method="bulk"))
    assert bulk_effective_sample_size(draws).item() == pytest.approx(expected)
    assert expected < 10


@pytest.mark.parametrize("diagnostic", ALL)
def test_what_never_moved_has_no_answer(diagnostic: Callable[[Tensor], Tensor]) -> None:
    """NaN for a clamped latent, also where its mean is not exact in floating point; its neighbour is not harmed."""
    moving = autoregressive(50, 4, 0.5)
    answer = diagnostic(torch.stack([moving, torch.full_like(moving, 1.0)], dim=2))
    assert torch.isfinite(answer[..., 0]).all()
    assert torch.isnan(answer[..., 1]).all()
    constant = torch.full_like(moving, 0.1)
    for exact in (effective_sample_size, bulk_effective_sample_size, mcse_mean):
        assert torch.isnan(exact(constant))


@pytest.mark.parametrize("diagnostic", ALL)
def test_quantities_do_not_mix(diagnostic: Callable[[Tensor], Tensor]) -> None:
    """[n, C, D] gives what each [n, C] gives."""
    columns = [CHAINS[name][:100, :3] for name in ("iid", "slow", "alternating", "ties", "heavy tails")]
    together = diagnostic(torch.stack(columns, dim=2))
    torch.testing.assert_close(together, torch.stack([diagnostic(c) for c in columns], dim=-1))


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.5, 0.9])
def test_autoregressive_chains_have_their_exact_times(phi: float) -> None:
    """τ = (1 + φ) / (1 - φ) and ρ_t = φ^t; the standard error is √(τ / N)."""
    n_draws, n_chains = 4000, 50
    draws = autoregressive(n_draws, n_chains, phi)
    tau = (1 + phi) / (1 - phi)
    n_total = n_draws * n_chains
    # Sokal: Var(τ̂) / τ² ≈ 2 (2W + 1) / N with W, the lags summed over, here some multiple of τ (at least 5)
    relative_error = math.sqrt(2 * (2 * max(4 * tau, 5) + 1) / n_total)
    assert abs(integrated_autocorrelation_time(draws).item() / tau - 1) < 5 * relative_error
    assert abs(effective_sample_size(draws).item() * tau / n_total - 1) < 5 * relative_error
    assert abs(bulk_effective_sample_size(draws).item() * tau / n_total - 1) < 5 * relative_error
    assert abs(mcse_mean(draws).item() / math.sqrt(tau / n_total) - 1) < 5 * relative_error
    rho = autocorrelation(draws)[:6].mean(1)
    errors = 5 * math.sqrt((1 + phi**2) / (1 - phi**2) / n_total)  # Bartlett, an upper bound over the lags
    bias = 2 * tau / n_draws  # of centring at the chain's own mean
    assert ((rho - phi ** torch.arange(6.0)).abs() < errors + bias).all()


def test_the_standard_error_is_that_of_the_mean() -> None:
    """Over 300 runs the spread of the mean is what each run says of itself."""
    draws = autoregressive(400, 1200, 0.7).reshape(400, 300, 4)
    said = torch.stack([mcse_mean(run) for run in draws.unbind(1)])
    spread = draws.mean((0, 2)).std().item()
    assert abs(said.mean().item() / spread - 1) < 5 / math.sqrt(2 * 300)


def test_r_hat_falls_to_one_for_equal_chains_and_not_for_others() -> None:
    """Equal chains give 1; a shifted one is seen by both kinds, another scale by the rank kind alone."""
    equal = autoregressive(2000, 4, 0.3)
    assert abs(rank_r_hat(equal).item() - 1) < 0.01
    shifted, scaled = equal + torch.tensor([0, 0, 0, 1]), equal * torch.tensor([1, 1, 1, 5])
    assert split_r_hat(shifted).item() > 1.05
    assert rank_r_hat(shifted).item() > 1.05
    assert rank_r_hat(scaled).item() > 1.05 > split_r_hat(scaled).item()


@pytest.mark.parametrize("diagnostic", ALL)
def test_bad_draws_are_refused(diagnostic: Callable[[Tensor], Tensor]) -> None:
    """Too few, of another shape, or not finite."""
    for shape in ([3, 2], [10], [10, 2, 2, 2]):
        with pytest.raises(LatentShapeError, match=r"at least 4 draws"):
            diagnostic(torch.zeros(shape))
    draws = autoregressive(10, 2, 0.0)
    draws[3, 1] = math.nan
    with pytest.raises(NonFiniteError, match="a draw is not finite"):
        diagnostic(draws)
