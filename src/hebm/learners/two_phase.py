"""Two-phase learning: any learner on still latents, with a guard that goes back and slows down."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hebm.errors import DivergenceError, NonFiniteError
from hebm.learners.base import PriorLearner
from hebm.learners.posterior import PosteriorLatents

__all__ = ["TwoPhaseGuard", "TwoPhaseHistory", "fit_two_phase"]

N_KEPT = 5


@dataclass(frozen=True)
class TwoPhaseGuard:
    """When learning counts as diverged, and what is tried.

    Args:
        max_energy_gap: Largest |mean energy of data side - of the prior's samples| over a look, nats.
        every: Steps between looks; a look that is fine becomes a state to go back to. A rollback goes to the one before
            the last, and further each time: the last look before a divergence is often the beginning of it.
        max_rollbacks: How often to go back before giving up.
        lr_factor: The rates are multiplied by this each time.
    """

    max_energy_gap: float = 100.0
    every: int = 100
    max_rollbacks: int = 5
    lr_factor: float = 0.5


@dataclass(frozen=True)
class TwoPhaseHistory:
    """What `prepare` found, the terms at every look (means since the last), and what was rolled back."""

    prepared: dict[str, Any]
    looks: tuple[dict[str, float], ...]
    rollbacks: tuple[dict[str, Any], ...]


def fit_two_phase(
    learner: PriorLearner,
    prior: nn.Module,
    posterior: PosteriorLatents,
    *,
    n_steps: int,
    batch_size: int = 1000,
    guard: TwoPhaseGuard = TwoPhaseGuard(),
    generator: torch.Generator,
    watch: Callable[[int, dict[str, float]], None] | None = None,
) -> TwoPhaseHistory:
    r"""Fit a prior to anybody's latents: first what is fitted at once, then n_steps steps on fresh posterior draws.

    The rates of the learner's optimisers fall from what they are to zero along half a cosine.

    Args:
        learner: Learner of the prior.
        prior: The module whose parameters it changes.
        posterior: The data side; any model's latents, put into :class:`PosteriorLatents`.
        n_steps: Number of steps.
        batch_size: Latents per step.
        guard: When to go back.
        generator: Source of batches and posterior noise.
        watch: Called at each look with the step and the mean terms.

    Raises:
        DivergenceError: If all tries are spent.
    """
    prepared = learner.prepare(posterior, generator=generator)
    base_rates = {name: _rate(optimizer) for name, optimizer in learner.optimizers.items()}
    good, factor, step = [(0, _snapshot(learner, prior))], 1.0, 0
    sums, looks, rollbacks = _Sums(), [], []
    while learner.optimizers and step < n_steps:
        for name, optimizer in learner.optimizers.items():
            _set_rate(optimizer, base_rates[name] * factor * 0.5 * (1 + math.cos(math.pi * step / n_steps)))
        trouble = _step(learner, posterior, batch_size, generator, sums)
        step += 1
        if trouble is None and (step % guard.every == 0 or step == n_steps):
            means = sums.means()
            trouble = _trouble(means, guard)
            if trouble is None:
                looks.append({"step": float(step), **means})
                good = [*good[-N_KEPT:], (step, _snapshot(learner, prior))]
                if watch is not None:
                    watch(step, means)
            sums = _Sums()
        if trouble is not None:
            good = good[:-1] if len(good) > 1 else good
            good_step, snapshot = good[-1]
            rollbacks.append({"step": step, "reason": trouble, "back_to": good_step})
            if len(rollbacks) > guard.max_rollbacks:
                raise DivergenceError(
                    f"the prior diverged at step {step} ({trouble}) and {guard.max_rollbacks} rollbacks with a lower "
                    "rate did not help; lower the rate or the chains' step size, or run longer chains."
                )
            _restore(learner, prior, snapshot)
            looks = [look for look in looks if look["step"] <= good_step]
            factor, step, sums = factor * guard.lr_factor, good_step, _Sums()
    for name, optimizer in learner.optimizers.items():
        _set_rate(optimizer, base_rates[name])
    return TwoPhaseHistory(prepared, tuple(looks), tuple(rollbacks))


class _Sums:
    def __init__(self) -> None:
        self.total: dict[str, Tensor] = {}
        self.n = 0

    def add(self, terms: dict[str, Tensor]) -> None:
        self.n += 1
        for name, value in terms.items():
            self.total[name] = self.total.get(name, torch.zeros(())) + value.detach().cpu()

    def means(self) -> dict[str, float]:
        return {name: (total / max(self.n, 1)).item() for name, total in self.total.items()}


def _step(
    learner: PriorLearner,
    posterior: PosteriorLatents,
    batch_size: int,
    generator: torch.Generator,
    sums: _Sums,
) -> str | None:
    latents, _ = posterior.batch(batch_size, generator=generator)
    try:
        sums.add(learner.step(latents))
    except NonFiniteError as error:
        return str(error)
    return None


def _trouble(means: dict[str, float], guard: TwoPhaseGuard) -> str | None:
    for name, value in means.items():
        if not math.isfinite(value):
            return f"{name} is not finite"
    gap = means.get("energy_data", 0.0) - means.get("energy_prior", 0.0)
    return f"the energy gap is {gap:.4g} nats" if abs(gap) > guard.max_energy_gap else None


def _rate(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _snapshot(learner: PriorLearner, prior: nn.Module) -> tuple[Any, Any, Any]:
    optimizers = {name: o.state_dict() for name, o in learner.optimizers.items()}
    return copy.deepcopy((prior.state_dict(), optimizers, learner.tensors()))


def _restore(learner: PriorLearner, prior: nn.Module, snapshot: tuple[Any, Any, Any]) -> None:
    weights, optimizers, tensors = copy.deepcopy(snapshot)
    prior.load_state_dict(weights)
    for name, optimizer in learner.optimizers.items():
        optimizer.load_state_dict(optimizers[name])
    learner.load(tensors)
