"""Scores against closed forms on a linear Gaussian model: sign and scale."""

import itertools
import math

import numpy as np
import pytest
import torch
from tests.detection.linear_gaussian import (
    DTYPE,
    Base,
    D,
    Exact,
    components,
    levels_columns,
    linear_model,
    normal_images,
    strange_images,
)
from torch import Tensor

from hebm.detection import build_score, score_images
from hebm.detection.combined import MahalanobisDistance
from hebm.detection.conditional import ConditionalOptions, ConditionalSampler, systematic_picks
from hebm.detection.inference import common_draws
from hebm.detection.regret import LikelihoodRegret
from hebm.detection.tails import fit_tail
from hebm.errors import NonFiniteError, UnsupportedError
from hebm.latents import flatten_latents, unflatten_latents
from hebm.models import JointModel
from hebm.priors import FlowPrior, JointPrior

MODELS = [
    ("standard", None),
    ("standard", 0.7),
    ("full", None),
    ("full", 0.7),
    ("mixture", None),
    ("mixture", 0.7),
]
every_model = pytest.mark.parametrize(("base", "energy"), MODELS)


def images(model: JointModel) -> Tensor:
    return torch.cat([normal_images(model, 3), strange_images(model, 2)])


def prior_value(model: JointModel, flat: Tensor) -> Tensor:
    """log p(z) + log Z = log sum of tilted components."""
    log_weights, gaussians = components(model.prior)
    return torch.stack([w + g.log_prob(flat) for w, g in zip(log_weights, gaussians, strict=True)]).logsumexp(
        0
    )


def assert_near(values: Tensor, expected: Tensor, *, spread: Tensor, n: int) -> None:
    """Within five standard errors of a mean of n draws that have the given spread."""
    assert ((values - expected).abs() < 5 * spread / n**0.5 + 1e-9).all()


def spread_of(name: str, model: JointModel, x: Tensor) -> Tensor:
    """Standard deviation of one draw's value, from values under other seeds."""
    values = [score_images(model, x, build_score(name, seed=seed)) for seed in range(100, 120)]
    return torch.stack(values).std(0)


@every_model
def test_scores_at_the_posterior_mean(base: Base, energy: float | None) -> None:
    """Distortion, prior density and log joint density at E_q z, exactly."""
    model = linear_model(base, energy=energy)
    exact = Exact(model, images(model))
    distortion, density = -exact.log_likelihood(exact.mean), -prior_value(model, exact.mean)
    for name, expected in [
        ("distortion", distortion),
        ("prior_density", density),
        ("log_joint", distortion + density),
    ]:
        torch.testing.assert_close(score_images(model, exact.x, name), expected)


def test_the_energy_is_the_priors_own() -> None:
    """½ zᵀAz - bᵀz at the posterior mean, and its mean over draws: plus ½ tr(A S)."""
    model = linear_model()
    exact, energy = Exact(model, images(linear_model())), model.prior.energy
    a, b = energy.a.detach(), energy.b.detach()
    at_mean = 0.5 * ((exact.mean @ a) * exact.mean).sum(1) - exact.mean @ b
    torch.testing.assert_close(score_images(model, exact.x, "energy"), at_mean)
    expected = at_mean + 0.5 * flatten_latents(exact.q.scale).square() @ a.diagonal()
    values = score_images(model, exact.x, "energy:n_draws=200")
    assert_near(values, expected, spread=spread_of("energy:n_draws=1", model, exact.x), n=200)


@pytest.mark.parametrize(("base", "energy"), [("standard", 0.7), ("full", 0.7)])
def test_scores_that_are_means_over_the_posterior(base: Base, energy: float | None) -> None:
    """Distortion, log joint density, prior density, rates and bound equal their closed forms within five errors."""
    model = linear_model(base, energy=energy)
    exact = Exact(model, images(model))
    everything = list(range(D))
    density = -exact.prior.expected_log_prob(exact.q, everything) - exact.prior.log_z
    for name, expected in [
        ("distortion", exact.distortion()),
        ("prior_density", density),
        ("log_joint", exact.distortion() + density),
        ("rate", exact.rate()),
        ("elbo", -exact.bound()),
        ("rate:level=0", exact.rate_of(0)),
        ("rate:level=1", exact.rate_of(1)),
        ("rate:level=2", exact.rate_of(2)),
    ]:
        join = "," if ":" in name else ":"
        values = score_images(model, exact.x, f"{name}{join}n_draws=200")
        spread = spread_of(f"{name}{join}n_draws=1", model, exact.x)
        assert_near(values, expected, spread=spread, n=200)


def test_rates_to_a_standard_base_are_exact() -> None:
    """KL(q ‖ N(0, I)) needs no draws: per level and in all."""
    model = linear_model("standard", energy=None)
    exact = Exact(model, images(model))
    torch.testing.assert_close(score_images(model, exact.x, "rate:n_draws=1"), exact.rate())
    for level in range(3):
        values = score_images(model, exact.x, f"rate:level={level},n_draws=1")
        torch.testing.assert_close(values, exact.rate_of(level))


@every_model
def test_the_levels_rates_and_the_energy_add_up_to_the_rate(base: Base, energy: float | None) -> None:
    """Draw by draw, hence exactly, whatever the base; and with the distortion to the bound."""
    model = linear_model(base, energy=energy)
    x = images(model)
    parts = [score_images(model, x, f"rate:level={level}") for level in range(3)]
    if energy is not None:
        parts.append(score_images(model, x, "energy:n_draws=8"))
    rate = score_images(model, x, "rate")
    torch.testing.assert_close(torch.stack(parts).sum(0), rate)
    torch.testing.assert_close(
        score_images(model, x, "elbo"), rate + score_images(model, x, "distortion:n_draws=8")
    )


@pytest.mark.parametrize("energy", [None, 0.7])
def test_level_rates_of_a_mixture_follow_its_marginals(energy: float | None) -> None:
    """One draw: log q(z_l) - log p0(z_<=l) + log p0(z_<l), with q's and N(0, I)'s exact parts put back."""
    model = linear_model("mixture", energy=energy)
    base = model.prior.base if isinstance(model.prior, JointPrior) else model.prior
    exact = Exact(model, images(model))
    (z,) = common_draws(exact.q, 1, seed=0)
    flat = flatten_latents(z)
    log_weights, gaussians = components(base)

    def marginal(columns: list[int]) -> Tensor:
        if not columns:
            return torch.zeros(len(flat), dtype=DTYPE)
        parts = [w + g.log_prob(flat, columns) for w, g in zip(log_weights, gaussians, strict=True)]
        return torch.stack(parts).logsumexp(0)

    for level in range(3):
        given_above = marginal(levels_columns(range(level + 1))) - marginal(levels_columns(range(level)))
        own = z[level]
        standard = -0.5 * own.square().sum(1) - 0.5 * own.shape[1] * math.log(2 * math.pi)
        expected = exact.q[level].kl_to_standard() + standard - given_above
        values = score_images(model, exact.x, f"rate:level={level},n_draws=1")
        torch.testing.assert_close(values, expected)


def test_importance_weights_are_constant_under_the_exact_posterior() -> None:
    """Then any number of draws gives -log p(x), and so does the bound."""
    model = linear_model("standard", energy=None, encoder="exact")
    exact = Exact(model, images(model))
    for name in ("iwae:n_samples=1", "iwae:n_samples=3", "elbo:n_draws=200"):
        values = score_images(model, exact.x, name)
        tolerance = 1.5 if name.startswith("elbo") else 1e-9
        assert (values + exact.log_evidence()).abs().max() < tolerance


@pytest.mark.parametrize(("base", "energy"), [("standard", 0.7), ("full", 0.7), ("full", None)])
def test_the_importance_bound_falls_from_the_elbo_to_the_evidence(base: Base, energy: float | None) -> None:
    """One draw: the bound's, on average over seeds. Many: log p(x) + log Z, far from it."""
    model = linear_model(base, energy=energy)
    exact = Exact(model, normal_images(model, 5))
    single = torch.stack([score_images(model, exact.x, f"iwae:n_samples=1,seed={i}") for i in range(60)])
    assert_near(single.mean(0), -exact.bound(), spread=single.std(0), n=60)
    assert (-exact.bound() + exact.log_evidence()).min() > 0.8
    many = score_images(model, exact.x, "iwae:n_samples=1000")
    assert (many + exact.log_evidence()).abs().max() < 0.3


@pytest.mark.parametrize(
    ("base", "energy", "n_lowest"),
    [
        ("standard", 0.7, 1),
        ("full", None, 1),
        ("full", 0.7, 1),
        ("full", 4.0, 1),
        ("standard", 0.7, 2),
        ("full", None, 2),
    ],
)
def test_the_bound_above_and_the_ratio_have_their_closed_forms(
    base: Base, energy: float | None, n_lowest: int
) -> None:
    """L^{>k} and LLR^{>k} under the joint prior, conditional normaliser included; log Z has gone from the ratio."""
    model = linear_model(base, energy=energy)
    exact = Exact(model, images(model))
    options = f"n_lowest={n_lowest},n_base=100,n_decoded=40"
    above = -exact.bound_above(n_lowest)
    ratio = exact.bound() + above
    for name, expected in [("l_above", above), ("llr", ratio)]:
        values = score_images(model, exact.x, f"{name}:{options},n_draws=40")
        once = torch.stack(
            [
                score_images(model, exact.x, f"{name}:{options},n_draws=1,seed={seed}")
                for seed in range(100, 112)
            ]
        ).std(0)
        assert ((values - expected).abs() < 5 * once / 40**0.5 + 0.02 * expected.abs() + 0.05).all()


def test_the_ratio_is_the_difference_of_the_two_bounds() -> None:
    """Of the same draws: LLR = L - L^{>k}."""
    model = linear_model()
    x = images(model)
    above = score_images(model, x, "l_above:n_draws=3")
    torch.testing.assert_close(
        score_images(model, x, "llr:n_draws=3"), above - score_images(model, x, "elbo:n_draws=3")
    )


def test_every_posterior_draw_has_base_draws_of_its_own() -> None:
    """With a posterior that is a point, a second draw changes the bound by its base draws alone."""
    model = linear_model()
    with torch.no_grad():
        model.encoder.log_scale.fill_(-20)
    one, two = (score_images(model, images(model), f"l_above:n_draws={n},n_base=8") for n in (1, 2))
    assert ((one - two).abs() > 1e-3).all()


def test_the_mode_takes_the_most_probable_of_the_base_draws() -> None:
    """With many draws the distortion above falls to that of the conditional's mode."""
    model = linear_model()
    latents = tuple(z for z in Exact(model, images(model)).q.mean)
    sampler = ConditionalSampler(model.prior, [2], ConditionalOptions(4000, 5, "mode"), seed=0)
    kept = sampler.draw(latents).latents
    p = Exact(model, images(model)).prior
    a, b = levels_columns(range(2)), levels_columns(range(2, 3))
    gain = p.covariance[b][:, a] @ torch.linalg.inv(p.covariance[a][:, a])
    mode = p.mean[b] + (flatten_latents(latents)[:, a] - p.mean[a]) @ gain.T
    assert kept[2].shape == mode.shape
    assert (kept[2] - mode).abs().max() < 0.15
    assert all(torch.equal(ours, held) for ours, held in zip(kept[:2], latents[:2], strict=True))


@pytest.mark.parametrize(
    ("base", "energy", "annealed"),
    [*((*pair, False) for pair in MODELS), ("standard", 0.7, True), ("mixture", 0.7, True)],
)
def test_the_conditional_normaliser_and_draws_are_exact(
    base: Base, energy: float | None, annealed: bool
) -> None:
    """log Z(z_a) = log p(z_a) + log Z - log p0(z_a); and the mean of z_b | z_a: by weights and by annealing."""
    model = linear_model(base, energy=energy)
    flat = Exact(model, images(model)).mean
    a, b = [0, 1], [2, 3, 4]
    log_weights, tilted = components(model.prior)
    base_weights, bases = components(model.prior.base if energy is not None else model.prior)
    joint = torch.stack([w + g.log_prob(flat, a) for w, g in zip(log_weights, tilted, strict=True)])
    plain = torch.stack([w + g.log_prob(flat, a) for w, g in zip(base_weights, bases, strict=True)])
    means = [
        g.mean[b]
        + (flat[:, a] - g.mean[a]) @ torch.linalg.solve(g.covariance[a][:, a], g.covariance[a][:, b])
        for g in tilted
    ]
    options = ConditionalOptions(300, 300, min_ess_share=1.0 if annealed else 0.0, n_particles=50)
    latents = unflatten_latents(flat, model.level_dims)
    drawn = [ConditionalSampler(model.prior, [1, 2], options, seed=i).draw(latents) for i in range(8)]
    expected_mean = (joint.softmax(0)[:, :, None] * torch.stack(means)).sum(0)
    z = [flatten_latents(part.latents).view(len(flat), -1, D) for part in drawn]
    for values, expected, bias in [
        (torch.stack([part.log_normalizer for part in drawn]), joint.logsumexp(0) - plain.logsumexp(0), 0.05),
        (torch.stack([part[:, :, b].mean(1) for part in z]), expected_mean, 0.03),
    ]:
        assert ((values.mean(0) - expected).abs() < 5 * values.std(0) / 8**0.5 + bias).all()
    assert torch.equal(z[0][:, 0][:, a], flat[:, a])


def test_a_poor_item_is_annealed_and_the_others_are_not() -> None:
    """Only where too few weights count; the others keep what they have, bit by bit."""
    model = linear_model("full", energy=6.0)
    latents = unflatten_latents(Exact(model, images(model)).mean, model.level_dims)

    def drawn(share: float, n_particles: int = 64) -> tuple[Tensor, Tensor]:
        options = ConditionalOptions(64, 4, min_ess_share=share, n_particles=n_particles)
        result = ConditionalSampler(model.prior, [2], options, seed=0).draw(latents)
        return result.log_normalizer, flatten_latents(result.latents).view(len(latents[0]), -1)

    never, always = drawn(0.0), drawn(1.0)
    shares = torch.linspace(0.3, 0.7, 2).tolist()
    counts = []
    for share in shares:
        z, draws = drawn(share)
        as_before, annealed = z == never[0], z == always[0]
        assert (as_before ^ annealed).all()
        assert torch.equal(draws[as_before], never[1][as_before])
        assert torch.equal(draws[annealed], always[1][annealed])
        counts.append(int(annealed.sum()))
    assert counts == sorted(counts)
    assert counts[-1] > 0
    assert torch.equal(drawn(0.0, n_particles=7)[0], never[0])
    assert (never[1] != always[1]).any(1).all()


def test_systematic_picks_follow_the_weights() -> None:
    """A draw of weight W appears between floor and ceil of W n times; the offset moves the rest."""
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]], dtype=DTYPE)
    picks = systematic_picks(weights.log(), 10, 0.5)
    assert [torch.bincount(row, minlength=3).tolist() for row in picks] == [[5, 3, 2], [0, 10, 0]]
    assert systematic_picks(weights.log(), 1, 0.0).tolist() == [[0], [1]]
    assert systematic_picks(weights.log(), 1, 0.9).tolist() == [[2], [1]]


def test_typicality_is_the_distance_from_the_mean_of_normal_images() -> None:
    """On both sides; whichever score stands for log p."""
    model = linear_model()
    x, normals = images(model), normal_images(model, 30, seed=9)
    for name in ("elbo", "iwae", "log_joint"):
        own, others = (score_images(model, part, name) for part in (x, normals))
        values = score_images(model, x, f"typicality:of={name}", normals=normals)
        torch.testing.assert_close(values, (own - others.mean()).abs())
        assert (own < others.mean()).any()
        assert (own > others.mean()).any()


def test_the_regret_is_what_the_best_posterior_gains() -> None:
    """L* - L, where the best diagonal posterior has the exact mean and the precision's diagonal."""
    model = linear_model()
    with torch.no_grad():
        model.encoder.offset.add_(0.7)
    exact = Exact(model, normal_images(model, 4))
    expected = exact.best_bound() - exact.bound()
    assert expected.min() > 5
    values = score_images(model, exact.x, LikelihoodRegret(n_steps=40, lr=0.08, n_draws=12))
    torch.testing.assert_close(values, expected, rtol=0.1, atol=0.3)


def test_the_regret_of_the_best_posterior_is_nothing_and_never_negative() -> None:
    """With the exact posterior there is nothing to gain; a wild rate loses nothing."""
    model = linear_model("standard", energy=None, encoder="exact")
    x = images(model)
    assert score_images(model, x, LikelihoodRegret(n_steps=10, n_draws=60)).max() < 0.3
    assert (score_images(model, x, LikelihoodRegret(n_steps=3, lr=50.0, n_draws=2)) == 0).all()


def test_a_gaussian_of_the_latents_is_that_of_the_aggregate_posterior() -> None:
    """Mean of means; covariance of means plus mean of covariances."""
    model = linear_model()
    normals = normal_images(model, 10_000, seed=4)
    q = Exact(model, normals).q
    means, variances = flatten_latents(q.mean), flatten_latents(q.scale).square()
    covariance = torch.cov(means.T) + torch.diag(variances.mean(0))
    exact = Exact(model, images(model))
    expected = -torch.distributions.MultivariateNormal(means.mean(0), covariance).log_prob(exact.mean)
    values = score_images(model, exact.x, "latent_density:kind=full_gaussian", normals=normals)
    torch.testing.assert_close(values, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", ["mixture", "vamp", "importance"])
def test_fitted_densities_are_those_of_posterior_draws(kind: str) -> None:
    """On a Gaussian aggregate they come near the Gaussian's entropy, in nats; the mean over draws is higher."""
    model = linear_model()
    normals, x = normal_images(model, 1500, seed=4), normal_images(model, 500, seed=5)
    options = f"kind={kind},n_steps=40,n_components=(1,2)"
    drawn = score_images(model, x, f"latent_density:{options},n_draws=2", normals=normals)
    gaussian = score_images(model, x, "latent_density:kind=full_gaussian,n_draws=2", normals=normals)
    at_mean = score_images(model, x, f"latent_density:{options}", normals=normals)
    assert abs(drawn.mean() - gaussian.mean()) < 0.35
    assert drawn.mean() > at_mean.mean() + 0.1


def test_a_vamp_has_as_many_components_as_it_may() -> None:
    """At most `n_exemplars`, at most one per image; sizes of a mixture that the images cannot carry are left out."""
    model = linear_model()
    normals = normal_images(model, 100)
    vamp = build_score("latent_density:kind=vamp,n_exemplars=30").fit(model, normals)  # type: ignore[union-attr]
    assert len(vamp.prior.logits) == 30
    vamp = build_score("latent_density:kind=vamp").fit(model, normals)  # type: ignore[union-attr]
    assert len(vamp.prior.logits) == 100
    mixture = build_score("latent_density:n_components=(2,6)").fit(model, normals)  # type: ignore[union-attr]
    assert len(mixture.prior.logits) == 2


def test_surprises_are_empirical_up_to_the_threshold_and_exponential_beyond() -> None:
    """Scores 1 to 100: u = 91, reached by ten; β = mean of 0 to 9 = 4.5."""
    tail = fit_tail(torch.arange(1, 101).float())
    assert (tail.threshold, tail.mean_excess) == (91.0, 4.5)
    values = torch.tensor([0.0, 1.0, 50.5, 91.0, 100.0, 1000.0], dtype=DTYPE)
    at_threshold = math.log(101 / 11)
    expected = [0.0, 0.0, math.log(101 / 51), at_threshold, at_threshold + 2, at_threshold + 909 / 4.5]
    assert tail.surprise(values).tolist() == pytest.approx(expected)
    constant = fit_tail(torch.zeros(20))
    assert constant.surprise(torch.tensor([0.0, 1.0], dtype=DTYPE))[1] > 1e6


def test_fishers_sum_of_one_part_is_its_surprise_and_of_two_their_sum() -> None:
    """In nats; parts keep their order, and are put on scale by normal images alone."""
    model = linear_model()
    x, normals = images(model), normal_images(model, 80, seed=9)
    alone = []
    for name in ("distortion", "prior_density"):
        tail = fit_tail(score_images(model, normals, name))
        alone.append(tail.surprise(score_images(model, x, name)))
        one = score_images(model, x, f"combined:parts={name}", normals=normals)
        torch.testing.assert_close(one, alone[-1])
    both = score_images(model, x, "combined:parts=distortion+prior_density", normals=normals)
    torch.testing.assert_close(both, alone[0] + alone[1])


def test_the_distance_of_parts_is_mahalanobis() -> None:
    """Against numpy's inverse of the parts' covariance, with the ridge relative to their variances."""
    model = linear_model()
    x, normals = images(model), normal_images(model, 80, seed=9)
    names = ("distortion", "energy", "prior_density")
    own, others = (
        np.stack([score_images(model, part, name).numpy() for name in names], 1) for part in (x, normals)
    )
    ridge = 0.05
    covariance = np.cov(others.T) + ridge * np.diag(others.var(0, ddof=1))
    centred = own - others.mean(0)
    expected = np.sqrt(np.einsum("bi,ij,bj->b", centred, np.linalg.inv(covariance), centred))
    score = f"combined:parts={'+'.join(names)},method=mahalanobis,ridge={ridge}"
    values = score_images(model, x, score, normals=normals)
    np.testing.assert_allclose(values.numpy(), expected)
    assert isinstance(build_score(score).fit(model, normals), MahalanobisDistance)  # type: ignore[union-attr]


def test_a_recipe_among_the_parts_is_fitted_to_one_half_and_scaled_by_the_other() -> None:
    """Even images fit, odd ones scale."""
    model = linear_model()
    x, normals = images(model), normal_images(model, 200, seed=9)
    values = score_images(model, x, "combined:parts=latent_density", normals=normals)
    part = build_score("latent_density").fit(model, normals[::2])  # type: ignore[union-attr]
    tail = fit_tail(score_images(model, normals[1::2], part))
    torch.testing.assert_close(values, tail.surprise(score_images(model, x, part)))


def test_a_part_that_does_not_vary_is_refused() -> None:
    """It has no scale."""
    model = linear_model()
    with torch.no_grad():
        model.prior.energy.a.zero_()
        model.prior.energy.b.zero_()
    with pytest.raises(NonFiniteError, match="LatentEnergy is the same for all normal images; leave it out"):
        score_images(
            model, images(model), "combined:parts=distortion+energy", normals=normal_images(model, 60)
        )


def test_a_flow_has_a_rate_but_no_level_rates() -> None:
    """Its marginals have no closed form; the default parts take the whole rate."""
    pytest.importorskip("zuko")
    model = linear_model("standard", energy=None)
    x, normals = normal_images(model, 3), normal_images(model, 60)
    torch.manual_seed(0)
    model.prior = FlowPrior(model.level_dims, n_transforms=1, hidden=(4,), bins=4).double()
    assert torch.isfinite(score_images(model, x, "rate")).all()
    for name in ("rate:level=0", "llr"):
        with pytest.raises(UnsupportedError, match="a flow has no"):
            score_images(model, x, name)
    assert torch.isfinite(score_images(model, x, "combined", normals=normals)).all()


def test_draws_differ_between_posterior_draws_and_uses() -> None:
    """No noise is used twice: seeds and indices give different base draws."""
    model = linear_model()
    latents = unflatten_latents(Exact(model, images(model)).mean, model.level_dims)
    sampler = ConditionalSampler(model.prior, [2], ConditionalOptions(16, 16), seed=0)
    other = ConditionalSampler(model.prior, [2], ConditionalOptions(16, 16), seed=1)
    draws = [sampler.draw(latents, 0), sampler.draw(latents, 1), other.draw(latents, 0)]
    for one, two in itertools.combinations(draws, 2):
        assert not torch.isclose(one.latents[2], two.latents[2]).any()
