"""Noise: streams by name, shards of one stream, and the global stream left alone."""

import hashlib

import pytest
import torch

from hebm.randomness import (
    ShardedGenerator,
    derive_seed,
    named_generator,
    standard_normal,
)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_shards_are_the_rows_of_the_whole_draw(world_size: int) -> None:
    """What the processes draw, put together in order, is what one process draws for the whole batch."""
    whole = standard_normal(torch.empty(6, 2, dtype=torch.float64), seeded(0))
    rows = torch.empty(6 // world_size, 2, dtype=torch.float64)
    shards = [
        standard_normal(rows, ShardedGenerator(seeded(0), rank, world_size)) for rank in range(world_size)
    ]
    assert torch.equal(torch.cat(shards), whole)


def test_shards_leave_their_streams_in_the_same_state() -> None:
    """After a draw the processes' streams still agree, so the next draw is shared too."""
    first, second = seeded(0), seeded(0)
    standard_normal(torch.empty(4, 3), ShardedGenerator(first, 0, 2))
    standard_normal(torch.empty(4, 3), ShardedGenerator(second, 1, 2))
    assert torch.equal(first.get_state(), second.get_state())


def test_noise_is_standard_normal() -> None:
    """Mean 0 and variance 1, within five standard errors."""
    n = 100_000
    eps = standard_normal(torch.empty(n, 1, dtype=torch.float64), seeded(0))
    assert abs(eps.mean().item()) < 5 / n**0.5
    assert abs(eps.var().item() - 1) < 5 * (2 / n) ** 0.5


def test_noise_has_the_dtype_and_shape_of_its_template() -> None:
    """float64 in, float64 out, with and without shards."""
    like = torch.empty(2, 3, 4, dtype=torch.float64)
    for source in (seeded(0), ShardedGenerator(seeded(0), 1, 2), None):
        with torch.random.fork_rng(devices=[]):
            eps = standard_normal(like, source)
        assert (eps.dtype, eps.shape) == (torch.float64, like.shape)


def test_draws_from_a_generator_leave_the_global_stream_untouched() -> None:
    """Named generators, noise and integers do not move PyTorch's own stream."""
    before = torch.random.get_rng_state()
    generator = named_generator(0, "prior")
    standard_normal(torch.empty(3), generator)
    standard_normal(torch.empty(2, 1), ShardedGenerator(generator, 0, 2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_streams_differ_by_seed_and_by_name_and_repeat() -> None:
    """Same seed and names: the same stream; another seed, name or part: another."""

    def draw(seed: int, *names: str | int) -> list[float]:
        return torch.randn(3, generator=named_generator(seed, *names)).tolist()

    assert draw(0, "prior") == draw(0, "prior")
    others = [draw(1, "prior"), draw(0, "data"), draw(0, "prior", 1), draw(0, "prior", 2), draw(0)]
    assert len({tuple(d) for d in [draw(0, "prior"), *others]}) == 6


def test_the_derived_seed_is_the_documented_hash() -> None:
    """The first 63 bits of SHA-256 of the parts joined by slashes: streams stay the same over releases."""
    digest = hashlib.sha256(b"7/data/3").digest()
    assert derive_seed(7, "data", 3) == int.from_bytes(digest, "big") >> (256 - 63)
    assert 0 <= derive_seed(-5, "x") < 2**63
