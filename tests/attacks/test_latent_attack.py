"""The latent attack against closed forms of a linear Gaussian encoder; divergences against torch."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from linear import DIMS, LinearModel, images
from scipy.optimize import minimize
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from hebm.attacks import LatentAttack, kl_over_levels, symmetric_kl, take_rows
from hebm.distributions import DiagonalNormal
from hebm.errors import ConfigError, ImageShapeError, LatentShapeError, NonFiniteError
from hebm.models import LatentPosterior

LEVEL_SETS = [(0, 1), (0,), (1,)]
ATTACK = LatentAttack(n_steps=500, step_size=0.05)


def random_posterior(seed: int, n: int = 5) -> LatentPosterior:
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randn(2, n, d, generator=generator, dtype=torch.float64) for d in DIMS]
    return LatentPosterior(tuple(DiagonalNormal(mean, (0.7 * log_scale).exp()) for mean, log_scale in levels))


def by_torch(q: LatentPosterior, p: LatentPosterior, levels: tuple[int, ...]) -> Tensor:
    def law(d: DiagonalNormal) -> Independent:
        return Independent(Normal(d.mean, d.scale), 1)

    return torch.stack([kl_divergence(law(q[i]), law(p[i])) for i in levels]).sum(0)


@pytest.mark.parametrize("levels", LEVEL_SETS)
def test_divergences_agree_with_torch(levels: tuple[int, ...]) -> None:
    """KL is that from the first to the second posterior; the symmetric one is the mean of both ways."""
    q, p = random_posterior(0), random_posterior(1)
    there, back = by_torch(q, p, levels), by_torch(p, q, levels)
    torch.testing.assert_close(kl_over_levels(q, p, levels), there, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(symmetric_kl(q, p, levels), (there + back) / 2, rtol=1e-10, atol=1e-12)


def test_levels_add_up() -> None:
    """All levels together are the sum of each alone: the levels are independent given the image."""
    q, p = random_posterior(0), random_posterior(1)
    parts = kl_over_levels(q, p, (0,)) + kl_over_levels(q, p, (1,))
    torch.testing.assert_close(kl_over_levels(q, p, (0, 1)), parts)


def test_rows_are_taken_in_order_and_repeated() -> None:
    """A scale that is common to all rows is spread first."""
    posterior = LatentPosterior((DiagonalNormal(torch.arange(3.0)[:, None], torch.full((1, 1), 0.5)),))
    taken = take_rows(posterior, torch.tensor([2, 0, 2]))
    assert taken[0].mean.flatten().tolist() == [2, 0, 2]
    assert taken[0].scale.shape == (3, 1)


def optimum(
    model: LinearModel, x: Tensor, target: Tensor, levels: tuple[int, ...], penalty: Tensor
) -> Tensor:
    """Where (AᵀDA + 2C) d = AᵀDA (x_t - x): KL is quadratic in d, D holds the attacked units' 1 / scale²."""
    units = [unit for level in levels for unit in ((0, 1), (2,))[level]]
    a, scale = model.a.detach()[units], model.scale[units]
    h = a.T @ (a / scale[:, None].square())
    systems = h + 2 * penalty[:, None, None] * torch.eye(len(h), dtype=h.dtype)
    d = torch.linalg.solve(systems, (target - x).flatten(1) @ h)
    return x + d.reshape(x.shape)


@pytest.mark.parametrize("levels", LEVEL_SETS)
def test_the_attack_reaches_the_closed_form_optimum(levels: tuple[int, ...]) -> None:
    """Within the box KL is a quadratic form, so the optimum solves a linear system; several penalties in one batch."""
    model, x, target = LinearModel(), images(4, 0), images(4, 1)
    penalty = torch.tensor([0.5, 3.0, 20.0, 200.0], dtype=torch.float64)
    result = ATTACK(model.encode, x, model.encode(target), levels=levels, penalty=penalty)
    expected = optimum(model, x, target, levels, penalty)
    assert ((expected > 0) & (expected < 1)).all()  # the box does not matter here
    torch.testing.assert_close(result.images, expected, rtol=0, atol=2e-4)
    divergence = kl_over_levels(model.encode(result.images), model.encode(target), levels)
    torch.testing.assert_close(result.divergence, divergence, rtol=1e-6, atol=1e-9)
    cost = penalty * (result.images - x).square().flatten(1).sum(1)
    torch.testing.assert_close(result.objective, divergence + cost, rtol=1e-6, atol=1e-9)


def test_pixels_stay_in_range_at_the_constrained_optimum() -> None:
    """Where the box matters, the result is that of an exact solver with bounds."""
    model, x, target = LinearModel(), images(3, 2, low=0.0, high=0.15), images(3, 3, low=0.85, high=1.0)
    penalty = torch.full((3,), 0.3, dtype=torch.float64)
    result = ATTACK(model.encode, x, model.encode(target), levels=(0, 1), penalty=penalty)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    for row in range(3):

        def objective(pixels: np.ndarray, row: int = row) -> tuple[float, np.ndarray]:
            image = torch.tensor(pixels).reshape(1, 1, 3, 3).requires_grad_()
            kl = kl_over_levels(model.encode(image), model.encode(target[row : row + 1]), (0, 1))
            value = (kl + 0.3 * (image - x[row : row + 1]).square().sum()).sum()
            (grad,) = torch.autograd.grad(value, image)
            return value.item(), grad.flatten().numpy()

        start = x[row].flatten().numpy()
        best = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * 9, tol=1e-14)
        on_the_edge = (best.x < 1e-9) | (best.x > 1 - 1e-9)
        assert on_the_edge.any()
        assert result.objective[row].item() == pytest.approx(best.fun, rel=1e-4)


def test_one_step_is_a_step_of_adam() -> None:
    """The first step of Adam goes by the step size against the sign of the gradient."""
    model, x, target = LinearModel(), images(2, 0), images(2, 1, low=0.0, high=1.0)
    penalty = torch.ones(2, dtype=torch.float64)
    moved = LatentAttack(1, 1e-3)(model.encode, x, model.encode(target), levels=(0, 1), penalty=penalty)
    torch.testing.assert_close((moved.images - x).abs(), torch.full_like(x, 1e-3), rtol=1e-3, atol=0)


def test_the_step_size_falls_linearly_to_zero() -> None:
    """Far from the optimum gradients keep their signs, and Adam's moves are its step size."""
    model, x, target = LinearModel(), images(1, 0), images(1, 1, low=0.0, high=1.0)
    seen: list[Tensor] = []

    def watching(image: Tensor) -> LatentPosterior:
        seen.append(image.detach().clone())
        return model.encode(image)

    penalty = torch.zeros(1, dtype=torch.float64)
    LatentAttack(5, 1e-4)(watching, x, model.encode(target), levels=(0, 1), penalty=penalty)
    moves = [(after - before).abs().max().item() for before, after in pairwise(seen)]
    assert moves == pytest.approx([1e-4 * (1 - step / 5) for step in range(5)], rel=1e-2)


def test_the_divergence_is_from_the_attacked_to_the_target() -> None:
    """KL(q(z|x_a) ‖ q(z|x_t)), which is another number than the other way round where scales differ."""
    x, target = images(2, 0), random_posterior(2, n=2)
    mean = torch.ones(2, 9, dtype=torch.float64), torch.ones(1, 9, dtype=torch.float64)

    def encode(image: Tensor) -> LatentPosterior:
        flat = image.flatten(1)
        return LatentPosterior(tuple(DiagonalNormal(flat @ m.T, (flat @ m.T - 3).exp()) for m in mean))

    penalty = torch.zeros(2, dtype=torch.float64)
    result = LatentAttack(3, 0.01)(encode, x, target, levels=(0, 1), penalty=penalty)
    expected = kl_over_levels(encode(result.images), target, (0, 1))
    torch.testing.assert_close(result.objective, expected, rtol=1e-9, atol=0)


def test_the_attack_is_never_worse_than_none() -> None:
    """With a step far too large the best point visited is kept, at worst the image itself."""
    model, x, target = LinearModel(), images(4, 0), images(4, 1)
    penalty = torch.full((4,), 1e4, dtype=torch.float64)
    result = LatentAttack(3, 5.0)(model.encode, x, model.encode(target), levels=(0, 1), penalty=penalty)
    start = kl_over_levels(model.encode(x), model.encode(target), (0, 1))
    assert (result.objective <= start).all()


def test_an_image_does_not_feel_its_batch() -> None:
    """Alone, in another order, with others: the same attacked image."""
    model, x, target = LinearModel(), images(4, 0), images(4, 1)
    penalty = torch.tensor([0.5, 3.0, 20.0, 200.0], dtype=torch.float64)
    attack = LatentAttack(50, 0.05)
    whole = attack(model.encode, x, model.encode(target), levels=(0,), penalty=penalty).images
    for rows in (torch.tensor([2]), torch.tensor([3, 1])):
        part = attack(model.encode, x[rows], model.encode(target[rows]), levels=(0,), penalty=penalty[rows])
        torch.testing.assert_close(part.images, whole[rows], rtol=0, atol=1e-9)


def test_parameters_and_inputs_are_left_alone() -> None:
    """No gradient in any parameter, the settings as they were, the image not written to."""
    model, x, target = LinearModel(), images(2, 0), images(2, 1)
    model.w.requires_grad_(False)
    before = x.clone()
    LatentAttack(3, 0.05)(
        model.encode, x, model.encode(target), levels=(0, 1), penalty=torch.ones(2, dtype=torch.float64)
    )
    assert (model.a.grad, model.a.requires_grad, model.w.requires_grad) == (None, True, False)
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_bad_requests_are_refused() -> None:
    """Levels, penalties, pixels, counts, and an encoder that returns nonsense."""
    model, x = LinearModel(), images(2, 0)
    ones, target = torch.ones(2, dtype=torch.float64), model.encode(images(2, 1))
    attack = LatentAttack(2, 0.05)
    for levels in ((), (2,), (-1,)):
        with pytest.raises(LatentShapeError, match=r"0 \(top\) to 1 \(bottom\)"):
            attack(model.encode, x, target, levels=levels, penalty=ones)
    for penalty in (ones[:1], -ones):
        with pytest.raises(ImageShapeError, match="one penalty >= 0 per image"):
            attack(model.encode, x, target, levels=(0,), penalty=penalty)
    for bad in (x + 1, x - 1, x[0], x.long()):
        with pytest.raises(ImageShapeError, match=r"in \[0, 1\]"):
            attack(model.encode, bad, target, levels=(0,), penalty=ones)
    with pytest.raises(ConfigError, match="must be positive"):
        LatentAttack(0, 0.05)
    with pytest.raises(ConfigError, match="must be positive"):
        LatentAttack(5, 0.0)
    broken = LinearModel()
    broken.scale = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(NonFiniteError, match="2 of 2 attacked images"):
        attack(broken.encode, x, target, levels=(0,), penalty=ones)
