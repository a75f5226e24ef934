"""Latents: top level first, flat and back."""

import pytest
import torch

from hebm.errors import LatentShapeError
from hebm.latents import check_latents, flatten_latents, level_indices, unflatten_latents

DIMS = (3, 1, 2)


def test_the_flat_state_holds_the_top_level_first() -> None:
    """Column 0 of the flat state is the first latent of the top level, the last one the bottom's last."""
    latents = tuple(torch.full((2, d), float(level)) for level, d in enumerate(DIMS))
    assert flatten_latents(latents)[0].tolist() == [0, 0, 0, 1, 2, 2]


def test_unflatten_inverts_flatten() -> None:
    """Flat to levels and back is the identity, and so is levels to flat and back."""
    flat = torch.arange(12.0).reshape(2, 6)
    latents = unflatten_latents(flat, DIMS)
    assert [tuple(z.shape) for z in latents] == [(2, 3), (2, 1), (2, 2)]
    assert latents[1].tolist() == [[3.0], [9.0]]
    assert torch.equal(flatten_latents(latents), flat)


@pytest.mark.parametrize("shape", [(2, 5), (2, 7), (6,), (1, 2, 6)])
def test_a_flat_state_of_another_width_is_refused(shape: tuple[int, ...]) -> None:
    """The message names the expected width."""
    with pytest.raises(LatentShapeError, match="6 latents per item"):
        unflatten_latents(torch.zeros(shape), DIMS)


def test_level_indices_are_the_columns_of_the_level() -> None:
    """Setting the named columns of the flat state changes the named levels and no other."""
    flat = torch.zeros(1, 6)
    flat[:, level_indices(DIMS, {0, 2})] = 1
    assert [z.unique().tolist() for z in unflatten_latents(flat, DIMS)] == [[1.0], [0.0], [1.0]]
    assert level_indices(DIMS, [1]) == [3]
    assert level_indices(DIMS, []) == []


@pytest.mark.parametrize("level", [-1, 3])
def test_a_level_that_does_not_exist_is_refused(level: int) -> None:
    """Negative numbers do not count from the end."""
    with pytest.raises(LatentShapeError, match=r"do not exist: this model has levels 0 \(top\) to 2"):
        level_indices(DIMS, [level])


@pytest.mark.parametrize(
    "shapes",
    [
        [(2, 2), (2, 1), (2, 3)],  # bottom first
        [(2, 3), (2, 1)],
        [(2, 3), (2, 1), (2, 2), (2, 2)],
        [(2, 3), (2, 1), (3, 2)],
        [(2, 3), (2, 1), (2, 2, 1)],
    ],
)
def test_latents_of_other_shapes_are_refused(shapes: list[tuple[int, ...]]) -> None:
    """The wrong order, number of levels, width, batch size or rank is named."""
    with pytest.raises(LatentShapeError, match="top first"):
        check_latents(tuple(torch.zeros(shape) for shape in shapes), DIMS)


def test_latents_of_the_right_shapes_pass() -> None:
    """A batch of one passes, and an empty one."""
    for n in (0, 1):
        check_latents(tuple(torch.zeros(n, d) for d in DIMS), DIMS)
