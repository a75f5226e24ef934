"""The composed model: coordinates, refusals, sampling and conditional resampling."""

from collections.abc import Callable

import pytest
import torch
from torch.distributions import Normal

from hebm.errors import ImageShapeError, LatentShapeError
from hebm.models import (
    JointModel,
    LadderEncoder,
    LadderGenerator,
    LadderGeometry,
    LevelShape,
    make_likelihood,
)
from hebm.priors import EnergyNetwork, GaussianPrior, JointPrior
from hebm.samplers import ShortRunLangevin

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (3, 1, 2)


def joint_model(prior: str = "joint", *, n_steps: int = 5, lipschitz: float | None = None) -> JointModel:
    torch.manual_seed(0)
    geometry = LadderGeometry((1, 8, 8), [LevelShape(d, 8) for d in DIMS])
    generator = LadderGenerator(geometry, make_likelihood("gaussian", 1, 0.3))
    encoder = LadderEncoder(geometry)
    base = GaussianPrior(DIMS)
    energy = EnergyNetwork(DIMS, width=8, depth=2, lipschitz=lipschitz)
    chosen = base if prior == "gaussian" else JointPrior(base, energy)
    return JointModel(generator, encoder, chosen, ShortRunLangevin(n_steps=n_steps)).double()


def images(n: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=generator, dtype=torch.float64)


def test_images_are_doubled_and_shifted_into_model_coordinates(seeded: Seeded) -> None:
    """x in [0, 1] enters encoder and likelihood as 2x - 1, and means come back as (y + 1) / 2."""
    model, x = joint_model(), images(3, seeded(0))
    posterior, direct = model.encode(x), model.encoder(2 * x - 1)
    torch.testing.assert_close(posterior.mean, direct.mean)
    y_hat = model.generator(posterior.mean).mean
    torch.testing.assert_close(model.decode(posterior.mean), (y_hat + 1) / 2)
    expected = Normal(y_hat, 0.3).log_prob(2 * x - 1).sum((1, 2, 3))
    torch.testing.assert_close(model.log_likelihood(x, posterior.mean), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(2, 1, 9, 9), (2, 3, 8, 8), (1, 8, 8), (2, 1, 8, 9), (8, 8)])
def test_images_of_another_shape_are_refused_by_the_model(shape: tuple[int, ...]) -> None:
    """The message says what is expected and what came."""
    with pytest.raises(ImageShapeError, match=r"images \[B, 1, 8, 8\] in \[0, 1\] are expected"):
        joint_model().encode(torch.zeros(shape, dtype=torch.float64))


def test_byte_images_are_refused() -> None:
    """They would be read as 0 to 255."""
    with pytest.raises(ImageShapeError, match="divide bytes by 255"):
        joint_model().encode(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_prior_samples_are_chains_from_the_base(seeded: Seeded) -> None:
    """Base draw first, then the sampler's steps, from one generator; 0 steps is the base draw itself."""
    model, generator = joint_model(), seeded(0)
    start = model.prior.sample_base(4, like=torch.empty(0, dtype=torch.float64), generator=generator)
    end = model.sampler(model.prior.density(), start, generator=generator).latents
    assert all(
        torch.equal(a, b) for a, b in zip(end, model.sample_prior(4, generator=seeded(0)), strict=True)
    )
    base = model.sample_prior(4, n_steps=0, generator=seeded(0))
    assert all(torch.equal(a, b) for a, b in zip(start, base, strict=True))


def test_a_gaussian_prior_is_sampled_without_chains(seeded: Seeded) -> None:
    """Its samples are base draws whatever the number of steps."""
    model = joint_model("gaussian")
    base = model.prior.sample_base(4, like=torch.empty(0, dtype=torch.float64), generator=seeded(0))
    assert all(
        torch.equal(a, b) for a, b in zip(base, model.sample_prior(4, generator=seeded(0)), strict=True)
    )


@pytest.mark.parametrize("prior", ["gaussian", "joint"])
def test_resampling_redraws_the_named_levels_alone(prior: str, seeded: Seeded) -> None:
    """The other levels stay bit by bit; with no level named nothing moves."""
    model = joint_model(prior)
    z = model.sample_prior(4, generator=seeded(0))
    for levels in ([0], [1, 2], [0, 1, 2], []):
        redrawn = model.resample(z, levels, generator=seeded(1))
        assert [not torch.equal(a, b) for a, b in zip(z, redrawn, strict=True)] == [
            i in levels for i in range(3)
        ]


def test_resampling_depends_on_the_held_levels_under_a_joint_energy_alone(seeded: Seeded) -> None:
    """With the same noise, another value of the held level gives another redraw; under the Gaussian it does not."""
    for prior, depends in (("gaussian", False), ("joint", True)):
        model = joint_model(prior, n_steps=20)
        z = model.sample_prior(4, generator=seeded(0))
        other = (z[0] + 3, z[1], z[2])
        ends = [model.resample(held, [2], generator=seeded(1))[2] for held in (z, other)]
        assert torch.equal(*ends) is not depends


def test_resampling_refuses_levels_of_another_shape(seeded: Seeded) -> None:
    """And levels that do not exist."""
    model = joint_model()
    z = model.sample_prior(2, generator=seeded(0))
    with pytest.raises(LatentShapeError, match="top first"):
        model.resample(tuple(reversed(z)), [0])


@pytest.mark.parametrize("training", [True, False])
def test_sampling_changes_nothing_in_the_model(training: bool, seeded: Seeded) -> None:
    """No parameter, buffer, gradient or training flag moves; images carry no history and lie in [0, 1]."""
    model = joint_model(lipschitz=1.0).train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    learns = [p.requires_grad for p in model.parameters()]
    x = model.sample(3, generator=seeded(0))
    model.resample(model.sample_prior(2, generator=seeded(1)), [0], generator=seeded(2))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == learns
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training is training for module in model.modules())
    assert not x.requires_grad
    assert 0 <= x.min() <= x.max() <= 1


def test_samples_are_decoded_prior_draws(seeded: Seeded) -> None:
    """The mean of p(x|z) at the chain's end; the global stream is untouched."""
    model = joint_model()
    before = torch.random.get_rng_state()
    expected = model.decode(model.sample_prior(3, generator=seeded(0)))
    assert torch.equal(model.sample(3, generator=seeded(0)), expected)
    assert torch.equal(torch.random.get_rng_state(), before)
