r"""Convolutions of the ladder: halving or keeping a square map, and the way back to an exact size.

All are bias-free, initialised Xavier-normal, as in the networks released with arXiv:2310.09604.
"""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["TwinBlock", "conv", "halved", "initialise_convolutions", "transposed"]


def halved(size: int) -> int:
    """Size of a map after a halving convolution; a map of size 1 stays."""
    return size // 2 if size >= 2 else size


def conv(n_in: int, n_out: int, size: int, *, halve: bool) -> nn.Conv2d:
    """A bias-free convolution of a size×size map: 4×4 with stride 2 where it halves, 3×3 otherwise."""
    if halve and size >= 2:
        return nn.Conv2d(n_in, n_out, 4, stride=2, padding=1, bias=False)
    return nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)


def transposed(n_in: int, n_out: int, size_in: int, size_out: int) -> nn.ConvTranspose2d:
    """A bias-free transposed convolution: 4×4 with stride 2 to a size that `halved` maps back, 3×3 to the same."""
    if size_in == size_out:
        return nn.ConvTranspose2d(n_in, n_out, 3, padding=1, bias=False)
    odd = size_out - 2 * size_in
    return nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1, output_padding=odd, bias=False)


class TwinBlock(nn.Module):
    """Trunk and ladder blocks of one encoder level: two blocks of the same form that read the same input.

    Their first convolutions share the input and are computed as one of twice the channels (trunk first).

    Args:
        n_in: Input channels.
        n_out: Output channels of each block.
        size: Size of the input map.
        slope: Negative slope of the leaky ReLU.
    """

    def __init__(self, n_in: int, n_out: int, size: int, slope: float) -> None:
        super().__init__()
        self.slope = slope
        self.first = conv(n_in, 2 * n_out, size, halve=True)
        self.trunk = conv(n_out, n_out, halved(size), halve=False)
        self.ladder = conv(n_out, n_out, halved(size), halve=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, n_in, S, S] to the trunk's and the ladder's maps, each [B, n_out, S', S']."""
        trunk, ladder = F.leaky_relu(self.first(x), self.slope).chunk(2, dim=1)
        return (
            F.leaky_relu(self.trunk(trunk), self.slope),
            F.leaky_relu(self.ladder(ladder), self.slope),
        )


def initialise_convolutions(module: nn.Module) -> None:
    """Xavier-normal weights for every convolution below a module; linear layers keep PyTorch's default.

    The two halves of a twin block's first convolution are initialised as the separate layers they are.
    """
    for child in module.modules():
        if isinstance(child, TwinBlock):
            for half in child.first.weight.data.chunk(2, dim=0):
                nn.init.xavier_normal_(half)
            nn.init.xavier_normal_(child.trunk.weight)
            nn.init.xavier_normal_(child.ladder.weight)
    twins = {id(c) for t in module.modules() if isinstance(t, TwinBlock) for c in t.children()}
    for child in module.modules():
        if isinstance(child, nn.Conv2d | nn.ConvTranspose2d) and id(child) not in twins:
            nn.init.xavier_normal_(child.weight)
