"""Every learner of a prior: it learns a known density, its sampler draws from it, it resumes, it leaves alone what
must not learn."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from tests.learners.targets import (
    CELL,
    divergence,
    gaussian_floor,
    grid,
    grid_weights,
    moments,
    posterior,
    target_moments,
    top_down_floor,
)
from tests.training.tiny import tiny_config
from torch import Tensor

from hebm.build_prior import AnyPrior, build_learner, build_prior, build_sampler
from hebm.config import RunConfig
from hebm.errors import LatentShapeError
from hebm.latents import Latents, flatten_latents
from hebm.learners import (
    ContrastiveLearner,
    NoiseContrastiveLearner,
    PriorLearner,
    RecoveryLearner,
    TwoPhaseGuard,
    fit_two_phase,
)
from hebm.priors import (
    FullGaussianPrior,
    JointPrior,
    MixturePrior,
    RecoveryPrior,
    StagedEnergy,
    VampPrior,
    fit_mixture,
)

COMMON = (
    "model.levels=[{latents: 1, channels: 16}, {latents: 1, channels: 8}]",
    "prior.width=24",
    "prior.depth=2",
    "prior.activation=silu",
    "trainer.energy.lr=1e-2",
    "trainer.base.lr=1e-2",
    "trainer.energy_only_steps=400",
    "sampler.n_chains=400",
)


@dataclass(frozen=True)
class Case:
    """A configuration, and how close it comes.

    Args:
        overrides: What to learn, and how.
        within: KL(q | p) in nats that it must come below, beyond the floor.
        floor: KL of the best density of this form.
        n_steps: Steps on still latents.
        moments_within: Largest error of the samples' moments, besides five standard errors.
        is_exact: Whether the sampler's law is that of the density.
    """

    overrides: tuple[str, ...]
    within: float
    floor: Callable[[], float] = float
    n_steps: int = 200
    moments_within: float = 0.15
    is_exact: bool = False


ONE = "prior.n_components=[1]"  # leaves an energy something to learn
FEW = "prior.n_components=[60]"
SHORT_RUN = ("trainer.energy.lr=2e-3", "sampler.n_steps=20")
WHITE = ("prior.base=top_down", "trainer.energy.lr=2e-3", "sampler.n_steps=10")
PROPOSALS = ("sampler.n_steps=5", "sampler.sampling_steps=60")
LONG = ("sampler.n_steps=60", "sampler.step_size=0.03")
MIXTURE, VAMP = ("prior.base=mixture", ONE, *PROPOSALS), ("prior.base=vamp", FEW, *PROPOSALS)
CASES = {
    "full_gaussian": Case(("prior.kind=full_gaussian",), 0.01, gaussian_floor, is_exact=True),
    "mixture": Case(("prior.kind=mixture", "prior.n_components=[1, 2, 4]"), 0.02, is_exact=True),
    "vamp": Case(("prior.kind=vamp", "prior.n_components=[200]"), 0.08, is_exact=True),
    "flow": Case(("prior.kind=flow", "prior.flow_transforms=2"), 0.06, n_steps=120, is_exact=True),
    "top_down": Case(("prior.kind=top_down",), 0.03, top_down_floor, moments_within=0.4, is_exact=True),
    "joint": Case(("prior.kind=joint", *SHORT_RUN), 0.5, moments_within=0.25),
    "joint top_down": Case(("prior.kind=joint", *WHITE), 0.4, n_steps=120),
    "joint mixture": Case(("prior.kind=joint", *MIXTURE), 0.08, n_steps=150, is_exact=True),
    "joint vamp": Case(("prior.kind=joint", *VAMP), 0.12, n_steps=80, is_exact=True),
    "persistent": Case(("prior.kind=persistent", *SHORT_RUN), 0.5, moments_within=0.25),
    "persistent top_down": Case(("prior.kind=persistent", *WHITE), 0.4, n_steps=120),
    "persistent mixture": Case(("prior.kind=persistent", *MIXTURE), 0.08, n_steps=150, is_exact=True),
    "persistent vamp": Case(("prior.kind=persistent", *VAMP), 0.12, n_steps=80, is_exact=True),
    "importance top_down": Case(("prior.kind=importance", "prior.base=top_down", *LONG), 0.15),
    "importance mixture": Case(("prior.kind=importance", *MIXTURE), 0.05, is_exact=True),
    "importance vamp": Case(("prior.kind=importance", *VAMP), 0.12, n_steps=100, is_exact=True),
    "nce": Case(("prior.kind=nce", *LONG), 0.05, n_steps=400),
    "nce two stages": Case(("prior.kind=nce", "prior.n_stages=2", *LONG), 0.08, n_steps=400),
    "nce top_down": Case(("prior.kind=nce", "prior.base=top_down", *LONG), 0.08),
    "nce mixture": Case(("prior.kind=nce", *MIXTURE), 0.05, is_exact=True),
    "nce vamp": Case(("prior.kind=nce", *VAMP), 0.12, n_steps=100, is_exact=True),
    "recovery": Case(
        (
            "prior.kind=recovery",
            "prior.noise_levels=[0.5, 0.9]",
            "sampler.n_steps=8",
            "sampler.sampling_steps=60",
        ),
        0.25,
        moments_within=0.3,
    ),
}
every_learner = pytest.mark.parametrize("name", CASES)


def config_of(name: str) -> RunConfig:
    return tiny_config(*COMMON, *CASES[name].overrides)


def streams(seed: int) -> dict[str, torch.Generator]:
    return {name: torch.Generator().manual_seed(seed + i) for i, name in enumerate(("prior", "pool"))}


def built(name: str, seed: int = 0) -> tuple[AnyPrior, PriorLearner]:
    torch.manual_seed(0)  # of the initial weights
    config = config_of(name)
    prior = build_prior(config.prior, (1, 1))
    learner = build_learner(config, prior, streams(seed))
    assert learner is not None
    return prior, learner


@cache
@torch.enable_grad()
def learned(name: str) -> AnyPrior:
    prior, learner = built(name)
    for part in (learner, getattr(learner, "energy", None)):
        if isinstance(part, NoiseContrastiveLearner):
            part.n_pool = 4000
    fit_two_phase(
        learner,
        prior,
        posterior(),
        n_steps=CASES[name].n_steps,
        batch_size=300,
        guard=TwoPhaseGuard(max_rollbacks=0),
        generator=torch.Generator().manual_seed(1),
    )
    return prior.eval()


@torch.no_grad()
def log_density(prior: AnyPrior) -> Tensor:
    return prior.log_density(grid())


@every_learner
def test_a_learner_comes_near_the_data_side(name: str) -> None:
    """KL(q | p), log Z by quadrature: within the stated distance of its form's floor; N(0, I) is 0.93 nats away."""
    case, density = CASES[name], log_density(learned(name))
    assert torch.isfinite(density).all()
    found, floor = divergence(density), case.floor()
    assert found < floor + case.within
    assert floor - 1e-3 < found
    assert divergence(-0.5 * torch.cat(grid(), 1).square().sum(1)) > found + 0.4


@pytest.mark.parametrize("name", [name for name in CASES if " " in name and "stages" not in name])
def test_an_energy_brings_its_base_nearer(name: str) -> None:
    """KL(q | p) below that of the learned base alone."""
    prior = learned(name)
    assert isinstance(prior, JointPrior)
    with torch.no_grad():
        alone = divergence(prior.base.log_prob(grid()))
    assert divergence(log_density(prior)) < 0.97 * alone


@pytest.mark.parametrize("name", ["full_gaussian", "mixture", "vamp", "flow", "top_down"])
def test_a_prior_without_energy_stays_normalised(name: str) -> None:
    """∫∫ p = 1 by quadrature after learning."""
    assert log_density(learned(name)).double().exp().sum().item() * CELL == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["nce", "nce two stages", "nce mixture", "nce vamp"])
def test_noise_contrastive_estimation_finds_log_z(name: str) -> None:
    """The learned constants make every stage normalised by itself: ∫∫ p = 1 within 15 %."""
    log_z = math.log(log_density(learned(name)).double().exp().sum().item() * CELL)
    assert abs(log_z) < 0.15


@torch.no_grad()
def sampled(name: str, n: int = 4000) -> Tensor:
    """As a model samples its prior: exact from a base, by chains from the base with an energy."""
    prior, generator = learned(name), torch.Generator().manual_seed(2)
    initial: Latents = prior.sample_base(n, like=torch.empty(0), generator=generator)
    if prior.energy is None:
        return flatten_latents(initial)
    chains = build_sampler(config_of(name))
    return flatten_latents(chains(prior.density(), initial, generator=generator).latents)


@every_learner
def test_the_sampler_of_a_learned_prior_draws_the_data_side(name: str) -> None:
    """Moments of the data side within the case's tolerance; of the density itself where the sampler is exact."""
    case, found = CASES[name], moments(sampled(name))
    errors = 5 * found.std(0) / len(found) ** 0.5
    far = (found.mean(0) - target_moments()).abs() - errors
    assert (far < case.moments_within).all(), far
    if case.is_exact:
        weights = grid_weights(log_density(learned(name)))
        own = (weights[:, None] * moments(torch.cat(grid(), 1))).sum(0)
        assert ((found.mean(0) - own).abs() < errors + 0.01).all()


def run(prior: AnyPrior, learner: PriorLearner, generator: torch.Generator, n_steps: int) -> list[float]:
    """Some steps; the sum of each one's terms."""
    terms = []
    for _ in range(n_steps):
        latents, _ = posterior().batch(50, generator=generator)
        terms.append(sum(float(value.detach()) for value in learner.step(latents).values()))
    return terms


def state_of(prior: AnyPrior, learner: PriorLearner) -> dict[str, Tensor]:
    return {
        name: tensor.detach().clone() for name, tensor in {**prior.state_dict(), **learner.tensors()}.items()
    }


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def short(
    name: str, patch: pytest.MonkeyPatch, seed: int = 0, steps_per_stage: int = 4
) -> tuple[AnyPrior, PriorLearner]:
    """Prepared, with short stages and a small pool."""
    prior, learner = built(name, seed)
    energy = getattr(learner, "energy", learner)
    for key, value in {"steps_per_stage": steps_per_stage, "n_pool": 200}.items():
        if hasattr(energy, key):
            patch.setattr(energy, key, value)
    learner.prepare(posterior(1200), generator=torch.Generator().manual_seed(seed))
    return prior, learner


@every_learner
def test_a_learner_that_is_put_back_goes_on_to_the_same_bits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prior, optimisers, streams and `tensors()` are all there is: six steps, or three and three by another learner."""
    prior, learner = short(name, monkeypatch, steps_per_stage=2)
    generator = torch.Generator().manual_seed(5)
    first = run(prior, learner, generator, 3)
    other, second = short(name, monkeypatch, seed=7, steps_per_stage=2)
    other.load_state_dict(prior.state_dict())
    for key, optimizer in learner.optimizers.items():
        second.optimizers[key].load_state_dict(copy.deepcopy(optimizer.state_dict()))
    second.load(copy.deepcopy(learner.tensors()))
    for ours, theirs in zip(generators(learner), generators(second), strict=True):
        theirs.set_state(ours.get_state())
    copied = torch.Generator()
    copied.set_state(generator.get_state())
    assert run(prior, learner, generator, 3) == run(other, second, copied, 3)
    assert same(state_of(prior, learner), state_of(other, second))
    assert len(first) == 3


def generators(learner: PriorLearner) -> list[torch.Generator]:
    """The random streams of a learner and of its parts."""
    parts = [getattr(learner, name) for name in ("base", "energy") if hasattr(learner, name)]
    own = [*getattr(learner, "streams", {}).values(), *filter(None, [getattr(learner, "stream", None)])]
    return own + [stream for part in parts for stream in generators(part)]


@every_learner
def test_learning_follows_its_streams(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Same seeds the same bits, other seeds others; the global stream is untouched."""
    before = torch.random.get_rng_state()
    ends = []
    for seed in (0, 0, 3):
        with torch.random.fork_rng(devices=[]):
            prior, learner = built(name, seed)
        generator = torch.Generator().manual_seed(seed)
        learner.prepare(posterior(1200), generator=generator)
        run(prior, learner, generator, 2)
        ends.append(state_of(prior, learner))
    assert same(ends[0], ends[1])
    assert not same(ends[0], ends[2])
    assert torch.equal(torch.random.get_rng_state(), before)


TILTED_FITTED = [name for name in CASES if name.endswith((" mixture", " vamp"))]


@pytest.mark.parametrize("name", TILTED_FITTED)
def test_a_base_that_is_fitted_at_once_does_not_move_with_the_energy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepare` fits it and the steps leave it; the energy moves; no optimiser holds it."""
    prior, learner = short(name, monkeypatch)
    assert isinstance(prior, JointPrior)
    untouched, _ = built(name)
    assert isinstance(untouched, JointPrior)
    assert not same(prior.base.state_dict(), untouched.base.state_dict())
    base, energy = (copy.deepcopy(part.state_dict()) for part in (prior.base, prior.energy))
    run(prior, learner, torch.Generator().manual_seed(5), 3)
    assert same(prior.base.state_dict(), base)
    assert not same(prior.energy.state_dict(), energy)
    assert list(learner.optimizers) == ["energy"]


def test_a_base_that_learns_by_gradient_moves_beside_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its own optimiser; the base follows its likelihood alone, whatever the energy is."""
    prior, learner = short("joint top_down", monkeypatch)
    alone, base_learner = short("top_down", monkeypatch)
    assert isinstance(prior, JointPrior)
    alone.load_state_dict(prior.base.state_dict())
    energy = copy.deepcopy(prior.energy.state_dict())
    run(prior, learner, torch.Generator().manual_seed(5), 3)
    run(alone, base_learner, torch.Generator().manual_seed(5), 3)
    assert sorted(learner.optimizers) == ["base", "energy"]
    assert same(prior.base.state_dict(), alone.state_dict())
    assert not same(prior.energy.state_dict(), energy)


def test_stages_learn_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one learns, those before it, their constants too, keep their bits, and those after it rest."""
    prior, learner = short("nce two stages", monkeypatch)
    staged = prior.energy
    assert isinstance(staged, StagedEnergy)

    def stage(index: int) -> dict[str, Tensor]:
        weights = {key: value.clone() for key, value in staged.stages[index].state_dict().items()}
        return weights | {"constant": staged.constants[index].detach().clone()}

    generator = torch.Generator().manual_seed(5)
    states = [[stage(0), stage(1)]]
    for _ in range(2):
        run(prior, learner, generator, 4)
        states.append([stage(0), stage(1)])
    assert int(staged.n_active) == 2
    (first, second), (after_first, still), (left, after_second) = states
    assert not same(first, after_first)
    assert same(second, still)
    assert same(after_first, left)
    assert not same(still, after_second)


@pytest.mark.parametrize("n_moves", [1, 30])
def test_the_noise_of_the_second_stage_is_drawn_from_the_first(
    n_moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool has the moments of p_1 = exp(-E_0) p_0 by quadrature, not those of the base: by weights alone, and after
    moves. A step moves the chains it takes and no others."""
    monkeypatch.setattr("hebm.learners.noise_contrastive.EQUILIBRATION_STEPS", n_moves)
    prior, learner = built("nce two stages")
    monkeypatch.setattr(learner, "steps_per_stage", 150)
    monkeypatch.setattr(learner, "n_pool", 4000)
    generator = torch.Generator().manual_seed(0)
    learner.prepare(posterior(), generator=generator)
    run(prior, learner, generator, 150)
    weights = grid_weights(log_density(prior))
    run(prior, learner, generator, 1)
    pool = learner.tensors()["nce_pool"].clone()
    found = moments(pool)
    expected = (weights[:, None] * moments(torch.cat(grid(), 1))).sum(0)
    assert ((found.mean(0) - expected).abs() < 5 * found.std(0) / 1500**0.5).all()  # resampled draws repeat
    assert (expected - torch.tensor([0, 0, 1, 1, 0, 0.5])).abs().max().item() > 0.2
    where = learner.tensors()["nce_pool"].data_ptr()
    run(prior, learner, generator, 1)
    assert 0 < int((learner.tensors()["nce_pool"] != pool).any(1).sum()) <= 50
    assert learner.tensors()["nce_pool"].data_ptr() == where  # moved in place, not copied whole


def test_persistent_chains_go_on_where_they_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step starts from chains of the pool and stores where they went; no others move without restarts."""
    _, learner = short("persistent", monkeypatch)
    assert isinstance(learner, ContrastiveLearner)
    learner.restart_probability = 0.0
    before = learner.tensors()["pool"].clone()
    seen = []
    chains = learner.sampler

    def recorded(density: object, initial: Latents, *, generator: torch.Generator) -> object:
        end = chains(density, initial, generator=generator)
        seen.extend([flatten_latents(initial), flatten_latents(end.latents)])
        return end

    learner.sampler = recorded
    learner.step(posterior().batch(50, generator=torch.Generator().manual_seed(5))[0])
    after = learner.tensors()["pool"]
    moved = (after != before).any(1)
    assert int(moved.sum()) == 50
    for ours, pool in zip(seen, (before, after), strict=True):
        assert torch.equal(ours.sort(0).values, pool[moved].sort(0).values)


@pytest.mark.parametrize("name", ["persistent mixture", "persistent"])
def test_persistent_chains_start_anew_on_a_base_that_was_just_fitted(name: str) -> None:
    """Before the fit they are N(0, I), which the mixture no longer is; on N(0, I) itself they stay."""
    prior, learner = built(name)
    before = learner.tensors()["pool"].clone()
    learner.prepare(posterior(), generator=torch.Generator().manual_seed(0))
    after = learner.tensors()["pool"]
    if name == "persistent":
        assert torch.equal(after, before)
        return
    found = moments(after)
    drawn = flatten_latents(prior.sample_base(20_000, like=after, generator=streams(9)["pool"]))
    assert after.shape == (400, 2)
    assert ((found.mean(0) - moments(drawn).mean(0)).abs() < 5 * found.std(0) / 400**0.5).all()
    off = (moments(before).mean(0) - moments(drawn).mean(0)).abs() / moments(before).std(0)
    assert off.max().item() > 7 / 400**0.5
    assert not (after == before).any()


def test_a_noise_level_learns_its_conditional_from_pairs_of_the_same_latents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The chains of level t start from, and are held to, the noisier state u_{t+1} of the batch itself."""
    prior, learner = short("recovery", monkeypatch)
    assert isinstance(prior, RecoveryPrior)
    assert isinstance(learner, RecoveryLearner)
    latents, _ = posterior().batch(6, generator=torch.Generator().manual_seed(5))
    stream = torch.Generator()
    stream.set_state(learner.stream.get_state())
    path = prior.diffuse(flatten_latents(latents), stream)
    seen: dict[int, Tensor] = {}
    chains = type(learner.sampler).level

    def recorded(self: object, density: object, level: int, noisier: Tensor, **options: object) -> object:
        seen[level] = noisier
        return chains(self, density, level, noisier, **options)

    monkeypatch.setattr(type(learner.sampler), "level", recorded)
    learner.step(latents)
    assert sorted(seen) == [0, 1]
    assert all(torch.equal(seen[level], path[level + 1]) for level in seen)


def test_a_flow_is_put_into_the_units_of_samples() -> None:
    """Centred and divided by the spread of z ~ q(z|x), far from the origin too."""
    far = replace(posterior(), mean=40 + 9 * posterior().mean, scale=9 * posterior().scale)
    prior, learner = built("flow")
    learner.prepare(far, generator=torch.Generator().manual_seed(0))
    m = target_moments()
    deviations = (m[2:4] - m[:2].square()).sqrt()
    torch.testing.assert_close(prior.mean, (40 + 9 * m[:2]).float(), rtol=0, atol=9 * 5 / 4000**0.5)
    torch.testing.assert_close(prior.scale, (9 * deviations).float(), rtol=0.06, atol=0)


def test_a_mixture_learns_by_gradient_too() -> None:
    """In joint training, from components that are told apart: within 0.1 nats, without EM."""
    config = tiny_config(
        *COMMON,
        "prior.kind=mixture",
        "prior.training=joint",
        "prior.n_components=[6]",
        "trainer.base.lr=2e-2",
    )
    prior = build_prior(config.prior, (1, 1))
    learner = build_learner(config, prior, streams(0))
    assert learner is not None
    assert (prior.means.std(0) - 0.5).abs().max().item() < 0.4
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        learner.step(posterior().batch(400, generator=generator)[0])
    assert divergence(log_density(prior)) < 0.1


def test_a_gaussian_is_fitted_to_samples_and_not_to_means() -> None:
    """Its covariance is that of z ~ q(z|x): the posteriors' variance is part of it."""
    wide = replace(posterior(), mean=0.1 * posterior().mean, scale=torch.ones(4000, 2))
    prior, learner = built("full_gaussian")
    assert learner.prepare(wide, generator=torch.Generator().manual_seed(0)) == {}
    assert isinstance(prior, FullGaussianPrior)
    draws = flatten_latents(prior.sample_base(8000, like=torch.empty(0), generator=streams(0)["prior"]))
    variance = 1 + 0.01 * posterior().mean.var(0)
    assert ((draws.var(0) - variance).abs() < 5 * variance * (2 / 8000 + 2 / 4000) ** 0.5).all()


def test_components_that_are_left_over_change_nothing() -> None:
    """Of the sizes 2 and 7 the smaller is chosen; the prior's log-density is that of the two components alone."""
    overrides = ("prior.kind=mixture", "prior.n_components=[2, 7]")
    prior = build_prior(tiny_config(*COMMON, *overrides).prior, (1, 1))
    learner = build_learner(tiny_config(*COMMON, *overrides), prior, streams(0))
    assert learner is not None
    found = learner.prepare(posterior(), generator=torch.Generator().manual_seed(0))
    assert [c["n_components"] for c in found["mixture_candidates"]] == [2, 7]
    best = max(found["mixture_candidates"], key=lambda c: c["held_out_log_density"])
    assert best["n_components"] == 2, "the test needs a smaller size to win"
    assert isinstance(prior, MixturePrior)
    assert prior.logits.shape == (7,)
    used = prior.components()
    alone = MixturePrior((1, 1), 2)
    alone.load_components_(used.log_weights[:2].exp(), used.means[:2], torch.eye(2).expand(2, 2, 2))
    with torch.no_grad():
        alone.factors.load_(used.factors.lower[:2])
        torch.testing.assert_close(log_density(prior), log_density(alone), rtol=1e-6, atol=1e-6)
    drawn = flatten_latents(prior.sample_base(2000, like=torch.empty(0), generator=streams(0)["prior"]))
    assert abs(drawn[:, 0].mean().item() - target_moments()[0].item()) < 5 * 1.13 / 2000**0.5


def test_a_mixture_of_more_components_than_images_is_left_out_and_told() -> None:
    """Of 20 images a tenth is held out: 19 components cannot be fitted to 18 latents; where no size can, it says so."""
    overrides = ("prior.kind=mixture", "prior.n_components=[1, 18, 19]")
    prior = build_prior(tiny_config(*COMMON, *overrides).prior, (1, 1))
    learner = build_learner(tiny_config(*COMMON, *overrides), prior, streams(0))
    assert learner is not None
    generator = torch.Generator().manual_seed(0)
    found = learner.prepare(posterior(20), generator=generator)
    assert [c["n_components"] for c in found["mixture_candidates"]] == [1, 18]
    assert found["mixture_left_out"] == [19]
    assert torch.isfinite(log_density(prior)).all()
    with pytest.raises(
        LatentShapeError, match=r"0 images cannot give a mixture of 1 .* lower `prior\.n_comp"
    ):
        learner.prepare(posterior(1), generator=generator)


@pytest.mark.parametrize(("n_images", "n_draws"), [(4000, 1), (120, 1), (111, 1), (100, 2), (20, 6)])
def test_few_images_give_several_draws_each(
    n_images: int, n_draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine tenths of them, two latents, 50 draws per latent at least; held-out images give as many each."""
    seen: dict[str, Tensor] = {}

    def recorded(train: Tensor, valid: Tensor, **options: object) -> object:
        seen.update(train=train, valid=valid)
        return fit_mixture(train, valid, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("hebm.learners.fitted.fit_mixture", recorded)
    overrides = ("prior.kind=mixture", "prior.n_components=[1]")
    prior = build_prior(tiny_config(*COMMON, *overrides).prior, (1, 1))
    learner = build_learner(tiny_config(*COMMON, *overrides), prior, streams(0))
    assert learner is not None
    side = posterior(n_images)
    learner.prepare(side, generator=torch.Generator().manual_seed(0))
    n_valid = n_images // 10
    assert (len(seen["train"]), len(seen["valid"])) == (n_draws * (n_images - n_valid), n_draws * n_valid)
    assert len(seen["train"].unique(dim=0)) == len(seen["train"])
    near = torch.cdist(torch.cat([seen["train"], seen["valid"]]), side.mean).min(1).values
    assert near.max().item() < 5 * side.scale.max().item()


def test_exemplars_are_the_posteriors_of_different_images() -> None:
    """Means and scales are rows of the posterior, no row twice, with equal weights; too few images are refused."""
    generator = torch.Generator().manual_seed(0)
    varied = replace(posterior(), scale=posterior().scale + 0.1 * torch.rand(4000, 2, generator=generator))
    prior, learner = built("vamp")
    assert learner.prepare(varied, generator=generator) == {}
    assert isinstance(prior, VampPrior)
    same_row = (prior.means[:, None] == varied.mean[None]).all(2) & (
        prior.scales[:, None] == varied.scale[None]
    ).all(2)
    assert same_row.any(1).all()
    assert len(prior.means.unique(dim=0)) == 200
    assert prior.components().log_weights.tolist() == pytest.approx([-math.log(200)] * 200, rel=1e-5)
    with pytest.raises(LatentShapeError, match="200 components; lower the number"):
        learner.prepare(posterior(150), generator=generator)
