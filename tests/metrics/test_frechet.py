"""The Fréchet distance against closed forms, scipy's matrix root and torchmetrics."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hebm.errors import NonFiniteError
from hebm.metrics import GaussianStatistics, MetricInputError, frechet_distance


def _features(n: int, dim: int, seed: int, *, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64) @ mixing + shift


def _with_moments(mean: Tensor, scale: Tensor) -> GaussianStatistics:
    """Statistics of 2 D points whose mean is exactly ``mean`` and covariance exactly diag(scale²)."""
    dim = len(mean)
    axes = torch.diag(scale) * ((2 * dim - 1) / 2) ** 0.5
    return GaussianStatistics.of(torch.cat([axes, -axes]) + mean)


def test_distance_of_diagonal_gaussians_has_its_closed_form() -> None:
    """For diagonal covariances d² = Σ (μ_a - μ_b)² + (s_a - s_b)²."""
    mean_a, mean_b = torch.tensor([1.0, -2.0, 0.5]).double(), torch.tensor([0.0, 1.0, 0.5]).double()
    scale_a, scale_b = torch.tensor([1.0, 3.0, 0.2]).double(), torch.tensor([2.0, 0.5, 0.0]).double()
    expected = ((mean_a - mean_b).square() + (scale_a - scale_b).square()).sum().item()
    measured = frechet_distance(_with_moments(mean_a, scale_a), _with_moments(mean_b, scale_b))
    assert measured == pytest.approx(expected, rel=1e-7)


def test_distance_of_correlated_gaussians_agrees_with_the_matrix_root() -> None:
    """scipy's Schur root of S_a S_b, a route of its own, gives the same number."""
    from scipy.linalg import sqrtm

    a, b = _features(300, 12, 1).numpy(), _features(400, 12, 2, shift=0.3).numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root_trace = np.trace(sqrtm(cov_a @ cov_b)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * root_trace
    assert frechet_distance(GaussianStatistics.of(a), GaussianStatistics.of(b)) == pytest.approx(
        expected, rel=1e-9
    )


class _Flatten(nn.Module):
    num_features = 16

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_distance_agrees_with_torchmetrics() -> None:
    """One extractor, two libraries, one number."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    generator = torch.Generator().manual_seed(3)
    real = torch.rand(200, 1, 4, 4, generator=generator, dtype=torch.float64)
    fake = torch.rand(150, 1, 4, 4, generator=generator, dtype=torch.float64) ** 2
    other = FrechetInceptionDistance(feature=_Flatten(), normalize=False, input_img_size=(1, 4, 4))
    other.set_dtype(torch.float64)
    other.update(real, real=True)
    other.update(fake, real=False)
    ours = frechet_distance(GaussianStatistics.of(real.flatten(1)), GaussianStatistics.of(fake.flatten(1)))
    assert ours == pytest.approx(other.compute().item(), rel=1e-6)


def test_distance_is_symmetric_and_zero_only_to_itself() -> None:
    """d(a, b) = d(b, a) > 0, d(a, a) = 0."""
    a, b = GaussianStatistics.of(_features(50, 6, 4)), GaussianStatistics.of(_features(50, 6, 5))
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-10)
    assert frechet_distance(a, b) > 1
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_distance_survives_fewer_samples_than_features() -> None:
    """With rank-deficient covariances a pure shift by c still costs D c², up to rounding."""
    a = _features(10, 40, 6)
    shifted = frechet_distance(GaussianStatistics.of(a), GaussianStatistics.of(a + 0.5))
    assert shifted == pytest.approx(40 * 0.25, rel=1e-4)


def test_streamed_statistics_equal_those_of_the_whole() -> None:
    """Uneven batches give numpy's mean and unbiased covariance, far from the origin too."""
    features = _features(257, 5, 7, shift=1e6)
    statistics = GaussianStatistics(5)
    for batch in features.split([1, 100, 0, 7, 149]):
        statistics.update(batch)
    assert statistics.n == 257
    np.testing.assert_allclose(statistics.mean.numpy(), features.numpy().mean(0), rtol=1e-14)
    np.testing.assert_allclose(
        statistics.covariance.numpy(), np.cov(features.numpy(), rowvar=False), rtol=1e-8
    )


def test_merged_statistics_equal_those_of_the_whole_and_leave_the_parts_alone() -> None:
    """Merging is exact; neither operand moves."""
    features = _features(120, 4, 8)
    first, second = GaussianStatistics.of(features[:50]), GaussianStatistics.of(features[50:])
    merged, whole = first.merge(second), GaussianStatistics.of(features)
    torch.testing.assert_close(merged.covariance, whole.covariance)
    torch.testing.assert_close(merged.mean, whole.mean)
    assert (merged.n, first.n, second.n) == (120, 50, 70)


def test_statistics_return_from_arrays_bit_by_bit() -> None:
    """to_arrays and from_arrays lose nothing."""
    statistics = GaussianStatistics.of(_features(30, 4, 9))
    back = GaussianStatistics.from_arrays(statistics.to_arrays())
    assert back.n == 30
    assert torch.equal(back.mean, statistics.mean)
    assert torch.equal(back.covariance, statistics.covariance)


def test_bad_features_are_refused_by_name() -> None:
    """Too few rows, other dimensions, wrong axes and non-finite values each say so."""
    good, one = GaussianStatistics.of(torch.eye(4)), GaussianStatistics.of(torch.ones(1, 4))
    with pytest.raises(MetricInputError, match="at least 2 samples, got 1"):
        frechet_distance(good, one)
    with pytest.raises(MetricInputError, match="dimensions 4 and 3"):
        frechet_distance(good, GaussianStatistics.of(torch.eye(3)))
    with pytest.raises(MetricInputError, match="dimension 4, got features of 3"):
        good.update(torch.eye(3))
    with pytest.raises(MetricInputError, match=r"must be \[N, D\]"):
        GaussianStatistics.of(torch.ones(2, 3, 4))
    with pytest.raises(NonFiniteError, match="row 1"):
        GaussianStatistics.of(np.array([[0.0, 1.0], [np.nan, 1.0]]))
    assert good.n == 4
