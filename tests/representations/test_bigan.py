"""The adversarial losses are the formula; the discriminator judges pairs one by one; training is reproducible."""

import math

import pytest
import torch
from tests.representations.nets import digits, fresh_model, stream, weights

from hebm.errors import DataError, NonFiniteError
from hebm.latents import flatten_latents, unflatten_latents
from hebm.models import LadderGeometry, LevelShape
from hebm.randomness import named_generator
from hebm.representations import JointDiscriminator, bigan, discriminator_loss, generator_loss, train_bigan

BRIEF = {"n_steps": 4, "batch_size": 16, "lr": 1e-3, "seed": 0}


def logits(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    encoded, generated = 2 * torch.randn(2, n, generator=stream(), dtype=torch.float64)
    return encoded, generated


def test_the_losses_are_the_formula() -> None:
    """-log s(D(x, E(x))) - log(1 - s(D(G(z), z))), and the same with the two kinds exchanged."""
    encoded, generated = logits()
    of_encoded, of_generated = encoded.sigmoid(), generated.sigmoid()
    expected = -of_encoded.log() - (1 - of_generated).log()
    torch.testing.assert_close(discriminator_loss(encoded, generated), expected)
    expected = -(1 - of_encoded).log() - of_generated.log()
    torch.testing.assert_close(generator_loss(encoded, generated), expected)


def test_the_limits_of_the_losses() -> None:
    """Nothing told apart: 2 log 2 for both. All told apart: 0 for one, and a slope of one for the other."""
    nothing = torch.zeros(3, dtype=torch.float64)
    assert discriminator_loss(nothing, nothing).tolist() == pytest.approx([2 * math.log(2)] * 3)
    assert generator_loss(nothing, nothing).tolist() == pytest.approx([2 * math.log(2)] * 3)
    right = torch.full((1,), 50.0, dtype=torch.float64)
    assert discriminator_loss(right, -right).item() < 1e-20
    assert generator_loss(right, -right).item() == pytest.approx(100)


@pytest.mark.parametrize(("size", "n_levels"), [(8, 2), (28, 1), (28, 3), (32, 2)])
def test_the_discriminator_sees_image_and_codes_pair_by_pair(size: int, n_levels: int) -> None:
    """A logit each that depends on both, and on no other pair; maps end at 4×4 or less for any ladder."""
    geometry = LadderGeometry((1, size, size), [LevelShape(3, 8)] * n_levels)
    discriminator = JointDiscriminator(geometry).eval()
    images = torch.randn(5, 1, size, size, generator=stream())
    codes = torch.randn(5, 3 * n_levels, generator=stream(1))
    found = discriminator(images, codes)
    assert found.shape == (5,)
    torch.testing.assert_close(discriminator(images[2:3], codes[2:3]), found[2:3])
    assert (discriminator(images, codes.flip(0)) - found)[:2].abs().min() > 0
    assert (discriminator(images.flip(0), codes) - found)[:2].abs().min() > 0
    assert discriminator.of_both.weight.shape[1] <= 8 * 16 + 8


def test_the_discriminators_inner_layers_do_not_stretch() -> None:
    """Spectral norm about 1 in every layer but the last, once the power iteration has settled."""
    discriminator = JointDiscriminator(LadderGeometry((1, 8, 8), [LevelShape(3, 8), LevelShape(2, 8)]))
    for _ in range(60):
        discriminator(torch.zeros(1, 1, 8, 8), torch.zeros(1, 5))
    for layer in (*discriminator.of_image, discriminator.of_codes, discriminator.of_both):
        norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
        assert norm == pytest.approx(1, abs=0.02)
    assert not torch.nn.utils.parametrize.is_parametrized(discriminator.last)


def test_the_first_step_is_the_definition() -> None:
    """Pairs (x, draw of q(z|x)) and (mean image, z), rebuilt; both losses on the same pairs, one after the other."""
    images, _ = digits(limit=16)
    model = fresh_model()
    seen: list[tuple[torch.Tensor, ...]] = []
    original = JointDiscriminator.forward

    def watched(self: JointDiscriminator, y: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        found = original(self, y, codes)
        seen.append(tuple(part.detach().clone() for part in (y, codes, found)))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JointDiscriminator, "forward", watched)
        losses = train_bigan(model.encoder, model.generator, images, **{**BRIEF, "n_steps": 1})
    rebuilt, noise = fresh_model(), named_generator(0, "bigan", "codes")
    drawn = torch.randn(16, 5, generator=noise)
    (shown, codes, before), (shown_again, codes_again, after) = seen
    x = 2 * images.batch(torch.arange(16)) - 1
    order = torch.cdist(shown[:16].flatten(1), x.flatten(1)).argmin(1)
    assert sorted(order.tolist()) == list(range(16))
    torch.testing.assert_close(shown[:16], x[order])
    torch.testing.assert_close(codes[:16], flatten_latents(rebuilt.encoder(shown[:16]).sample(noise)))
    assert torch.equal(codes[16:], drawn)
    torch.testing.assert_close(shown[16:], rebuilt.generator(unflatten_latents(drawn, (3, 2))).mean)
    assert torch.equal(shown, shown_again)
    assert torch.equal(codes, codes_again)
    assert losses.discriminator == pytest.approx([discriminator_loss(*before.chunk(2)).mean().item()])
    assert losses.generator == pytest.approx([generator_loss(*after.chunk(2)).mean().item()])
    assert discriminator_loss(*after.chunk(2)).mean() < discriminator_loss(*before.chunk(2)).mean()


def test_the_nets_answer_the_discriminator() -> None:
    """Against nets at rest its loss falls; when they learn too, it stays higher."""
    images, _ = digits(limit=200)
    longer = {"n_steps": 60, "batch_size": 32, "lr": 3e-3, "seed": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bigan, "generator_loss", lambda encoded, generated: (encoded + generated) * 0)
        model = fresh_model()
        at_rest = train_bigan(model.encoder, model.generator, images, **longer).discriminator
    assert torch.equal(weights(model), weights(fresh_model()))
    model = fresh_model()
    moving = train_bigan(model.encoder, model.generator, images, **longer).discriminator
    assert sum(at_rest[-10:]) < 5 * at_rest[0]
    assert sum(moving[-10:]) > 1.3 * sum(at_rest[-10:])


def test_training_is_reproducible_and_moves_both_nets() -> None:
    """Same seed, same weights; another seed, others; the global stream is untouched."""
    images, _ = digits(limit=60)
    before = torch.random.get_rng_state()
    runs = [fresh_model() for _ in range(3)]
    for model, seed in zip(runs, (0, 0, 1), strict=True):
        train_bigan(model.encoder, model.generator, images, **{**BRIEF, "seed": seed})
    start = fresh_model()
    for net in ("encoder", "generator"):
        first, again, other, unmoved = (weights(getattr(model, net)) for model in (*runs, start))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert not torch.equal(first, unmoved)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("broken", "named"),
    [("discriminator_loss", "discriminator"), ("generator_loss", "generator and encoder")],
)
def test_training_stops_at_what_is_not_a_number(
    broken: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The net and the step are named; too few images are refused before the first step."""
    images, _ = digits(limit=60)
    model = fresh_model()
    with pytest.raises(DataError, match="fewer than one batch"):
        train_bigan(model.encoder, model.generator, images, n_steps=1, batch_size=61, seed=0)
    monkeypatch.setattr(bigan, broken, lambda encoded, generated: (encoded + generated) * torch.nan)
    with pytest.raises(NonFiniteError, match=f"{named} is not finite at step 0"):
        train_bigan(model.encoder, model.generator, images, **BRIEF)


def test_the_discriminator_learns_four_times_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both rates fall over all steps; the first constant of Adam is a half."""
    images, _ = digits(limit=60)
    made: list[tuple[float, int, float, int]] = []
    original = bigan.SteppedAdam

    def watched(*nets: torch.nn.Module, lr: float, n_steps: int, beta_1: float) -> object:
        made.append((lr, n_steps, beta_1, len(nets)))
        return original(*nets, lr=lr, n_steps=n_steps, beta_1=beta_1)

    monkeypatch.setattr(bigan, "SteppedAdam", watched)
    model = fresh_model()
    train_bigan(model.encoder, model.generator, images, **BRIEF)
    assert made == [(4e-3, 4, 0.5, 1), (1e-3, 4, 0.5, 2)]
