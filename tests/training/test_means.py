"""Running means of logged quantities."""

import torch

from hebm.training.means import RunningMeans


def test_a_quantity_is_averaged_over_the_steps_that_had_it() -> None:
    """A loss that ends in the middle of a log interval has the mean of its own steps; vectors go entry by entry."""
    means = RunningMeans()
    for step in range(5):
        values = {"rate": torch.tensor([float(step), 1.0])}
        means.add(values | {"loss": torch.tensor(6.0 + step)} if step < 2 else values)
    assert means.look(lambda mean: mean) == {"rate": [2.0, 1.0], "loss": 6.5}


def test_what_is_stored_goes_on_where_it_was() -> None:
    """Sums and counts survive a checkpoint; clear forgets them."""
    means, again = RunningMeans(), RunningMeans()
    means.add({"a": torch.tensor(1.0), "b": torch.tensor(3.0)})
    means.add({"a": torch.tensor(2.0)})
    again.load(means.tensors())
    again.add({"a": torch.tensor(6.0)})
    assert again.look(lambda mean: mean) == {"a": 3.0, "b": 3.0}
    again.clear()
    assert again.look(lambda mean: mean) == {}
