"""Every score, on a linear Gaussian model: higher is more anomalous, a function of model, image and seed alone, and the
model is left as it was."""

import dataclasses
from collections.abc import Callable
from functools import cache

import pytest
import torch
from tests.detection.encoder_calls import encoder_calls
from tests.detection.linear_gaussian import (
    DIMS,
    DTYPE,
    SHAPE,
    broken_images,
    linear_model,
    normal_images,
    strange_images,
)
from torch import Tensor

import hebm
from hebm.detection import SCORES, AnomalyScore, ScoreRecipe, build_score, score_images
from hebm.detection.base import InferredScore, score_inferred
from hebm.detection.combined import FisherSum, default_parts
from hebm.detection.inference import infer
from hebm.errors import ConfigError, DataError, ImageShapeError, NonFiniteError

N_NORMALS = 120
FAST = {
    "iwae": "iwae:n_samples=5",
    "regret": "regret:n_steps=12,n_draws=2,lr=0.1",
    "combined": "combined",
}
VARIANTS = [
    *(FAST.get(name, name) for name in SCORES),
    "distortion:n_draws=3",
    "energy:n_draws=3",
    "log_joint:n_draws=3",
    "prior_density:n_draws=3",
    "rate:level=0",
    "rate:level=2",
    "llr:n_lowest=2,n_draws=1",
    "llr:pick='mode'",
    "typicality:of=log_joint",
    "latent_density:kind=full_gaussian",
    "latent_density:kind=vamp",
    "combined:method=mahalanobis",
    "combined:parts=distortion+latent_density",
]
every_score = pytest.mark.parametrize("name", VARIANTS)


def scored(name: str, x: Tensor, **changes: int) -> Tensor:
    model = linear_model()
    return score_images(
        model, x, build_score(name), normals=normal_images(model, N_NORMALS, seed=50), **changes
    )


@every_score
def test_higher_is_more_anomalous(name: str) -> None:
    """Images of improbable latents, and noisier, score higher than images of the model; for scores of the lowest level,
    images where that does not follow from the others. The regret sees where the encoder errs, here far out."""
    model = linear_model()
    if name == FAST["regret"]:
        with torch.no_grad():
            model.encoder.a.mul_(1.5)
    anomalies = broken_images if "llr" in name or name == "rate:level=2" else strange_images
    normals = normal_images(model, N_NORMALS, seed=50)
    usual, strange = (
        score_images(model, make(model, 40), build_score(name), normals=normals)
        for make in (normal_images, anomalies)
    )
    assert strange.median() > usual.quantile(0.9)


@every_score
def test_a_score_is_one_float64_number_per_image_without_history(name: str) -> None:
    """[B], on the images' device, finite."""
    x = normal_images(linear_model(), 7).requires_grad_()
    values = scored(name, x)
    assert values.shape == (7,)
    assert values.dtype == torch.float64
    assert not values.requires_grad
    assert values.device == x.device
    assert torch.isfinite(values).all()


@every_score
def test_neither_batch_size_nor_order_nor_the_other_images_matter(name: str) -> None:
    """In batches of 7 and 4, backwards, and alone."""
    x = torch.cat([normal_images(linear_model(), 8), strange_images(linear_model(), 3)])
    whole = scored(name, x)
    torch.testing.assert_close(scored(name, x, batch_size=7), whole, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scored(name, x.flip(0)).flip(0), whole, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(scored(name, x[9:10]), whole[9:10], rtol=1e-9, atol=1e-9)


@every_score
def test_the_seed_alone_decides_the_noise(name: str) -> None:
    """The same twice, bit by bit; the global stream is neither read nor moved."""
    x = normal_images(linear_model(), 5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = scored(name, x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(scored(name, x), first)


DRAWN = [name for name in SCORES if "seed" in {field.name for field in dataclasses.fields(SCORES[name])}]


@pytest.mark.parametrize("name", DRAWN)
def test_another_seed_gives_other_noise(name: str) -> None:
    """Where a score draws at all."""
    options: dict[str, object] = {"n_draws": 2} if "n_draws" in _fields(name) else {}
    x, model = normal_images(linear_model(), 5), linear_model()
    normals = normal_images(model, N_NORMALS, seed=50)
    values = [
        score_images(model, x, build_score(name, seed=seed, **options), normals=normals) for seed in (0, 1)
    ]
    assert not torch.allclose(values[0], values[1], rtol=1e-6)


def test_both_noises_of_the_upper_levels_bound_follow_its_seed() -> None:
    """That of q(z|x), where the lowest level is not seen; that of p(z_b|z_a), another for every draw of z_a, where the
    posterior is a point."""
    unseen, certain = linear_model(energy=None), linear_model()
    with torch.no_grad():
        unseen.generator.w[:, -DIMS[-1] :] = 0
        certain.encoder.log_scale.fill_(-30)
    for model in (unseen, certain):
        x = normal_images(model, 5)
        values = [score_images(model, x, build_score("l_above", seed=seed)) for seed in (0, 1)]
        assert not torch.allclose(values[0], values[1], rtol=1e-6)
    once = score_images(certain, x, build_score("l_above", n_draws=1))
    assert not torch.allclose(once, score_images(certain, x, build_score("l_above", n_draws=2)), rtol=1e-6)


def _fields(name: str) -> set[str]:
    return {field.name for field in dataclasses.fields(SCORES[name])}


@every_score
def test_precision_of_model_and_images_does_not_matter(name: str) -> None:
    """A float32 model on float64 images, and the other way round, up to rounding."""
    if name == FAST["regret"]:
        pytest.skip(
            "Adam's first steps have the sign of the gradient, however small: rounding is not rounding there"
        )
    model = linear_model()
    x, normals = normal_images(model, 6).float(), normal_images(model, N_NORMALS, seed=50).float()
    score = build_score(name)
    in_double = score_images(model, x, score, normals=normals)
    in_single = score_images(model.float(), x.double(), score, normals=normals)
    assert in_single.dtype == in_double.dtype == torch.float64
    torch.testing.assert_close(in_single, in_double, rtol=2e-3, atol=2e-3)


@every_score
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(name: str, training: bool) -> None:
    """Weights, gradients, what needs one, and the mode of every module; scoring happens in eval mode."""
    model = linear_model().train(training)
    model.generator.eval()
    model.encoder.offset.requires_grad_(False)
    model.generator.w.grad = torch.ones_like(model.generator.w)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    needs = [p.requires_grad for p in model.parameters()]
    x = normal_images(model, 4)
    values = score_images(model, x, build_score(name), normals=normal_images(model, N_NORMALS, seed=50))
    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == needs
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(model.generator.w.grad, torch.ones_like(model.generator.w))
    assert all(p.grad is None for p in model.parameters() if p is not model.generator.w)
    torch.testing.assert_close(values, scored(name, x))


@cache
def fitted(name: str) -> AnomalyScore:
    model, score = linear_model(), build_score(name)
    if isinstance(score, ScoreRecipe):
        return score.fit(model, normal_images(model, N_NORMALS, seed=50))
    return score


@every_score
def test_scores_share_inferred_images(name: str) -> None:
    """The value is that of the images, without history, on one encoding however many scores ask."""
    model, score = linear_model(), fitted(name)
    assert isinstance(score, InferredScore)
    x = normal_images(model, 5).requires_grad_()
    expected = score(model, x)
    with encoder_calls(model) as calls:
        inferred = infer(model, x)
        assert calls == []
        values = [score.of(inferred), score_inferred(score, inferred)]
        assert calls == [5]
    assert torch.equal(values[0], expected)
    assert torch.equal(values[1], expected)
    assert not values[0].requires_grad
    assert not inferred.posterior[0].mean.requires_grad
    assert not inferred.x.requires_grad
    assert not infer(model, x).posterior[0].mean.requires_grad
    with pytest.raises(ImageShapeError, match=r"\[B, 1, 3, 4\] .* \[5, 1, 3, 3\] came"):
        infer(model, x[..., 1:])


@every_score
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda x: x[:, :, 1:], ImageShapeError, r"images \[B, 1, 3, 4\] in \[0, 1\] are expected"),
        (lambda x: x[0], ImageShapeError, "are expected, but"),
        (lambda x: (255 * x).byte(), ImageShapeError, "divide bytes by 255"),
        (lambda x: 255 * x, ImageShapeError, "divide bytes by 255"),
        (lambda x: x - 0.9, ImageShapeError, r"pixels in \[0, 1\] are expected"),
        (lambda x: x[:0], ImageShapeError, "at least one image"),
        (lambda x: x.where(x < x[2].max(), torch.nan), NonFiniteError, r"\d of 4 images have pixels"),
        (lambda x: x.where(x < x[2].max(), torch.inf), NonFiniteError, "not finite"),
    ],
)
def test_bad_images_are_refused(
    name: str, spoil: Callable[[Tensor], Tensor], error: type[Exception], message: str
) -> None:
    """Before any work is done, with what was expected, what came and the fix."""
    model = linear_model()
    with pytest.raises(error, match=message):
        fitted(name)(model, spoil(normal_images(model, 4)))


def test_pixels_may_leave_the_range_as_far_as_resizing_takes_them() -> None:
    """By a thousandth on either side, and no more."""
    model = linear_model()
    x = normal_images(model, 2)
    for value, further in ((-0.0009, -0.0011), (1.0009, 1.0011)):
        x[0, 0, 0, 0] = value
        assert torch.isfinite(scored("distortion", x)).all()
        x[0, 0, 0, 0] = further
        with pytest.raises(ImageShapeError, match=r"they lie in \["):
            scored("distortion", x)
        x[0, 0, 0, 0] = 0.5


def test_the_first_broken_image_is_named() -> None:
    """By its place in the batch."""
    x = normal_images(linear_model(), 4)
    x[2:, 0, 1, 1] = torch.nan
    with pytest.raises(NonFiniteError, match=r"2 of 4 images .* \(the first is image 2 of its batch\)"):
        scored("distortion", x)


@pytest.mark.parametrize("name", SCORES)
def test_a_diverged_model_is_not_scored(name: str) -> None:
    """NonFiniteError, not NaN."""
    model = linear_model()
    score, x = fitted(FAST.get(name, name)), normal_images(model, 4)
    with torch.no_grad():
        model.encoder.offset.fill_(torch.nan)
    with pytest.raises(NonFiniteError):
        score(model, x)


def test_an_unknown_score_names_the_nearest() -> None:
    """And all there are."""
    with pytest.raises(
        ConfigError, match=r"'distorsion' is unknown \(did you mean 'distortion'\?\); choose from"
    ):
        build_score("distorsion")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rate:levle=0", r"no option 'levle' \(did you mean 'level'\?\)"),
        ("rate:level", "has no value; write level=VALUE"),
        ("rate:level=-1", "`level` must be at least 0"),
        ("rate:n_draws=0", "`n_draws` must be at least 1"),
        ("elbo:n_draws=0", "`n_draws` must be at least 1"),
        ("distortion:n_draws=-1", "`n_draws` must be at least 0"),
        ("energy:n_draws=-1", "`n_draws` must be at least 0"),
        ("log_joint:n_draws=-1", "`n_draws` must be at least 0"),
        ("prior_density:n_draws=-1", "`n_draws` must be at least 0"),
        ("iwae:n_samples=0", "`n_samples` must be at least 1"),
        ("llr:n_lowest=0", "`n_lowest` must be at least 1"),
        ("llr:n_draws=0", "`n_draws` must be at least 1"),
        ("llr:n_base=1", "`n_base` must be at least 2"),
        ("l_above:n_decoded=0", "`n_kept` must be at least 1"),
        ("llr:pick=median", "must be 'draws' or 'mode'"),
        ("regret:n_steps=0", "`n_steps` must be at least 1"),
        ("regret:n_draws=0", "`n_draws` must be at least 1"),
        ("regret:lr=0", "`lr` must be positive"),
        ("typicality:of=rate", "`of` must be one of"),
        ("latent_density:kind=normal", "`kind` must be one of"),
        ("latent_density:n_components=()", "positive sizes"),
        ("latent_density:n_draws=-1", "`n_draws` must be at least 0"),
        ("latent_density:n_exemplars=0", "`n_exemplars` must be at least 1"),
        ("combined:method=vote", "must be 'fisher' or 'mahalanobis'"),
        ("combined:parts=()", "at least one part"),
        ("combined:ridge=0", "`ridge` must be positive"),
    ],
)
def test_wrong_options_are_refused(name: str, message: str) -> None:
    """When the score is made."""
    with pytest.raises(ConfigError, match=message):
        build_score(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rate:level=3", r"level 3 does not exist: this model has levels 0 \(top\) to 2"),
        ("llr:n_lowest=3", "at least one of the model's 3 levels must stay"),
        ("l_above:n_lowest=4", "at least one of the model's 3 levels must stay"),
    ],
)
def test_levels_the_model_does_not_have_are_refused(name: str, message: str) -> None:
    """When images are scored, since the score does not know the model before; nothing is encoded for it."""
    model = linear_model()
    with encoder_calls(model) as calls, pytest.raises(ConfigError, match=message):
        score_images(model, normal_images(model, 2), name)
    assert calls == []


def test_the_energy_of_a_model_without_one_is_refused() -> None:
    """And what to take instead is said; nothing is encoded for it."""
    model = linear_model(energy=None)
    with (
        encoder_calls(model) as calls,
        pytest.raises(ConfigError, match=r"needs a prior with an energy.*prior_density"),
    ):
        score_images(model, normal_images(model, 2), "energy")
    assert calls == []


@pytest.mark.parametrize("name", [n for n in SCORES if isinstance(build_score(n), ScoreRecipe)])
def test_recipes_need_normal_images_and_enough_of_them(name: str) -> None:
    """Without: what to pass. Too few: how many."""
    model = linear_model()
    x = normal_images(model, 2)
    with pytest.raises(ConfigError, match="must see normal images first; pass `normals`"):
        score_images(model, x, name)
    with pytest.raises(DataError, match="normal images are expected, but there are 0"):
        score_images(model, x, name, normals=x[:0])


def test_recipes_that_fit_parts_need_twice_as_many() -> None:
    """One half fits the parts, the other puts them on scale."""
    model = linear_model()
    with pytest.raises(DataError, match="at least 100 normal images are expected, but there are 60"):
        score_images(
            model,
            normal_images(model, 2),
            "combined:parts=distortion+latent_density",
            normals=normal_images(model, 60),
        )


def test_parts_are_put_on_scale_by_images_that_no_part_was_fitted_to() -> None:
    """Every other image where one of them is a recipe, else all."""
    model = linear_model()
    for parts, n in (("distortion+latent_density", 60), ("distortion+rate", 120)):
        combined = build_score(f"combined:parts={parts}").fit(model, normal_images(model, 120))  # type: ignore[union-attr]
        assert [len(tail.ordered) for tail in combined.tails] == [n, n]  # type: ignore[union-attr]


def test_a_batch_size_of_nothing_is_refused() -> None:
    """`batch_size` must be positive."""
    model = linear_model()
    with pytest.raises(ConfigError, match="`batch_size` must be at least 1"):
        score_images(model, normal_images(model, 2), "distortion", batch_size=0)


def test_detect_takes_the_likelihood_ratio_by_default() -> None:
    """And passes everything on."""
    model = linear_model()
    x, normals = normal_images(model, 4), normal_images(model, 60, seed=50)
    assert torch.equal(hebm.detect(model, x), score_images(model, x, "llr"))
    assert torch.equal(
        hebm.detect(model, x, "combined", normals=normals, batch_size=3),
        score_images(model, x, "combined", normals=normals, batch_size=3),
    )


def test_options_in_the_name_and_by_keyword_are_the_same() -> None:
    """Keywords go before."""
    assert build_score("llr:n_lowest=2,pick=mode") == build_score("llr", n_lowest=2, pick="mode")
    assert build_score("llr:n_lowest=2", n_lowest=1) == build_score("llr")
    assert build_score("combined:parts=rate+energy") == build_score(
        "combined", parts=(build_score("rate"), build_score("energy"))
    )


def test_every_score_is_one_protocol_or_the_other() -> None:
    """And has a docstring with equation and source."""
    for name, kind in SCORES.items():
        score = build_score(name)
        assert isinstance(score, AnomalyScore) != isinstance(score, ScoreRecipe)
        assert dataclasses.is_dataclass(kind)
        assert "Source:" in (kind.__doc__ or ""), name


def test_the_default_parts_of_a_combination_are_those_of_the_model() -> None:
    """Distortion, the rate of every level, the prior's density."""
    names = [type(part).__name__ for part in default_parts(linear_model())]
    assert names == ["Distortion", "Rate", "Rate", "Rate", "PriorDensity"]
    combined = build_score("combined").fit(linear_model(), normal_images(linear_model(), 60))  # type: ignore[union-attr]
    assert isinstance(combined, FisherSum)
    x = normal_images(linear_model(), 3)
    torch.testing.assert_close(combined.surprises(linear_model(), x).sum(1), combined(linear_model(), x))
    assert x.shape[1:] == SHAPE
    assert x.dtype == DTYPE
