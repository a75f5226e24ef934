r"""Sources of noise: named streams, shards of a stream, and per-item noise.

The library never seeds the global stream. One integer seed is turned into independent
``torch.Generator`` objects by *name*, so that adding a draw to one stream moves no other.
"""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "CommonGenerator",
    "NoiseSource",
    "ShardedGenerator",
    "derive_seed",
    "named_generator",
    "standard_normal",
]


@dataclass(frozen=True)
class ShardedGenerator:
    """One process's rows of a stream that all processes draw alike.

    Every process holds the same generator in the same state, draws the noise of the *whole* batch and keeps
    its own rows; so the numbers an item gets do not depend on how many processes share the batch.

    Args:
        generator: The stream, in the same state on every process.
        rank: This process, 0 to ``world_size`` - 1.
        world_size: How many processes share the batch, each with equally many rows.
    """

    generator: torch.Generator
    rank: int = 0
    world_size: int = 1


@dataclass(frozen=True)
class CommonGenerator:
    """The same draws for every item of a batch whose rows are items × copies, the copies of an item together.

    What is computed of an item then depends on neither the batch's size nor its order nor the other items; and as the
    noise is drawn in float64, on neither the dtype nor (with a generator on the CPU) the device beyond rounding.

    Args:
        generator: The stream.
        n_copies: Rows per item.
    """

    generator: torch.Generator
    n_copies: int


NoiseSource = torch.Generator | ShardedGenerator | CommonGenerator | None


def standard_normal(like: Tensor, generator: NoiseSource) -> Tensor:
    """Draw N(0, I) noise with the shape, dtype and device of a tensor.

    Args:
        like: Template, [B, ...].
        generator: Source of the noise, on the template's device; the global stream if None.

    Returns:
        Noise, shaped like the template.
    """
    if isinstance(generator, ShardedGenerator):
        n_rows = like.shape[0]
        shape = (n_rows * generator.world_size, *like.shape[1:])
        whole = torch.randn(shape, generator=generator.generator, dtype=like.dtype, device=like.device)
        return whole[generator.rank * n_rows : (generator.rank + 1) * n_rows]
    if isinstance(generator, CommonGenerator):
        source, shape = generator.generator, (generator.n_copies, *like.shape[1:])
        copies = torch.randn(shape, generator=source, dtype=torch.float64, device=source.device)
        return copies.to(like).repeat(like.shape[0] // generator.n_copies, *[1] * (like.ndim - 1))
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def derive_seed(seed: int, *names: str | int) -> int:
    """Hash a seed and names into a 63-bit seed; different names give independent streams."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def named_generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Make the generator of one named stream.

    Args:
        seed: The user's seed, any integer.
        names: What the stream is for, e.g. ``"prior"`` or ``"data", epoch``.
        device: Where the draws will be made.

    Returns:
        A generator that depends on the seed and the names alone.
    """
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))
