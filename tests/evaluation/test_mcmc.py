"""The suite on chains: long runs against closed forms, the verdict, and what goes wrong."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.training.tiny import tiny_config
from torch import Tensor, nn

from hebm.build import build_model
from hebm.config import RunConfig
from hebm.evaluation.chain_samplers import _equal_rejection, make_samplers
from hebm.evaluation.chain_traces import CHAIN_BLOCK, Trace, _acceptance, _draw_moves, _Seen, trace_chains
from hebm.evaluation.chain_verdict import LongRun, converged, energy_bias, pick_reference
from hebm.evaluation.chain_walks import SegmentChains
from hebm.evaluation.mcmc import evaluate_mcmc
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.models import JointModel
from hebm.priors import GaussianPrior, JointPrior
from hebm.samplers import ChainResult
from hebm.training.checkpoint import write_checkpoint

DIM = 5
CURVATURE = 1.5
VARIANCE = 1 / (1 + CURVATURE)  # of the target, per unit
MCMC = (
    "evaluation.mcmc.n_samples_fd=150",
    "evaluation.mcmc.n_warmup=100",
    "evaluation.extractor=random_conv",
)


class Quadratic(nn.Module):
    """E(z) = a/2 |z - m|²: with the base N(0, I) the target is N(a m / (1 + a), 1 / (1 + a)) per unit."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift, self.n_rows = shift, 0

    def forward(self, latents: Latents) -> Tensor:
        return self._flat(flatten_latents(latents))

    def frozen(self) -> Any:
        return _Frozen(self)

    def _flat(self, flat: Tensor) -> Tensor:
        return 0.5 * CURVATURE * (flat - self.shift).square().sum(1)


class _Frozen:
    def __init__(self, energy: Quadratic) -> None:
        self.energy = energy

    def __call__(self, flat: Tensor) -> Tensor:
        return self.energy._flat(flat)

    def value_and_grad(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        self.energy.n_rows += len(flat)
        return self(flat), CURVATURE * (flat - self.energy.shift)


def quadratic_model(config: RunConfig, shift: float = 0.0) -> JointModel:
    """An untrained model whose prior's chains have a closed form."""
    model = build_model(config).eval().requires_grad_(False)
    model.prior = JointPrior(GaussianPrior(model.level_dims), Quadratic(shift))
    return model


def mean_energy(variance: float, shift: float = 0.0) -> float:
    """E[E(z)] under N(a m / (1 + a), variance) per unit."""
    off = shift / (1 + CURVATURE)
    return 0.5 * CURVATURE * DIM * (variance + off**2)


def run(*overrides: str, shift: float = 0.0, **more: Any) -> dict[str, Any]:
    """The suite on the quadratic prior."""
    config = tiny_config(*MCMC, *overrides)
    results = evaluate_mcmc(quadratic_model(config, shift), config, seed=0, **more)
    json.dumps(results, allow_nan=False)
    return results


@pytest.fixture(scope="module")
def coarse() -> dict[str, Any]:
    """A step so large that the unadjusted chains end elsewhere than the exact ones."""
    return run(
        "sampler.n_steps=20",
        "sampler.step_size=0.2",
        "evaluation.mcmc.steps=[0,20,100,600]",
        "evaluation.mcmc.what_k_buys=[5]",
        "evaluation.mcmc.long_chain_steps=100",
        "evaluation.mcmc.n_chains=1000",
        "evaluation.mcmc.n_replicas=3",
        "evaluation.mcmc.n_leapfrog=3",
        shift=1.0,
    )


@pytest.fixture(scope="module")
def fine() -> dict[str, Any]:
    """Small steps, enough of them."""
    return run(
        "sampler.n_steps=80",
        "sampler.step_size=0.03",
        "evaluation.mcmc.steps=[0,80,800]",
        "evaluation.mcmc.what_k_buys=[80]",
        "evaluation.mcmc.long_chain_steps=200",
        "evaluation.mcmc.n_chains=500",
        "evaluation.mcmc.max_steps={tempering: 12}",
    )


def test_exact_samplers_end_at_the_targets_mean_energy(coarse: dict[str, Any]) -> None:
    """E[E] = a D (s² + (m / (1 + a))²) / 2 with s² = 1 / (1 + a), and its spread, for MALA, HMC and tempering."""
    assert set(coarse["long_runs"]) == {"mala", "hmc", "tempering"}
    off = 1 / (1 + CURVATURE)
    sd = CURVATURE * math.sqrt(DIM * (VARIANCE**2 / 2 + off**2 * VARIANCE))
    for name, found in coarse["long_runs"].items():
        # 1,000 chains from each of two starts: whatever their correlation in time, 2,000 at least are independent
        assert abs(found["mean"] - mean_energy(VARIANCE, 1.0)) < 5 * sd / math.sqrt(2000), name
        assert found["sd"] == pytest.approx(sd, rel=5 / math.sqrt(2000)), name


def test_the_unadjusted_chains_bias_is_the_known_one(coarse: dict[str, Any]) -> None:
    """Their variance is s² / (1 - η / 2s²) per unit, their mean exact: the energy lies above by a D (v - s²) / 2."""
    biased = VARIANCE / (1 - 0.2 / (2 * VARIANCE))
    expected = mean_energy(biased, 1.0) - mean_energy(VARIANCE, 1.0)
    trace = coarse["samplers"]["langevin"]["starts"]["noise"]
    error = 5 * trace["energy_trace"]["sd"][-1] / math.sqrt(1000)
    assert 0 < 2 * error < 2 * expected
    assert abs(trace["energy_trace"]["mean"][-1] - mean_energy(biased, 1.0)) < error
    assert abs(trace["stationary_bias"][-1] - expected) < 1.5 * error
    bias = coarse["stationary_bias"]
    assert bias["reference"] in ("mala", "hmc", "tempering")
    assert (
        abs(bias["energy_nats"] - expected) < 1.5 * error
    )  # 20 steps of η / s² = 1/2: at its stationary law
    long_run = coarse["long_runs"][bias["reference"]]
    means = torch.tensor(trace["energy_trace"]["mean"], dtype=torch.float64)
    assert trace["stationary_bias"] == pytest.approx((means - long_run["mean"]).tolist())
    assert bias["energy_sd"] == pytest.approx(bias["energy_nats"] / long_run["sd"])
    assert bias["fd"] == pytest.approx(_fd(coarse, 20) - bias["fd_long_run"])


def test_a_bias_beyond_a_quarter_sd_is_no_convergence(coarse: dict[str, Any]) -> None:
    """Chains whose distance has settled may still be biased; the words say so."""
    assert coarse["is_converged"] is False
    assert any("above that of long runs" in reason for reason in coarse["against"])


def test_chains_that_have_converged_are_said_to_have(fine: dict[str, Any]) -> None:
    assert fine["is_converged"] is True, fine["against"]
    assert fine["against"] == []
    assert abs(fine["stationary_bias"]["energy_sd"]) < 0.25
    assert fine["long_chain"]["starts"]["noise"]["stays_on_the_data"]


def test_three_steps_towards_a_strong_tilt_have_not_converged() -> None:
    """From the base to a target five of its standard deviations away."""
    results = run(
        "sampler.n_steps=3",
        "sampler.step_size=0.02",
        "evaluation.mcmc.steps=[0,300]",
        "evaluation.mcmc.what_k_buys=[3]",
        "evaluation.mcmc.long_chain_steps=60",
        "evaluation.mcmc.n_chains=100",
        shift=5.0,
    )
    assert results["is_converged"] is False
    assert results["stationary_bias"]["energy_sd"] > 3
    trace = results["samplers"]["langevin"]["starts"]["noise"]["energy_trace"]
    kept = (1 - 0.02 / VARIANCE) ** 3  # of the distance to the target's mean
    mean = 5 * CURVATURE / (1 + CURVATURE) * (1 - kept)
    variance = kept**2 + 2 * 0.02 * sum((1 - 0.02 / VARIANCE) ** (2 * i) for i in range(3))
    expected = 0.5 * CURVATURE * DIM * (variance + (mean - 5) ** 2)
    at = trace["step"].index(3)
    assert abs(trace["mean"][at] - expected) < 5 * trace["sd"][at] / 10


def test_a_divergence_is_recorded_and_ends_nothing_else() -> None:
    """η (1 + a) > 2: unadjusted chains explode; the others, and the verdict, are there all the same."""
    results = run(
        "sampler.n_steps=5",
        "sampler.step_size=5.0",
        f"evaluation.mcmc.steps={[*range(31), 200]}",
        "evaluation.mcmc.what_k_buys=[5]",
        "evaluation.mcmc.long_chain_steps=60",
        "evaluation.mcmc.n_chains=100",
    )
    lost = results["samplers"]["langevin"]["starts"]["noise"]
    growth = abs(1 - 5.0 * (1 + CURVATURE))
    overflow = math.log(math.sqrt(3.4e38)) / math.log(growth)  # where |z|² leaves float32
    assert overflow - 4 < lost["diverged_at"] < overflow + 2
    assert lost["energy_trace"]["step"] == list(range(lost["diverged_at"]))
    assert any(
        f"langevin from noise: chains diverged at step {lost['diverged_at']}" in n for n in results["notes"]
    )
    assert results["samplers"]["mala"]["starts"]["noise"]["diverged_at"] is None
    assert results["is_converged"] is False
    assert results["long_chain"]["starts"]["noise"]["fd_at_long"] is None
    assert results["long_chain"]["starts"]["noise"]["fd_at_k"] is not None


def test_a_prior_without_energy_has_no_chain() -> None:
    config = tiny_config("prior.kind=gaussian")
    results = evaluate_mcmc(build_model(config), config, seed=0)
    assert "exact" in results["remark"]
    assert (results["has_chain"], results["is_converged"], results["samplers"]) == (False, None, {})


def test_fields_of_the_contract(coarse: dict[str, Any]) -> None:
    """Per sampler and length: energy_trace, acceptance, rhat, ess, stationary_bias."""
    own = [name for name, sampler in coarse["samplers"].items() if sampler["is_own"]]
    assert own == ["langevin"]
    for name, sampler in coarse["samplers"].items():
        for start in ("noise", "posterior"):
            fields = sampler["starts"][start]
            n = len(fields["energy_trace"]["step"])
            for values in (fields["energy_trace"]["mean"], fields["acceptance"], fields["stationary_bias"]):
                assert len(values) == n, name
            assert all(step % sampler["evaluations_per_move"] == 0 for step in fields["energy_trace"]["step"])
            assert fields["rhat"]["energy"] > 0.9
            assert fields["ess"]["level_1"]["max"] >= fields["ess"]["level_1"]["min"] > 0
    assert coarse["samplers"]["langevin"]["starts"]["noise"]["acceptance"][0] is None  # nobody has moved
    assert coarse["fd_base"] == _fd(coarse, 0)


def _fd(results: dict[str, Any], steps: int) -> float:
    (found,) = (row["fd"] for row in results["what_k_buys"] if row["steps"] == steps)
    return float(found)


def _sampler(name: str, *overrides: str, shift: float = 0.0) -> tuple[JointModel, Any]:
    config = tiny_config("evaluation.mcmc.n_warmup=60", "evaluation.mcmc.n_replicas=3", *overrides)
    model = quadratic_model(config, shift)
    with torch.no_grad():
        return model, make_samplers(model, config, torch.randn(50, DIM), seed=0)[name]()


@pytest.mark.parametrize("name", ["langevin", "mala", "hmc", "tempering"])
def test_lengths_count_gradient_evaluations(name: str) -> None:
    """What a move is said to cost is what the target was asked for, all replicas included."""
    model, sampler = _sampler(name)
    walk = sampler.walk(torch.randn(40, DIM), [0, 7], lambda: torch.Generator().manual_seed(0))
    next(walk)
    before = model.prior.energy.n_rows
    next(walk)
    assert model.prior.energy.n_rows - before == 7 * 40 * sampler.evaluations_per_move


def _trace(sampler: Any, model: JointModel, n_chains: int, *, n_starts: int = 9, **more: Any) -> Trace:
    def stream(block: int) -> torch.Generator:
        return torch.Generator().manual_seed(block)

    options = {"steps": [0, 4, 12], "snapshot_steps": [12], "n_snapshots": n_chains} | more
    return trace_chains(
        sampler,
        lambda block: torch.randn(CHAIN_BLOCK, DIM, generator=stream(100 + block % n_starts)),
        lambda flat: model.prior.energy(unflatten_latents(flat, model.level_dims)),
        n_chains=n_chains,
        noise=stream,
        **options,
    )


def test_a_chain_does_not_depend_on_how_many_there_are() -> None:
    """Bit-equal beginnings, across a block's end, with more looks or fewer, with snapshots of more chains."""
    model, sampler = _sampler("mala")
    few, many = (_trace(sampler, model, n) for n in (CHAIN_BLOCK + 3, 2 * CHAIN_BLOCK))
    assert torch.equal(few.energies, many.energies[:, : CHAIN_BLOCK + 3])
    assert torch.equal(few.snapshots[12], many.snapshots[12][: CHAIN_BLOCK + 3])
    assert not torch.equal(many.energies[:, :CHAIN_BLOCK], many.energies[:, CHAIN_BLOCK:])
    alike = _trace(sampler, model, 2 * CHAIN_BLOCK, n_starts=1)
    assert torch.equal(alike.energies[0, :CHAIN_BLOCK], alike.energies[0, CHAIN_BLOCK:])
    assert not torch.equal(alike.energies[1, :CHAIN_BLOCK], alike.energies[1, CHAIN_BLOCK:]), (
        "one noise for all"
    )
    more = _trace(sampler, model, 10, n_snapshots=CHAIN_BLOCK + 3, steps=[0, 12])
    assert torch.equal(more.energies[-1], few.energies[-1, :10])
    assert torch.equal(more.snapshots[12], few.snapshots[12])


def test_a_sampler_that_tunes_itself_is_run_anew_for_each_length() -> None:
    """Each length is what the model's own call gives from the same start and generator."""
    config = tiny_config("sampler.kind=metropolis")
    model = quadratic_model(config)
    start = torch.randn(20, DIM)
    chains = SegmentChains(model.sampler, model, is_exact=False, can_continue=False)
    walk = chains.walk(start, [4, 10], lambda: torch.Generator().manual_seed(3))
    for n, (flat, _) in zip((4, 10), walk, strict=True):
        levels = unflatten_latents(start, model.level_dims)
        own = model.sampler(
            model.prior.density(), levels, n_steps=n, generator=torch.Generator().manual_seed(3)
        )
        assert torch.equal(flat, flatten_latents(own.latents))


def test_segments_go_on_where_the_last_one_ended() -> None:
    """And the acceptance is the share of chains that a step moved: here those with a first latent below zero."""

    class Walker:
        def __call__(self, density: object, initial: Latents, **options: Any) -> ChainResult:
            moved = torch.where(initial[0][:, :1] < 0, initial[0] - options["n_steps"], initial[0])
            return ChainResult((moved, *initial[1:]), torch.empty(0))

    model = quadratic_model(tiny_config())
    start = torch.tensor([-1.0, 1.0, 1.0, 1.0])[:, None].repeat(1, DIM)
    looks = list(SegmentChains(Walker(), model, is_exact=True).walk(start, [0, 2, 5], torch.Generator))
    assert [flat[0, 0].item() for flat, _ in looks] == [-1, -3, -6]
    assert [a for _, a in looks[1:]] == [0.25, 0.25]


def test_persistent_chains_of_a_checkpoint_are_a_start(tmp_path: Path) -> None:
    """Their energy before any step is that of the pool."""
    pool = torch.full((100, DIM), 2.0)
    path = write_checkpoint(tmp_path, 1, {"trainer": {"learner.pool": pool}}, {})
    options = (
        "evaluation.mcmc.steps=[0,12]",
        "evaluation.mcmc.n_chains=50",
        "evaluation.mcmc.what_k_buys=[2]",
    )
    results = run(
        "sampler.n_steps=1",
        "evaluation.mcmc.long_chain_steps=10",
        "evaluation.mcmc.max_steps={tempering: 1}",
        *options,
        checkpoint=path,
    )
    trace = results["samplers"]["mala"]["starts"]["pool"]["energy_trace"]
    assert trace["mean"][0] == pytest.approx(0.5 * CURVATURE * DIM * 4)
    assert "pool" in results["long_chain"]["starts"]


def test_the_verdicts_thresholds() -> None:
    """Quarter of an sd, a factor of 1.15 either way, and a certified long run."""
    good: dict[str, Any] = {"is_certified": True, "bias_in_sd": -0.24, "fd_at_k": 1.0, "fd_at_10k": 1.14}
    assert converged(**good) == (True, [])
    for change in (
        {"bias_in_sd": 0.26},
        {"bias_in_sd": -0.26},
        {"bias_in_sd": math.nan},
        {"fd_at_10k": 1.16},
        {"fd_at_10k": 1 / 1.16},
        {"fd_at_10k": None},
        {"is_certified": False},
    ):
        verdict, against = converged(**{**good, **change})
        assert (verdict, len(against)) == (False, 1), change
    assert energy_bias(5.0, LongRun(2.0, 4.0, 1.0, 100.0)) == (3.0, 0.75)
    runs = {"a": LongRun(0, 1, 1.06, 1), "b": LongRun(0, 1, 1.04, 1)}
    assert pick_reference(runs) == ("b", True)
    assert pick_reference({"a": runs["a"]}) == ("a", False)
    assert pick_reference({}) == (None, False)


def test_the_ladder_spreads_rejections_evenly() -> None:
    """Read off straight lines: total 0.8 in three intervals, so each gets 0.8 / 3."""
    betas = _equal_rejection([1.0, 0.6, 0.3, 0.0], torch.tensor([0.4, 0.2, 0.2], dtype=torch.float64))
    assert betas == pytest.approx([1.0, 1 - 0.4 * 2 / 3, 0.6 - 0.3 * (0.8 * 2 / 3 - 0.4) / 0.2, 0.0])


def test_acceptance_between_lengths_weighs_looks_by_their_moves() -> None:
    """Looks at 2, 5 and 9 moves; the grid has 0, 5 and 9: (2 · 0.9 + 3 · 0.4) / 5, then 0.5."""
    block = _Seen({}, {}, {0: math.nan, 2: 0.9, 5: 0.4, 9: 0.5}, {})
    start, first, second = _acceptance([block, block], [0, 5, 9])
    assert math.isnan(start)
    assert (first, second) == pytest.approx((0.6, 0.5))


def test_draws_are_of_the_second_half() -> None:
    assert _draw_moves(8) == [5, 6, 7, 8]
    many = _draw_moves(10_000)
    assert (len(many), many[-1]) == (200, 10_000)
    assert many[0] > 5000
