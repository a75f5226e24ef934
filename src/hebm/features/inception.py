"""The Inception-v3 of the standard FID: the TensorFlow graph of 2015-12-05, as layers with public weights.

It differs from the classification network in its pooling: averages in the mixed blocks leave padding out of
their count, and the last block takes a maximum instead. The fc layer has 1008 outputs. Images are resized to
299 x 299 bilinearly (corners not aligned) and scaled to [-1, 1]; the features are the 2048 spatial means
before fc.

Source: Szegedy et al. (2016), arXiv:1512.00567 (the blocks); Heusel et al. (2017), arXiv:1706.08500 (their
use for a distance).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["InceptionV3", "average_pool_without_padding"]

Kernel = int | tuple[int, int]


class Conv(NamedTuple):
    """One convolution of a table: its name in the weight file, output channels, kernel, stride."""

    name: str
    width: int
    kernel: Kernel = 1
    stride: int = 1


Stage = Conv | tuple[Conv, Conv]  # a pair runs side by side, its outputs concatenated
Path = tuple[Stage, ...]
Pool = Callable[[Tensor], Tensor]


class NormalisedConv(nn.Module):
    """Convolution without bias, batch normalisation, ReLU; padded to keep the size where the stride is 1."""

    def __init__(self, n_in: int, spec: Conv, *, padded: bool = True) -> None:
        super().__init__()
        kernel = spec.kernel if isinstance(spec.kernel, tuple) else (spec.kernel, spec.kernel)
        padding = (kernel[0] // 2, kernel[1] // 2) if padded and spec.stride == 1 else (0, 0)
        self.conv = nn.Conv2d(n_in, spec.width, kernel, spec.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(spec.width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Paths of convolutions over one input, and a pooled path; all outputs concatenated.

    Args:
        n_in: Channels of the input.
        paths: The convolutional paths, in the order of their outputs.
        pool: First step of the last path.
        pool_width: Channels of the 1 x 1 convolution after the pool; None leaves the pool bare.
    """

    def __init__(self, n_in: int, paths: tuple[Path, ...], pool: Pool, pool_width: int | None = None) -> None:
        super().__init__()
        self._paths, self._pool = paths, pool
        self._pool_path: Path = () if pool_width is None else (Conv("branch_pool", pool_width),)
        self.width = sum(self._add(n_in, path) for path in (*paths, self._pool_path))

    def forward(self, x: Tensor) -> Tensor:
        outputs = [self._follow(path, x) for path in self._paths]
        return torch.cat([*outputs, self._follow(self._pool_path, self._pool(x))], 1)

    def _add(self, n_in: int, path: Path) -> int:
        for stage in path:
            convs = _convs(stage)
            for spec in convs:
                self.add_module(spec.name, NormalisedConv(n_in, spec))
            n_in = sum(spec.width for spec in convs)
        return n_in

    def _follow(self, path: Path, x: Tensor) -> Tensor:
        for stage in path:
            x = torch.cat([self.get_submodule(spec.name)(x) for spec in _convs(stage)], 1)
        return x


class InceptionV3(nn.Module):
    """The whole network; its state has the names and shapes of the public weight file."""

    dim = 2048

    def __init__(self) -> None:
        super().__init__()
        width = 3
        for spec, padded in _STEM:
            self.add_module(spec.name, NormalisedConv(width, spec, padded=padded))
            width = spec.width
        for name, (paths, pool, pool_width) in _MIXED.items():
            block = Mixed(width, paths, pool, pool_width)
            self.add_module(name, block)
            width = block.width
        self.fc = nn.Linear(width, 1008)

    def forward(self, images: Tensor) -> Tensor:
        """Features of colour images, [B, 3, H, W] in [0, 1] to [B, 2048]."""
        x = F.interpolate(images, size=(299, 299), mode="bilinear", align_corners=False)
        return self.features(2 * x - 1)

    def features(self, x: Tensor) -> Tensor:
        """Features of scaled images, [B, 3, 299, 299] in [-1, 1] to [B, 2048]."""
        for spec, _ in _STEM:
            x = self.get_submodule(spec.name)(x)
            if spec.name in _POOLED_AFTER:
                x = F.max_pool2d(x, 3, stride=2)
        for name in _MIXED:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


def average_pool_without_padding(x: Tensor) -> Tensor:
    """Average of each 3 x 3 neighbourhood over the pixels that exist, same size."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _max_pool_same(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)


def _max_pool_half(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2)


def _convs(stage: Stage) -> tuple[Conv, ...]:
    return (stage,) if isinstance(stage, Conv) else stage


def _path(prefix: str, *steps: tuple[int, Kernel] | tuple[int, Kernel, int]) -> Path:
    """A path of convolutions named ``prefix_1``, ``prefix_2``, ...; each step is width, kernel[, stride]."""
    return tuple(Conv(f"{prefix}_{i}", *step) for i, step in enumerate(steps, start=1))


def _size_35(pool_width: int) -> tuple[tuple[Path, ...], Pool, int | None]:
    paths: tuple[Path, ...] = (
        (Conv("branch1x1", 64),),
        _path("branch5x5", (48, 1), (64, 5)),
        _path("branch3x3dbl", (64, 1), (96, 3), (96, 3)),
    )
    return paths, average_pool_without_padding, pool_width


def _size_17(inner: int) -> tuple[tuple[Path, ...], Pool, int | None]:
    row, column = (1, 7), (7, 1)
    doubled = ((inner, 1), (inner, column), (inner, row), (inner, column), (192, row))
    paths: tuple[Path, ...] = (
        (Conv("branch1x1", 192),),
        _path("branch7x7", (inner, 1), (inner, row), (192, column)),
        _path("branch7x7dbl", *doubled),
    )
    return paths, average_pool_without_padding, 192


def _size_8(pool: Pool) -> tuple[tuple[Path, ...], Pool, int | None]:
    def split(prefix: str) -> Stage:
        return Conv(f"{prefix}a", 384, (1, 3)), Conv(f"{prefix}b", 384, (3, 1))

    paths: tuple[Path, ...] = (
        (Conv("branch1x1", 320),),
        (Conv("branch3x3_1", 384), split("branch3x3_2")),
        (*_path("branch3x3dbl", (448, 1), (384, 3)), split("branch3x3dbl_3")),
    )
    return paths, pool, 192


_STEM: tuple[tuple[Conv, bool], ...] = (
    (Conv("Conv2d_1a_3x3", 32, 3, 2), False),
    (Conv("Conv2d_2a_3x3", 32, 3), False),
    (Conv("Conv2d_2b_3x3", 64, 3), True),
    (Conv("Conv2d_3b_1x1", 80, 1), False),
    (Conv("Conv2d_4a_3x3", 192, 3), False),
)
_POOLED_AFTER = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")
_HALVE_35: tuple[Path, ...] = (
    (Conv("branch3x3", 384, 3, 2),),
    _path("branch3x3dbl", (64, 1), (96, 3), (96, 3, 2)),
)
_HALVE_17: tuple[Path, ...] = (
    _path("branch3x3", (192, 1), (320, 3, 2)),
    _path("branch7x7x3", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2)),
)
_MIXED: dict[str, tuple[tuple[Path, ...], Pool, int | None]] = {
    "Mixed_5b": _size_35(32),
    "Mixed_5c": _size_35(64),
    "Mixed_5d": _size_35(64),
    "Mixed_6a": (_HALVE_35, _max_pool_half, None),
    "Mixed_6b": _size_17(128),
    "Mixed_6c": _size_17(160),
    "Mixed_6d": _size_17(160),
    "Mixed_6e": _size_17(192),
    "Mixed_7a": (_HALVE_17, _max_pool_half, None),
    "Mixed_7b": _size_8(average_pool_without_padding),
    "Mixed_7c": _size_8(_max_pool_same),
}
