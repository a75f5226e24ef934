"""Still latents and learning on them: rates that fall along a cosine, going back, giving up, anybody's latents."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from tests.learners.targets import divergence, grid, posterior
from torch import Tensor, nn

from hebm.distributions import DiagonalNormal
from hebm.errors import DivergenceError, LatentShapeError, NonFiniteError
from hebm.latents import Latents
from hebm.learners import (
    LikelihoodLearner,
    MixtureLearner,
    NoiseContrastiveLearner,
    PosteriorLatents,
    TwoPhaseGuard,
    fit_two_phase,
)
from hebm.learners.updates import descend
from hebm.priors import EnergyNetwork, GaussianPrior, JointPrior, MixturePrior, StagedEnergy

DTYPE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Scripted:
    """A learner that counts: each step adds 1 to its parameter, draws from its stream, and says what it is told to.

    Args:
        script: From the number of the call (it counts on through rollbacks) to the step's terms.
    """

    def __init__(self, script: Callable[[int], dict[str, float]]) -> None:
        self.prior = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.prior.weight)
        self.script, self.n_calls, self.n_taken = script, 0, 0
        self.optimizers = {
            "energy": torch.optim.SGD(self.prior.parameters(), lr=0.4, momentum=0.5),
            "base": torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1),
        }
        self.rates: list[tuple[float, float]] = []
        self.seen: list[tuple[float, int]] = []

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, int]:
        return {"n": len(posterior)}

    def step(self, latents: Latents) -> dict[str, Tensor]:
        self.seen.append((self.prior.weight.item(), self.n_taken))
        self.rates.append(tuple(o.param_groups[0]["lr"] for o in self.optimizers.values()))
        self.n_calls, self.n_taken = self.n_calls + 1, self.n_taken + 1
        self.prior.weight.grad = torch.ones(1, 1)
        self.optimizers["energy"].step()
        return {name: torch.tensor(value) for name, value in self.script(self.n_calls).items()}

    def tensors(self) -> dict[str, Tensor]:
        return {"n_taken": torch.tensor(self.n_taken)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.n_taken = int(tensors["n_taken"])


def calm(call: int) -> dict[str, float]:
    return {"energy_data": 1.0, "energy_prior": float(call)}


def test_all_rates_fall_from_their_own_to_zero_along_half_a_cosine() -> None:
    """Step t of T has ½ (1 + cos(π t / T)) times the rate the optimiser came with."""
    learner = Scripted(calm)
    fit_two_phase(learner, learner.prior, posterior(50), n_steps=8, generator=generator())
    factors = [0.5 * (1 + math.cos(math.pi * t / 8)) for t in range(8)]
    assert learner.rates == [pytest.approx((0.4 * f, 0.1 * f)) for f in factors]
    assert [o.param_groups[0]["lr"] for o in learner.optimizers.values()] == [0.4, 0.1]  # put back


def test_the_history_holds_the_mean_terms_at_every_look() -> None:
    """Means since the look before, the last look at the end; what `prepare` found; every look is told."""
    learner, told = Scripted(calm), []
    history = fit_two_phase(
        learner,
        learner.prior,
        posterior(50),
        n_steps=7,
        guard=TwoPhaseGuard(every=3),
        generator=generator(),
        watch=lambda step, means: told.append((step, means["energy_prior"])),
    )
    assert told == [(3, 2.0), (6, 5.0), (7, 7.0)]
    assert [(look["step"], look["energy_prior"]) for look in history.looks] == told
    assert (history.prepared, history.rollbacks) == ({"n": 50}, ())


def failing(call: int) -> dict[str, float]:
    """The sixth step is lost."""
    if call == 6:
        raise NonFiniteError("lost")
    return calm(call)


def not_a_number(call: int) -> dict[str, float]:
    return {**calm(call), "energy_data": math.nan if call == 5 else 1.0}


def exploding(call: int) -> dict[str, float]:
    return {**calm(call), "energy_data": 1000.0 if call == 5 else 1.0}


@pytest.mark.parametrize(
    ("script", "found_at", "reason"),
    [(failing, 6, "lost"), (not_a_number, 6, "energy_data is not finite"), (exploding, 6, "gap is 495")],
)
def test_a_step_that_diverges_is_rolled_back_and_the_rates_are_halved(
    script: Callable[[int], dict[str, float]], found_at: int, reason: str
) -> None:
    """Looks at 2 and 4 were fine: parameters, momentum and the learner's own tensors are those of step 2 to the bit."""
    learner, twin = Scripted(script), Scripted(calm)
    guard = TwoPhaseGuard(every=2, max_energy_gap=20)
    history = fit_two_phase(
        learner, learner.prior, posterior(50), n_steps=9, guard=guard, generator=generator()
    )
    fit_two_phase(twin, twin.prior, posterior(50), n_steps=9, guard=guard, generator=generator())
    assert [(r["step"], r["back_to"]) for r in history.rollbacks] == [(found_at, 2)]
    assert reason in history.rollbacks[0]["reason"]
    assert learner.seen[found_at] == twin.seen[2]
    assert learner.rates[found_at:] == [pytest.approx((0.5 * a, 0.5 * b)) for a, b in twin.rates[2:]]
    assert learner.n_calls == found_at + 7
    assert learner.n_taken == 9
    momentum = learner.optimizers["energy"].state_dict()["state"][0]["momentum_buffer"]
    assert momentum.item() == pytest.approx(
        2 - 2 * 0.5**9
    )  # of nine steps, not of those that were taken back
    assert [look["step"] for look in history.looks] == [2, 4, 6, 8, 9]
    assert history.looks[1]["energy_prior"] == 7.5  # of calls 7 and 8: what was rolled back does not count


def test_every_rollback_goes_further_back() -> None:
    """To the look before the last good one, then to the one before that, each time at half the rate."""

    def twice(call: int) -> dict[str, float]:
        return {"energy_data": 0.0, "energy_prior": 50.0 if 6 < call <= 10 else 0.0}

    learner = Scripted(twice)
    guard = TwoPhaseGuard(every=2, max_energy_gap=10)
    history = fit_two_phase(
        learner, learner.prior, posterior(50), n_steps=8, guard=guard, generator=generator()
    )
    assert [(r["step"], r["back_to"]) for r in history.rollbacks] == [(8, 4), (6, 2)]
    factors = [0.5 * (1 + math.cos(math.pi * t / 8)) for t in (4, 5, 2, 3)]
    expected = [0.1 * h * f for h, f in zip((0.5, 0.5, 0.25, 0.25), factors, strict=True)]
    assert [rates[1] for rates in learner.rates[8:12]] == pytest.approx(expected)
    assert learner.n_taken == 8


def test_learning_gives_up_after_the_last_try() -> None:
    """Two rollbacks allowed: the third divergence is an error; from the very start it goes back no further."""

    def always(call: int) -> dict[str, float]:
        return {"energy_data": 0.0, "energy_prior": 50.0 if call > 2 else 0.0}

    learner = Scripted(always)
    guard = TwoPhaseGuard(every=2, max_rollbacks=2, max_energy_gap=10)
    with pytest.raises(DivergenceError, match=r"at step 2 \(the energy gap is -50 nats\) and 2 rollbacks"):
        fit_two_phase(learner, learner.prior, posterior(50), n_steps=8, guard=guard, generator=generator())
    assert learner.n_calls == 8
    assert [learner.rates[i][1] for i in (0, 4, 6)] == pytest.approx([0.1, 0.05, 0.025])
    assert learner.seen[4] == learner.seen[6] == (0.0, 0)


def test_a_gradient_that_is_not_finite_moves_nothing_and_is_rolled_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A true learner whose energy is lost once goes on from the look before and ends finite."""
    torch.manual_seed(0)
    prior = JointPrior(GaussianPrior((1, 1)), StagedEnergy([EnergyNetwork((1, 1), width=8)]))
    optimizer = torch.optim.Adam([p for p in prior.energy.parameters() if p.requires_grad], lr=1e-2)
    learner = NoiseContrastiveLearner(prior, optimizer, generator(), steps_per_stage=20)
    healthy, calls = type(learner)._noise, []

    def sometimes_lost(self: NoiseContrastiveLearner, stage: int, latents: Latents) -> Latents:
        calls.append(copy.deepcopy(prior.state_dict()))
        noise = healthy(self, stage, latents)
        return tuple(torch.nan * z for z in noise) if len(calls) == 8 else noise

    monkeypatch.setattr(type(learner), "_noise", sometimes_lost)
    history = fit_two_phase(
        learner,
        prior,
        posterior(),
        n_steps=20,
        batch_size=50,
        guard=TwoPhaseGuard(every=3),
        generator=generator(),
    )
    assert [(r["step"], r["back_to"]) for r in history.rollbacks] == [(8, 3)]
    assert all(torch.equal(calls[3][key], calls[8][key]) for key in calls[3])
    assert all(torch.isfinite(value).all() for value in prior.state_dict().values())
    assert learner.n_taken == 20


@pytest.mark.parametrize(("max_norm", "norm"), [(None, 5.0), (100.0, 5.0), (1.0, 1.0)])
def test_an_update_clips_the_norm_of_the_gradient(max_norm: float | None, norm: float) -> None:
    """The norm before is returned; old gradients are forgotten."""
    p = nn.Parameter(torch.tensor([1.0, 1.0]))
    p.grad = torch.full((2,), 7.0)
    before = descend((p * torch.tensor([3.0, 4.0])).sum(), torch.optim.SGD([p], lr=1.0), max_norm=max_norm)
    assert before.item() == pytest.approx(5)
    assert (1 - p).norm().item() == pytest.approx(norm, rel=1e-5)
    with pytest.raises(NonFiniteError, match="gradient of the prior is not finite"):
        descend((p * torch.tensor([math.nan, 0.0])).sum(), torch.optim.SGD([p], lr=1.0), max_norm=max_norm)
    assert torch.isfinite(p).all()


def test_a_learner_without_steps_is_prepared_and_done() -> None:
    """A mixture is fitted at once: no look, no rollback, and a step has no terms."""
    prior = MixturePrior((1, 1), 2)
    learner = MixtureLearner(prior, (2,))
    history = fit_two_phase(learner, prior, posterior(), n_steps=50, generator=generator())
    assert (history.looks, history.rollbacks) == ((), ())
    assert history.prepared["mixture_candidates"][0]["n_components"] == 2
    assert learner.step(posterior().batch(3, generator=generator())[0]) == learner.tensors() == {}
    with torch.no_grad():
        assert divergence(prior.log_prob(grid())) < 0.02


def test_a_log_density_that_is_not_finite_is_an_error() -> None:
    """Of a prior that learns by its likelihood; the key to change is named."""
    prior = MixturePrior((1, 1), 2)
    learner = LikelihoodLearner(prior, torch.optim.Adam(prior.parameters()))
    with pytest.raises(NonFiniteError, match=r"lower `trainer\.base\.lr`"):
        learner.step((torch.full((2, 1), torch.nan), torch.zeros(2, 1)))


def test_latents_of_a_model_without_levels_and_without_scales_can_be_learned() -> None:
    """One level of three latents, inferred as points from elsewhere: the log-likelihood of held-out points rises."""
    source = generator(3)
    points = torch.tensor([2.0, -1.0, 0.5]) + torch.randn(3000, 3, generator=source) @ torch.tensor(
        [[0.5, 0.3, 0.0], [0.0, 0.4, -0.2], [0.0, 0.0, 0.3]]
    )
    foreign = PosteriorLatents(points[:2500], torch.zeros(2500, 3), (3,))
    torch.manual_seed(0)
    base = MixturePrior((3,), 1)
    prior = JointPrior(base, StagedEnergy([EnergyNetwork((3,), width=16)]))
    MixtureLearner(base, (1,)).prepare(foreign, generator=source)
    fitted = base.log_prob((points[2500:],)).mean().item()
    truth = -sum(map(math.log, (0.5, 0.4, 0.3))) - 1.5 * math.log(2 * math.pi * math.e)
    assert fitted == pytest.approx(truth, abs=5 * (1.5 / 500) ** 0.5)  # Var log p = D/2
    optimizer = torch.optim.Adam([p for p in prior.energy.parameters() if p.requires_grad], lr=1e-2)
    learner = NoiseContrastiveLearner(prior, optimizer, source, steps_per_stage=100)
    history = fit_two_phase(learner, prior, foreign, n_steps=100, batch_size=200, generator=source)
    assert history.looks[-1]["loss_nce"] == pytest.approx(
        2 * math.log(2), abs=0.05
    )  # nothing is left to learn
    assert prior.log_density((points[2500:],)).mean().item() == pytest.approx(fitted, abs=0.1)


def small() -> PosteriorLatents:
    """Six images with two levels of one and two latents."""
    source = generator(2)
    mean = torch.randn(6, 3, generator=source, dtype=DTYPE)
    return PosteriorLatents(mean, 0.1 + torch.rand(6, 3, generator=source, dtype=DTYPE), (1, 2))


def test_rates_are_those_to_the_standard_normal() -> None:
    """½ Σ (m² + s² - 1 - log s²) over each level's latents, top first, of the images that were named."""
    side, rows = small(), torch.tensor([4, 1])
    m, s = side.mean[rows], side.scale[rows]
    terms = 0.5 * (m**2 + s**2 - 1 - (s**2).log())
    torch.testing.assert_close(side.rates(rows), torch.stack([terms[:, 0], terms[:, 1:].sum(1)]))
    whole = DiagonalNormal(m, s).kl_to_standard()
    torch.testing.assert_close(side.rates(rows).sum(0), whole)


def test_a_split_is_disjoint_and_complete() -> None:
    """Each image is in one part, with its own scale; the second has the share, and one image at least."""
    side = small()
    for share, n_second in [(1 / 3, 2), (0.5, 3), (0.01, 1)]:
        first, second = side.split(share, generator=generator())
        assert (len(first), len(second)) == (6 - n_second, n_second)
        rows = [int((side.mean == row).all(1).nonzero()) for row in torch.cat([first.mean, second.mean])]
        assert sorted(rows) == list(range(6))
        assert torch.equal(torch.cat([first.scale, second.scale]), side.scale[rows])
        assert first.level_dims == second.level_dims == (1, 2)
    orders = [side.split(0.5, generator=generator(seed))[0].mean for seed in range(4)]
    assert any(not torch.equal(orders[0], other) for other in orders[1:])


def test_samples_have_the_posteriors_law() -> None:
    """z = m + s ε of the named rows; a batch says which images it shows, by level, top first."""
    side = small()
    rows = torch.tensor([3]).expand(20_000)
    z = side.sample(rows, generator=generator())
    s = side.scale[3]
    assert ((z.mean(0) - side.mean[3]).abs() < 5 * s / 20_000**0.5).all()
    assert ((z.std(0) - s).abs() < 5 * s / 40_000**0.5).all()
    latents, chosen = side.batch(200, generator=generator())
    assert [tuple(level.shape) for level in latents] == [(200, 1), (200, 2)]
    standardised = (torch.cat(latents, 1) - side.mean[chosen]) / side.scale[chosen]
    assert standardised.abs().max().item() < 5
    assert len(chosen.unique()) == 6
    assert side.sample(generator=generator()).shape == (6, 3)


def test_posteriors_that_do_not_fit_are_refused() -> None:
    """Scales of another shape, widths that are not the levels', values that are not finite."""
    zeros, ones = torch.zeros(2, 3), torch.ones(2, 3)
    with pytest.raises(LatentShapeError, match=r"\[N, 4\] are expected \(levels \[1, 3\]\)"):
        PosteriorLatents(zeros, ones, (1, 3))
    with pytest.raises(LatentShapeError, match=r"\[2, 3\] and \[3\]"):
        PosteriorLatents(zeros, torch.ones(3), (1, 2))
    for mean, scale in [(torch.nan * zeros, ones), (zeros, torch.inf * ones)]:
        with pytest.raises(NonFiniteError, match="check the encoder"):
            PosteriorLatents(mean, scale, (1, 2))
