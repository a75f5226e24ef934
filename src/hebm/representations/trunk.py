r"""The encoder's trunk: what its top level's mean and scale are linear maps of.

.. math:: \mu_L(x) = W\, t(x) + b, \quad t = \mathrm{dense}(\mathrm{reduction}(\mathrm{trunk}_{L-1}(\dots
          \mathrm{trunk}_1(x))))
"""

from torch import Tensor, nn

from hebm.models import LadderEncoder

__all__ = ["top_mean", "trunk_features"]


def trunk_features(encoder: LadderEncoder, x: Tensor) -> Tensor:
    """Images [B, C, H, W] in [0, 1] to the features [B, channels of the top level] that the top level's head reads.

    Args:
        encoder: The encoder; gradients reach it.
        x: The images.
    """
    return encoder.trunk(2 * x - 1)


def top_mean(encoder: LadderEncoder, x: Tensor) -> Tensor:
    """Images [B, C, H, W] in [0, 1] to the top level's posterior means [B, d_L], without the levels below."""
    head = encoder.heads[-1]
    assert isinstance(head.mean, nn.Linear)
    mean: Tensor = head.mean(trunk_features(encoder, x))
    return mean
