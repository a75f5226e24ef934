"""Generator and encoder for every number of levels, image size, channel count and merge."""

from itertools import product

import pytest
import torch

from hebm.errors import ConfigError, LatentShapeError
from hebm.models import LadderEncoder, LadderGenerator, LadderGeometry, LevelShape, make_likelihood

pytestmark = pytest.mark.usefixtures("on_device")
SIZES = (8, 9, 28, 32, 64, 128)


def geometry(n_levels: int, size: int, channels: int) -> LadderGeometry:
    """Distinct numbers of latents (1 at the bottom) and channels per level, top first."""
    levels = [LevelShape(n_levels - i, 3 + n_levels - i) for i in range(n_levels)]
    return LadderGeometry((channels, size, size), levels)


def generator_for(shape: LadderGeometry, merge: str) -> LadderGenerator:
    return LadderGenerator(shape, make_likelihood("gaussian", shape.image_shape[0], 0.3), merge=merge)


def every_parameter_matters(module: torch.nn.Module, output: torch.Tensor) -> bool:
    grads = torch.autograd.grad(output, list(module.parameters()), retain_graph=True)
    return all(g.abs().sum() > 0 for g in grads)


@pytest.mark.parametrize("merge", ["add", "concat"])
@pytest.mark.parametrize("n_levels", [1, 2, 3, 5])
def test_every_latent_and_parameter_of_the_generator_reaches_the_image(n_levels: int, merge: str) -> None:
    """One item, every size and channel count: the image has the size, and nothing is disconnected from it."""
    torch.manual_seed(0)
    for size, channels in product(SIZES, (1, 3)):
        shape = geometry(n_levels, size, channels)
        generator = generator_for(shape, merge).double()
        latents = tuple(torch.randn(1, d, dtype=torch.float64, requires_grad=True) for d in shape.level_dims)
        mean = generator(latents).mean
        assert mean.shape == (1, channels, size, size)
        probe = (mean * torch.randn_like(mean)).sum()
        grads = torch.autograd.grad(probe, latents, retain_graph=True)
        assert all((g != 0).all() for g in grads)
        assert every_parameter_matters(generator, probe)


@pytest.mark.parametrize("n_levels", [1, 2, 3, 5])
def test_every_parameter_of_the_encoder_reaches_the_posterior(n_levels: int) -> None:
    """One item, every size and channel count: one normal per level, top first, and nothing is disconnected."""
    torch.manual_seed(0)
    for size, channels in product(SIZES, (1, 3)):
        shape = geometry(n_levels, size, channels)
        encoder = LadderEncoder(shape).double()
        posterior = encoder(torch.rand(1, channels, size, size, dtype=torch.float64) * 2 - 1)
        assert [tuple(q.mean.shape) for q in posterior] == [(1, d) for d in shape.level_dims]
        assert [tuple(q.scale.shape) for q in posterior] == [(1, d) for d in shape.level_dims]
        assert every_parameter_matters(encoder, sum(q.mean.sum() + q.scale.sum() for q in posterior))


@pytest.mark.parametrize("merge", ["add", "concat"])
def test_an_item_does_not_depend_on_the_rest_of_its_batch(merge: str) -> None:
    """A batch of one gives what the item gives within a larger batch: no batch statistics."""
    shape = geometry(3, 9, 3)
    generator, encoder = generator_for(shape, merge).double(), LadderEncoder(shape).double()
    latents = tuple(torch.randn(4, d, dtype=torch.float64) for d in shape.level_dims)
    images = generator(latents).mean
    torch.testing.assert_close(generator(tuple(z[1:2] for z in latents)).mean, images[1:2])
    torch.testing.assert_close(encoder(images[1:2]).mean, tuple(m[1:2] for m in encoder(images).mean))


def test_a_level_reads_the_trunk_below_it_only() -> None:
    """Zeroing the lowest trunk convolution changes the levels above and leaves the bottom level as it was."""
    shape = geometry(3, 32, 1)
    encoder = LadderEncoder(shape).double()
    y = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    before = encoder(y)
    with torch.no_grad():
        encoder.blocks[0].trunk.weight.zero_()
    after = encoder(y)
    assert torch.equal(before[2].mean, after[2].mean)
    assert not torch.equal(before[1].mean, after[1].mean)
    assert not torch.equal(before[0].mean, after[0].mean)


def test_the_encoder_has_a_floor_under_its_variance() -> None:
    """σ² = exp(log-variance) + 1e-6, as released: no posterior collapses to a point."""
    encoder = LadderEncoder(geometry(1, 8, 1)).double()
    with torch.no_grad():
        encoder.heads[0].log_variance.weight.zero_()
        encoder.heads[0].log_variance.bias.fill_(-100)
    scale = encoder(torch.zeros(1, 1, 8, 8, dtype=torch.float64))[0].scale
    torch.testing.assert_close(scale, torch.full_like(scale, 1e-3), rtol=1e-9, atol=0)


def test_the_top_map_is_at_most_eight_pixels_wide() -> None:
    """Large images with few levels are halved further, so the top's dense layers stay small."""
    for n_levels, size in product((1, 2, 3, 5), SIZES):
        shape = geometry(n_levels, size, 1)
        assert shape.reduction_sizes[-1] <= 8
        assert list(shape.reduction_sizes) == sorted(shape.reduction_sizes, reverse=True)


@pytest.mark.parametrize(
    ("image_shape", "message"),
    [
        ((1, 28, 32), r"must be square, but these are 28×32; crop or resize them \(data.size=28\)"),
        ((1, 7, 7), "8 to 128 pixels wide, but these have 7"),
        ((3, 129, 129), "8 to 128 pixels wide, but these have 129"),
        ((2, 32, 32), "1 or 3 channels, but these have 2"),
    ],
)
def test_images_of_other_shapes_are_refused(image_shape: tuple[int, int, int], message: str) -> None:
    """The message says what came and what to do."""
    with pytest.raises(ConfigError, match=message):
        LadderGeometry(image_shape, [LevelShape(2, 8)])


def test_a_ladder_without_levels_is_refused() -> None:
    """At least one."""
    with pytest.raises(ConfigError, match="at least one level"):
        LadderGeometry((1, 8, 8), [])


def test_an_unknown_merge_is_refused() -> None:
    """The message lists what there is."""
    with pytest.raises(ValueError, match=r"\['add', 'concat'\]"):
        generator_for(geometry(2, 8, 1), "multiply")


def test_latents_bottom_first_are_refused() -> None:
    """The generator checks its latents against its levels."""
    shape = geometry(2, 8, 1)
    with pytest.raises(LatentShapeError, match="top first"):
        generator_for(shape, "add")(tuple(torch.zeros(1, d) for d in reversed(shape.level_dims)))


def test_convolutions_start_xavier_normal_and_linear_layers_as_pytorch_has_them() -> None:
    """The halves of a twin convolution are initialised as the two separate layers they are."""
    torch.manual_seed(0)
    encoder = LadderEncoder(LadderGeometry((3, 32, 32), [LevelShape(4, 64), LevelShape(4, 64)]))
    first = encoder.blocks[0].first.weight
    expected = (2 / ((3 + 64) * 16)) ** 0.5  # Xavier: fans of one half, not of both
    for half in first.chunk(2):
        assert abs(half.std().item() - expected) < 5 * expected / (2 * half.numel()) ** 0.5
    bound = 1 / encoder.top[0].in_features ** 0.5
    assert encoder.top[0].weight.abs().max().item() <= bound
