"""The attack in an L∞ ball: for one latent its maximum is a corner of the ball, known in closed form."""

from itertools import pairwise

import pytest
import torch
from linear import LinearModel, images

from hebm.attacks import LinfAttack, symmetric_kl
from hebm.errors import ConfigError, ImageShapeError, LatentShapeError, NonFiniteError

RADIUS = 0.1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_maximum_is_a_corner_of_the_ball() -> None:
    """One latent of mean aᵀx and fixed scale: d = ± r sign(a), SKL = r² |a|₁² / 2 scale²."""
    model, x = LinearModel(), images(3, 0)
    result = LinfAttack(RADIUS, 20, 2)(model.encode, x, levels=(1,), generator=generator())
    a = model.a.detach()[2]
    expected = (RADIUS * a.abs().sum() / model.scale[2]).square() / 2
    torch.testing.assert_close(result.divergence, expected.expand(3), rtol=1e-9, atol=0)
    change = (result.images - x).flatten(1)
    side = (change @ a).sign()[:, None]
    torch.testing.assert_close(change, side * RADIUS * a.sign(), rtol=0, atol=1e-12)


def test_restarts_find_the_better_of_two_corners() -> None:
    """At the edge of the pixels' range one direction has less room; every start climbs one of the two."""
    model = LinearModel()
    a = model.a.detach()[2]
    x = torch.where(a > 0, 0.98, 0.02).reshape(1, 1, 3, 3).double()  # a · d can hardly grow, but fall
    result = LinfAttack(RADIUS, 20, 16)(model.encode, x, levels=(1,), generator=generator())
    room = {"up": 0.02, "down": RADIUS}
    values = {name: (r * a.abs().sum() / model.scale[2]).square().item() / 2 for name, r in room.items()}
    assert result.divergence.item() == pytest.approx(values["down"], rel=1e-9)
    assert result.divergence.item() == result.restarts.max().item()
    assert result.restarts.shape == (1, 16)
    assert result.images.min() >= 0
    assert result.images.max() <= 1


def test_the_divergence_is_that_of_the_image_that_comes_back() -> None:
    """On both levels, with the symmetric divergence, within the radius."""
    model, x = LinearModel(), images(4, 1)
    result = LinfAttack(RADIUS, 15, 3)(model.encode, x, levels=(0, 1), generator=generator())
    value = symmetric_kl(model.encode(result.images), model.encode(x), (0, 1))
    torch.testing.assert_close(result.divergence, value.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(result.divergence, result.restarts.max(1).values)
    assert (result.images - x).abs().max() <= RADIUS + 1e-12


def test_the_maximum_of_all_levels_is_found_among_the_corners() -> None:
    """A convex function on a box is greatest at a corner: all 512 are tried."""
    model, x = LinearModel(), images(1, 2)
    corners = torch.cartesian_prod(*[torch.tensor([-RADIUS, RADIUS], dtype=torch.float64)] * 9)
    everywhere = symmetric_kl(model.encode(x + corners.reshape(-1, 1, 3, 3)), model.encode(x), (0, 1))
    result = LinfAttack(RADIUS, 20, 32)(model.encode, x, levels=(0, 1), generator=generator())
    assert result.divergence.item() == pytest.approx(everywhere.max().item(), rel=1e-9)


def test_the_starts_are_uniform_in_the_ball() -> None:
    """Before any step that counts: a step count of 1 and a flat encoder leave the start or its first move."""
    seen = []

    def watching(x: torch.Tensor) -> object:
        seen.append(x.detach().clone())
        return model.encode(x)

    model, x = LinearModel(), images(1, 0)
    LinfAttack(RADIUS, 1, 4000)(watching, x, levels=(1,), generator=generator())
    start = ((seen[1] - x) / RADIUS).flatten()  # the first call is that of the clean image
    assert start.abs().max() <= 1
    error = 1 / (3 * len(start)) ** 0.5
    assert abs(start.mean()) < 5 * error
    assert start.square().mean().item() == pytest.approx(1 / 3, abs=5 * (4 / 45 / len(start)) ** 0.5)


def test_every_move_is_a_sign_step_within_ball_and_range() -> None:
    """d ← Π(d + r (1 - t / T) sign ∇SKL); of one latent the gradient's sign is sign(a) times that of aᵀd."""
    model, x = LinearModel(), images(2, 0, low=0.02, high=0.3)
    seen = []

    def watching(image: torch.Tensor) -> object:
        seen.append(image.detach().clone())
        return model.encode(image)

    LinfAttack(RADIUS, 4, 1)(watching, x, levels=(1,), generator=generator())
    a, positions = model.a.detach()[2].reshape(1, 3, 3), seen[1:]
    assert all(((p >= 0) & (p <= 1)).all() for p in positions)  # the start too
    for step, (before, after) in enumerate(pairwise(positions)):
        sign = a.sign() * ((before - x) * a).sum((1, 2, 3), keepdim=True).sign()
        moved = before + RADIUS * (1 - step / 4) * sign
        torch.testing.assert_close(after, moved.clamp(x - RADIUS, x + RADIUS).clamp(0, 1), rtol=0, atol=1e-12)


def test_same_generator_same_attack_whatever_the_batch() -> None:
    """The starts are common to all images; the global stream is not touched."""
    model, x = LinearModel(), images(3, 0)
    attack, state = LinfAttack(RADIUS, 3, 2), torch.get_rng_state()
    whole = attack(model.encode, x, levels=(0, 1), generator=generator()).images
    assert torch.equal(whole, attack(model.encode, x, levels=(0, 1), generator=generator()).images)
    alone = attack(model.encode, x[1:2], levels=(0, 1), generator=generator()).images
    torch.testing.assert_close(alone, whole[1:2], rtol=0, atol=1e-12)
    other = LinfAttack(RADIUS, 1, 1)(model.encode, x, levels=(0, 1), generator=generator(1)).images
    assert not torch.equal(
        LinfAttack(RADIUS, 1, 1)(model.encode, x, levels=(0, 1), generator=generator()).images, other
    )
    assert torch.equal(state, torch.get_rng_state())
    assert (model.a.grad, model.a.requires_grad) == (None, True)


def test_bad_requests_are_refused() -> None:
    """Levels, pixels, counts, and an encoder that returns nonsense."""
    model, x = LinearModel(), images(2, 0)
    with pytest.raises(LatentShapeError, match="name one or more"):
        LinfAttack(RADIUS)(model.encode, x, levels=(3,), generator=generator())
    with pytest.raises(ImageShapeError, match=r"in \[0, 1\]"):
        LinfAttack(RADIUS)(model.encode, 2 * x, levels=(0,), generator=generator())
    for bad in ((0.0, 5, 5), (0.1, 0, 5), (0.1, 5, 0)):
        with pytest.raises(ConfigError, match="must be positive"):
            LinfAttack(*bad)
    broken = LinearModel()
    broken.scale = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(NonFiniteError, match="attacked images is not finite"):
        LinfAttack(RADIUS, 2, 1)(broken.encode, x, levels=(0,), generator=generator())
