"""Convolutions of the ladder: exact sizes down and back up, twin blocks, precision."""

import pytest
import torch
import torch.nn.functional as F

from hebm.nn import TwinBlock, at_least_float32, conv, halved, transposed

pytestmark = pytest.mark.usefixtures("on_device")


@pytest.mark.parametrize("size", [*range(1, 34), 64, 127, 128])
def test_a_halved_map_comes_back_to_its_exact_size(size: int) -> None:
    """Halving then transposing gives the size one started from, odd ones and 1 too."""
    x = torch.zeros(1, 1, size, size)
    small = conv(1, 1, size, halve=True)(x)
    assert small.shape[2:] == (halved(size), halved(size))
    assert transposed(1, 1, halved(size), size)(small).shape == x.shape
    assert conv(1, 1, size, halve=False)(x).shape == x.shape


def test_convolutions_have_no_bias() -> None:
    """A black map stays black."""
    for layer in (
        conv(2, 3, 8, halve=True),
        conv(2, 3, 8, halve=False),
        transposed(2, 3, 4, 8),
        transposed(2, 3, 4, 4),
    ):
        assert layer.bias is None


def test_a_twin_block_is_two_separate_blocks() -> None:
    """Trunk from the first half of the shared convolution's channels, ladder from the second."""
    torch.manual_seed(0)
    block = TwinBlock(2, 3, 8, slope=0.01).double()
    x = torch.randn(2, 2, 8, 8, dtype=torch.float64)

    def separate(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        hidden = F.leaky_relu(F.conv2d(x, first, stride=2, padding=1), 0.01)
        return F.leaky_relu(F.conv2d(hidden, second, padding=1), 0.01)

    trunk, ladder = block(x)
    torch.testing.assert_close(trunk, separate(block.first.weight[:3], block.trunk.weight))
    torch.testing.assert_close(ladder, separate(block.first.weight[3:], block.ladder.weight))


def test_half_precision_is_widened_and_nothing_is_narrowed() -> None:
    """float64 must not pass through float32."""
    dtypes = {torch.bfloat16: torch.float32, torch.float16: torch.float32}
    dtypes |= {torch.float32: torch.float32, torch.float64: torch.float64}
    for given, expected in dtypes.items():
        assert at_least_float32(torch.ones(1, dtype=given)).dtype == expected
