"""Regions of labels on a line, where everything can be counted."""

import pytest
import torch
from torch import Tensor

from hebm.evaluation.label_regions import LabelRegions

DRAWS = torch.tensor([0.0, 1, 3, 20, 21, 22, 50])[:, None].double()
LABELS = torch.tensor([4, 4, 4, 7, 7, 7, 9])


def line(*values: float) -> Tensor:
    return torch.tensor(values).double()[:, None]


def test_a_draw_reaches_to_its_kth_neighbour_of_the_same_label() -> None:
    """k = 1: 1, 1, 2 and 1, 1, 1; a label with no more than k draws has no region."""
    regions = LabelRegions.of(DRAWS, LABELS, k=1)
    assert regions.labels == (4, 7)
    assert [radii.tolist() for radii in regions.radii] == [[1, 1, 2], [1, 1, 1]]
    assert [radii.tolist() for radii in LabelRegions.of(DRAWS, LABELS, k=2).radii] == [[3, 2, 3], [2, 1, 2]]


def test_shares_are_counted_within_each_region_and_outside_all() -> None:
    """Of five draws of the prior three are by label 4, its edge included, one by 7, one by none."""
    found = LabelRegions.of(DRAWS, LABELS, k=1).compare(line(-1, 0.5, 5, 10, 20.5), line(0, 1, 21, 40))
    assert found["share"] == pytest.approx([3 / 5, 1 / 5])
    assert found["posterior_share"] == pytest.approx([2 / 4, 1 / 4])
    assert found["outside"] == pytest.approx(1 / 5)
    assert found["outside_se"] == pytest.approx((1 / 5 * 4 / 5 / 5) ** 0.5)
    assert found["posterior_outside"] == pytest.approx(1 / 4)
    assert found["without_mass"] == 0


@pytest.mark.parametrize(("n_there", "without"), [(0, 1), (3, 1), (4, 0)])
def test_less_than_a_tenth_of_the_posteriors_share_is_no_mass(n_there: int, without: int) -> None:
    """Label 7 has 30 of 40 posterior draws; of 50 draws of the prior, 3 are less than a tenth of that, 4 are not."""
    prior = line(*[0.0] * (50 - n_there), *[21.0] * n_there)
    others = line(*[21.0] * 30, *[0.0] * 10)
    assert LabelRegions.of(DRAWS, LABELS, k=1).compare(prior, others)["without_mass"] == without


def test_regions_that_overlap_count_a_draw_for_both_labels_and_as_inside_once() -> None:
    """As on a level that does not tell labels apart."""
    draws = line(0, 1, 2, 0, 1, 2)
    found = LabelRegions.of(draws, torch.tensor([0, 0, 0, 1, 1, 1]), k=1).compare(line(1, 9), line(1, 1))
    assert found["share"] == [0.5, 0.5]
    assert found["outside"] == 0.5
