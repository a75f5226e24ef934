"""Batches visit every image once an epoch; the rate falls along half a cosine; only what is asked for moves."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from hebm.errors import DataError, NonFiniteError
from hebm.representations.steps import SteppedAdam, batch_rows, require_finite_loss


def test_every_epoch_is_a_pass_in_another_order() -> None:
    """7 images in batches of 3: two batches an epoch, no image twice, the seventh left out; as many as asked for."""
    rows = list(batch_rows(7, 3, n_steps=5, seed=0))
    assert [len(batch) for batch in rows] == [3] * 5
    epochs = [torch.cat(rows[:2]), torch.cat(rows[2:4])]
    assert all(len(set(epoch.tolist())) == 6 for epoch in epochs)
    assert not torch.equal(*epochs)
    again, other = (list(batch_rows(7, 3, n_steps=5, seed=seed)) for seed in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(rows, again, strict=True))
    assert not torch.equal(torch.stack(rows), torch.stack(other))


def test_fewer_images_than_a_batch_are_refused() -> None:
    """The error names the key."""
    with pytest.raises(DataError, match=r"sample_efficiency\.batch_size"):
        next(batch_rows(2, 3, n_steps=1, seed=0))


def test_the_rate_falls_to_zero_along_half_a_cosine() -> None:
    """Adam moves each weight by its rate where the gradient does not change."""
    layer = nn.Linear(1, 1, bias=False).double()
    optimizer = SteppedAdam(layer, lr=0.1, n_steps=4, beta_1=0.5)
    assert optimizer.optimizer.param_groups[0]["betas"] == (0.5, 0.999)
    places = [layer.weight.item()]
    for _ in range(4):
        optimizer.step(layer.weight.sum())
        places.append(layer.weight.item())
    moves = [a - b for a, b in pairwise(places)]
    expected = [0.1 * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert moves == pytest.approx(expected, rel=1e-6)


def test_gradients_do_not_pile_up_or_reach_others() -> None:
    """A loss of two layers moves one, from the new gradient alone."""
    ours, other = nn.Linear(2, 1), nn.Linear(2, 1)
    before = other.weight.clone()
    optimizer = SteppedAdam(ours, lr=0.1, n_steps=10)
    for _ in range(2):
        optimizer.step((ours(torch.ones(1, 2)) * other(torch.ones(1, 2))).sum())
        gradient = ours.weight.grad.clone()
    assert torch.equal(other.weight, before)
    assert other.weight.grad is None
    torch.testing.assert_close(gradient, other(torch.ones(1, 2)).detach().expand(1, 2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_none_stops_the_run(value: float) -> None:
    """With its name and step; a finite one is returned."""
    with pytest.raises(NonFiniteError, match="the loss of it is not finite at step 7"):
        require_finite_loss(torch.tensor(value), "it", 7)
    assert require_finite_loss(torch.tensor(1.5), "it", 7) == 1.5
