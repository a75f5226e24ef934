"""Precision and recall: which is which, and against a loop over points."""

import pytest
import torch
from torch import Tensor

from hebm.metrics import MetricInputError, PrecisionRecall, precision_recall


def _normal(n: int, seed: int, *, dim: int = 4, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64) + shift


def _two_modes(n: int, seed: int) -> Tensor:
    return torch.cat([_normal(n // 2, seed, shift=-50), _normal(n // 2, seed + 1, shift=50)])


def test_a_generator_of_one_mode_is_precise_but_recalls_half() -> None:
    """Fake = one of two real modes: all its pictures look right, half the data is missing."""
    real = _two_modes(200, 0)
    fake = real[:100].repeat(2, 1) + 1e-3 * _normal(200, 2)
    assert precision_recall(real, fake, k=5) == PrecisionRecall(precision=1.0, recall=0.5)


def test_a_generator_with_a_wrong_mode_recalls_all_but_is_half_precise() -> None:
    """Real = one of two fake modes: nothing is missing, half the pictures are wrong."""
    fake = _two_modes(200, 0)
    real = fake[:100].repeat(2, 1) + 1e-3 * _normal(200, 2)
    assert precision_recall(real, fake, k=5) == PrecisionRecall(precision=0.5, recall=1.0)


def _by_loop(points: Tensor, manifold: Tensor, k: int) -> float:
    hits = 0
    for point in points:
        for i, centre in enumerate(manifold):
            others = torch.cat([manifold[:i], manifold[i + 1 :]])
            radius = (others - centre).norm(dim=1).sort().values[k - 1]
            if (point - centre).norm() <= radius:
                hits += 1
                break
    return hits / len(points)


@pytest.mark.parametrize("k", [1, 3])
def test_shares_are_those_of_a_loop_over_points(k: int) -> None:
    """Partial overlap, far from the origin: counted point by point, in any chunk size."""
    real, fake = _normal(40, 3, shift=1000), _normal(40, 4, shift=1000.7)
    expected = PrecisionRecall(_by_loop(fake, real, k), _by_loop(real, fake, k))
    assert 0 < expected.precision != expected.recall > 0
    for chunk in (7, 40, 1000):
        assert precision_recall(real, fake, k=k, chunk=chunk) == expected


def test_the_larger_set_is_cut_to_the_smaller() -> None:
    """Counts enter the radii, so unequal sets are compared at the smaller count, chosen by the generator."""
    real, fake = _normal(60, 5), _normal(30, 6)
    chosen = real[torch.randperm(60, generator=torch.Generator().manual_seed(1))[:30]]
    cut = precision_recall(real, fake, generator=torch.Generator().manual_seed(1))
    assert cut == precision_recall(chosen, fake)
    capped = precision_recall(real, real, max_samples=10, generator=torch.Generator().manual_seed(1))
    assert capped.precision < 1  # two different choices of 10 of the 60


def test_bad_sets_are_refused() -> None:
    """k neighbours need k + 1 points; one extractor on both sides."""
    with pytest.raises(MetricInputError, match="at least 4 rows, got 3"):
        precision_recall(torch.eye(3), torch.eye(3))
    with pytest.raises(MetricInputError, match="dimension 5 but fake ones 4"):
        precision_recall(torch.eye(5), torch.ones(5, 4))
    with pytest.raises(MetricInputError, match="k >= 1"):
        precision_recall(torch.eye(5), torch.eye(5), k=0)
