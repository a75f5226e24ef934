"""The kernel distance against a double loop and torchmetrics."""

import math

import pytest
import torch
from torch import Tensor, nn

from hebm.metrics import MetricInputError, kernel_distance, polynomial_mmd


def _normal(n: int, dim: int, seed: int, *, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64) + shift


def test_mmd_is_the_double_sum_of_its_definition() -> None:
    """Three loops over pairs, the diagonal left out within a set, give the same number."""
    x, y = _normal(7, 3, 0), _normal(5, 3, 1, shift=0.4)

    def k(a: Tensor, b: Tensor) -> float:
        return (a.dot(b).item() / 3 + 1) ** 3

    within_x = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j) / (7 * 6)
    within_y = sum(k(y[i], y[j]) for i in range(5) for j in range(5) if i != j) / (5 * 4)
    across = sum(k(a, b) for a in x for b in y) / 35
    assert polynomial_mmd(x, y) == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)


def test_expected_distance_is_zero_between_equal_distributions() -> None:
    """The estimate is unbiased: its mean over independent pairs is zero within its standard error."""
    estimates = torch.tensor(
        [polynomial_mmd(_normal(40, 4, 2 * i), _normal(40, 4, 2 * i + 1)) for i in range(400)]
    )
    assert abs(estimates.mean().item()) < 5 * estimates.std().item() / math.sqrt(400)


class _Identity(nn.Module):
    num_features = 6

    def forward(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance`:UserWarning")
def test_distance_agrees_with_torchmetrics_on_whole_sets() -> None:
    """With subsets as large as the sets both libraries compute one and the same estimate."""
    from torchmetrics.image.kid import KernelInceptionDistance

    real, fake = _normal(60, 6, 3), _normal(60, 6, 4, shift=0.2)
    other = KernelInceptionDistance(feature=_Identity(), subsets=2, subset_size=60)
    other.update(real, real=True)
    other.update(fake, real=False)
    ours = kernel_distance(real, fake, subset_size=60)
    assert ours.mean == pytest.approx(other.compute()[0].item(), rel=1e-5)
    assert ours.sd == 0


def test_subsets_scatter_around_the_estimate_of_the_whole_sets() -> None:
    """The mean over subsets stays within five standard errors of the full estimate."""
    real, fake = _normal(400, 5, 5), _normal(300, 5, 6, shift=0.3)
    generator = torch.Generator().manual_seed(0)
    subsets = kernel_distance(real, fake, n_subsets=200, subset_size=50, generator=generator)
    assert subsets.sd > 0
    assert abs(subsets.mean - polynomial_mmd(real, fake)) < 5 * subsets.sd / math.sqrt(200)


def test_distance_is_a_function_of_its_generator() -> None:
    """Equal generators agree, others differ, and the global stream does not move."""
    real, fake = _normal(100, 3, 7), _normal(100, 3, 8)
    state = torch.get_rng_state()

    def measure(seed: int) -> float:
        generator = torch.Generator().manual_seed(seed)
        return kernel_distance(real, fake, n_subsets=3, subset_size=20, generator=generator).mean

    assert measure(1) == measure(1) != measure(2)
    assert torch.equal(state, torch.get_rng_state())


def test_a_subset_size_above_the_count_is_lowered_to_the_smaller_set() -> None:
    """Default subsets of 1000 rows work on 30 and 40 rows."""
    real, fake = _normal(30, 3, 9), _normal(40, 3, 10)
    result = kernel_distance(real, fake, n_subsets=4, generator=torch.Generator().manual_seed(0))
    assert math.isfinite(result.mean)
    assert result.sd > 0  # 30 of the 40 rows: subsets differ


def test_bad_sets_are_refused() -> None:
    """One row, or two dimensions, are errors."""
    with pytest.raises(MetricInputError, match="at least 2 rows, got 1"):
        kernel_distance(torch.ones(5, 2), torch.ones(1, 2))
    with pytest.raises(MetricInputError, match="dimension 2 but fake ones 3"):
        kernel_distance(torch.ones(5, 2), torch.ones(5, 3))
    with pytest.raises(MetricInputError, match="subset_size >= 2"):
        kernel_distance(torch.ones(5, 2), torch.ones(5, 2), subset_size=1)
