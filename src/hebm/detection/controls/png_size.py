r"""Control: how many bytes an image takes as PNG."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hebm.detection.controls.base import StatisticScore, check_pixels

__all__ = ["PngSize"]


@dataclass(frozen=True)
class PngSize:
    r"""Size of the PNG file, or how far it is from that of normal images.

    .. math:: t(x) = \text{bytes of PNG}(\text{round}(255\,x)), \qquad s(x) = t(x) \;\text{ or }\; |t(x) - \bar t|

    Direction, chosen without looking at anomalies: a code length is a negative log-probability, so one-sided more bytes
    are more anomalous. Likelihoods of generative models follow this size, and simple images fool them, so the two-sided
    form stands beside it. A value near 0 of the one-sided form says that the other set is simpler.

    Args:
        two_sided: Distance from the normal images' mean instead of the raw value.

    Source: the role of compressed size: Serrà et al. (2020), arXiv:1909.11480.
    """

    two_sided: bool = False

    def fit(self, normals: Tensor) -> StatisticScore:
        """Remember the normal images' mean size. Scores are in bytes; the compressor is Pillow's at level 9."""
        values = _png_sizes(check_pixels(normals))
        return StatisticScore(
            _png_sizes, tuple(normals.shape[1:]), float(values.mean()) if self.two_sided else None
        )


def _png_sizes(x: Tensor) -> NDArray[np.float64]:
    pixels = (255 * x.double().clamp(0, 1)).round().byte().permute(0, 2, 3, 1).numpy()
    return np.array([_n_bytes(image) for image in pixels], dtype=np.float64)


def _n_bytes(pixels: NDArray[np.uint8]) -> int:
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        file, "PNG", compress_level=9
    )
    return file.getbuffer().nbytes
