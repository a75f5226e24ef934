"""The samplers whose chains are compared, tuned for a prior.

A length counts evaluations of the target's gradient per chain, so that dear moves are not favoured: a Langevin move
is one, a Hamiltonian one `n_leapfrog`, one of tempering those of all replicas; a proposal from the base counts one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hebm.config import McmcConfig, RunConfig
from hebm.evaluation.chain_walks import (
    ChainSampler,
    Chart,
    KernelChains,
    SegmentChains,
    chart_of,
    own_chains,
)
from hebm.models import JointModel
from hebm.priors import GaussianPrior
from hebm.randomness import named_generator
from hebm.samplers import (
    HMC,
    HMC_ACCEPTANCE,
    MALA,
    MALA_ACCEPTANCE,
    IndependenceChains,
    Kernel,
    LogDensity,
    MetropolisChains,
    ParallelTempering,
    RecoveryChains,
    ShortRunLangevin,
    UnadjustedLangevin,
    WhitenedChains,
    adapt_step_size,
    evaluate_state,
)

__all__ = ["about_sampler", "make_samplers", "own_sampler"]

N_PILOT = 200
SWAP_LEAPFROG = 5
Makers = dict[str, Callable[[], ChainSampler]]


def own_sampler(model: JointModel) -> str:
    """Name of the sampler that is the run's own."""
    names: dict[type, str] = {
        ShortRunLangevin: "langevin",
        WhitenedChains: "langevin",
        IndependenceChains: "independence",
        MetropolisChains: "metropolis",
        RecoveryChains: "recovery",
    }
    return names.get(type(model.sampler), "own")


def make_samplers(model: JointModel, config: RunConfig, pilot: Tensor, *, seed: int) -> Makers:
    """What makes each sampler; the making tunes it, and may find that its chains diverge.

    Args:
        model: The model; its prior has an energy.
        config: Its configuration.
        pilot: Flat latents near the data, [B, D], where warm-ups start.
        seed: The user's seed.

    Raises (the makers):
        NonFiniteError: If the target is not finite at the pilot.
    """
    chart, mcmc, own = chart_of(model), config.evaluation.mcmc, own_sampler(model)
    pilot = pilot[:N_PILOT]

    def stream(name: str) -> torch.Generator:
        return named_generator(seed, "mcmc", "warm-up", name, device=model.device)

    def langevin() -> ChainSampler:
        section = config.sampler
        kernel = UnadjustedLangevin(section.step_size, section.temperature)
        return KernelChains(kernel, chart, False, 1, {"step_size": section.step_size})

    makers: Makers = {
        "langevin": langevin,
        "mala": lambda: _mala(chart, mcmc, pilot, stream("mala")),
        "hmc": lambda: _hmc(chart, mcmc, pilot, stream("hmc")),
        "tempering": lambda: _tempering(chart, mcmc, pilot, stream("tempering")),
    }
    if not isinstance(getattr(model.prior, "base", None), GaussianPrior):
        makers["independence"] = lambda: SegmentChains(IndependenceChains(), model, is_exact=True)
    if own not in makers:
        makers[own] = lambda: own_chains(model)
    return makers


def _mala(chart: Chart, mcmc: McmcConfig, pilot: Tensor, generator: torch.Generator) -> ChainSampler:
    start = chart.to_state(pilot)
    step, acceptance = _tuned(MALA(0.05), chart.target, start, MALA_ACCEPTANCE, mcmc.n_warmup, generator)
    return KernelChains(MALA(step), chart, True, 1, {"step_size": step, "warmup_acceptance": acceptance})


def _hmc(chart: Chart, mcmc: McmcConfig, pilot: Tensor, generator: torch.Generator) -> ChainSampler:
    n, start = mcmc.n_leapfrog, chart.to_state(pilot)
    step, acceptance = _tuned(HMC(0.1, n), chart.target, start, HMC_ACCEPTANCE, mcmc.n_warmup, generator)
    tuned = {"step_size": step, "n_leapfrog": n, "warmup_acceptance": acceptance}
    return KernelChains(HMC(step, n), chart, True, n, tuned)


def _tempering(chart: Chart, mcmc: McmcConfig, pilot: Tensor, generator: torch.Generator) -> ChainSampler:
    """Hamiltonian replicas from the untilted base to the target, as many swaps accepted at each place of the ladder.

    Source of the ladder: Syed et al. (2022), arXiv:1905.02939, one round of it.
    """
    kernel, start, n_replicas = HMC(0.1, SWAP_LEAPFROG), chart.to_state(pilot), mcmc.n_replicas
    cold, hot = (
        _tuned(kernel, density, start, HMC_ACCEPTANCE, mcmc.n_warmup, generator)[0]
        for density in (chart.target, chart.untilted)
    )
    even = torch.linspace(1, 0, n_replicas, dtype=torch.float64).tolist()
    rejection = 1 - _swap_acceptance(kernel, chart, even, cold, hot, start, mcmc.n_warmup, generator)
    betas = _equal_rejection(even, rejection)
    about = {
        "inverse_temperatures": betas,
        "step_size": cold,
        "base_step_size": hot,
        "n_leapfrog": SWAP_LEAPFROG,
        "swap_acceptance": _swap_acceptance(
            kernel, chart, betas, cold, hot, start, mcmc.n_warmup, generator
        ).tolist(),
    }
    tempering = ParallelTempering(kernel, tuple(betas), chart.untilted)
    evaluations = n_replicas * (SWAP_LEAPFROG + 1)  # one more before the swap
    return KernelChains(tempering, chart, True, evaluations, about, _replica_steps(betas, cold, hot, start))


def _tuned(
    kernel: Kernel,
    density: LogDensity,
    start: Tensor,
    target: float,
    n_steps: int,
    generator: torch.Generator,
) -> tuple[float, float]:
    """The step size with the wanted acceptance, and the acceptance over the warm-up's second half."""
    adapted = adapt_step_size(
        kernel,
        density,
        evaluate_state(density, (start,)),
        n_steps=n_steps,
        initial_step_size=kernel.step_size,  # type: ignore[attr-defined]
        target_acceptance=target,
        generator=generator,
    )
    return adapted.step_size, adapted.acceptance[n_steps // 2 :].mean().item()


def _replica_steps(betas: list[float], cold: float, hot: float, like: Tensor) -> Tensor:
    """A step size for each inverse temperature, [1, n_replicas]: geometrically between the two ends."""
    steps = [cold**beta * hot ** (1 - beta) for beta in betas]
    return torch.tensor([steps], dtype=like.dtype, device=like.device)


def _swap_acceptance(
    kernel: HMC,
    chart: Chart,
    betas: list[float],
    cold: float,
    hot: float,
    start: Tensor,
    n_moves: int,
    generator: torch.Generator,
) -> Tensor:
    """Mean acceptance of swaps between neighbours over the second half of a pilot run, [n_replicas - 1]."""
    tempering = ParallelTempering(kernel, tuple(betas), chart.untilted)
    steps = _replica_steps(betas, cold, hot, start)
    state, seen = tempering.start(chart.target, (start[: N_PILOT // 4],)), []
    for _ in range(n_moves):
        state, info = tempering.step(chart.target, state, step_size=steps, generator=generator)
        seen.append(info.swap_acceptance.mean(0))
    return torch.stack(seen[n_moves // 2 :]).mean(0).double().cpu()


def _equal_rejection(betas: list[float], rejection: Tensor) -> list[float]:
    """Inverse temperatures between which swaps are rejected equally often, the rejections read off another ladder."""
    total = [0.0, *rejection.clamp(min=1e-3).cumsum(0).tolist()]
    n, ladder = len(betas), [1.0]
    for index in range(1, n - 1):
        wanted = total[-1] * index / (n - 1)
        k = next(i for i in range(1, n) if total[i] >= wanted)
        share = (wanted - total[k - 1]) / (total[k] - total[k - 1])
        ladder.append(betas[k - 1] + share * (betas[k] - betas[k - 1]))
    return [*ladder, 0.0]


def about_sampler(sampler: ChainSampler) -> dict[str, Any]:
    """What the result file says of a sampler."""
    return {
        "is_exact": sampler.is_exact,
        "evaluations_per_move": sampler.evaluations_per_move,
        **sampler.tuned,
    }
