"""Runs of a kernel: what is kept; the warm-up that fixes a step size."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hebm.errors import ConfigError
from hebm.latents import Latents, flatten_latents
from hebm.samplers import (
    HMC,
    HMC_ACCEPTANCE,
    MALA,
    MALA_ACCEPTANCE,
    ChainState,
    MoveInfo,
    adapt_step_size,
    evaluate_state,
    run_chain,
)

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]


def target(latents: Latents) -> Tensor:
    return -0.5 * (latents[0] / torch.linspace(0.5, 2, 10, dtype=torch.float64)).square().sum(1) - latents[
        1
    ].cosh().sum(1)


def start(n: int) -> ChainState:
    return evaluate_state(target, (torch.ones(n, 10).double(), torch.ones(n, 2).double()))


def test_a_run_keeps_every_thin_th_move(seeded: Seeded) -> None:
    """Flat positions, their log-densities, and the mean acceptance of the moves between; then where it ended."""
    kernel, state, generator = MALA(0.3), start(5), seeded(0)
    draws = run_chain(kernel, target, state, 4, thin=3, generator=seeded(0))
    for i in range(4):
        acceptance = torch.zeros(5, dtype=torch.float64)
        for _ in range(3):
            state, info = kernel.step(target, state, generator=generator)
            acceptance += info.acceptance / 3
        assert torch.equal(draws.positions[i], flatten_latents(state.latents))
        assert torch.equal(draws.log_density[i], state.log_density)
        torch.testing.assert_close(draws.acceptance[i], acceptance)
    assert torch.equal(draws.state.grads[0], state.grads[0])


def test_two_runs_are_one(seeded: Seeded) -> None:
    """Going on from the state with the same generator equals not stopping; the step size can be another."""
    kernel, generator = HMC(0.3, 2), seeded(0)
    whole = run_chain(HMC(0.5, 2), target, start(3), 6, generator=seeded(0)).positions
    first = run_chain(kernel, target, start(3), 2, step_size=0.5, generator=generator)
    second = run_chain(kernel, target, first.state, 4, step_size=0.5, generator=generator)
    assert torch.equal(whole, torch.cat([first.positions, second.positions]))


@pytest.mark.parametrize("counts", [{"n_draws": 0}, {"n_draws": 2, "thin": 0}])
def test_counts_are_positive(counts: dict[str, int]) -> None:
    """Nothing to keep is a mistake."""
    with pytest.raises(ConfigError, match="a positive number is expected"):
        run_chain(MALA(0.1), target, start(2), **counts)


class Scripted:
    """A kernel that accepts as it is told and notes the step sizes it gets."""

    def __init__(self, acceptance: list[float]) -> None:
        self.acceptance, self.sizes = iter(acceptance), []

    def step(
        self, log_density: Any, state: ChainState, *, step_size: float, **_: Any
    ) -> tuple[ChainState, MoveInfo]:
        self.sizes.append(step_size)
        ones = torch.ones_like(state.log_density)
        return state, MoveInfo(next(self.acceptance) * ones, ones.bool(), ones)


def test_the_warm_up_is_dual_averaging_as_published() -> None:
    """Step sizes used and returned are those of the recursion in the paper's own order of terms."""
    alphas = [0.9, 0.1, 0.7, 0.35, 1.0, 0.55]
    kernel, delta, first = Scripted(alphas), 0.6, 0.2
    result = adapt_step_size(
        kernel, target, start(2), n_steps=6, initial_step_size=first, target_acceptance=delta
    )
    gamma, t0, kappa, mu = 0.05, 10, 0.75, math.log(10 * first)
    h, log_bar, used = 0.0, 0.0, [first]
    for m, alpha in enumerate(alphas, start=1):
        h = (1 - 1 / (m + t0)) * h + (delta - alpha) / (m + t0)
        log_eps = mu - math.sqrt(m) / gamma * h
        log_bar = m**-kappa * log_eps + (1 - m**-kappa) * log_bar
        used.append(math.exp(log_eps))
    assert kernel.sizes == pytest.approx(used[:-1])
    assert result.step_size == pytest.approx(math.exp(log_bar))
    torch.testing.assert_close(result.acceptance, torch.tensor(alphas, dtype=torch.float64))


@pytest.mark.parametrize("first", [1e-4, 3.0])
@pytest.mark.parametrize(
    ("kernel", "wanted"), [(MALA(1.0), MALA_ACCEPTANCE), (HMC(1.0, 4), HMC_ACCEPTANCE), (MALA(1.0), 0.9)]
)
def test_the_step_size_it_finds_has_the_wanted_acceptance(
    kernel: MALA | HMC, wanted: float, first: float, seeded: Seeded
) -> None:
    """In a run with that step size fixed, from starts far too small and far too large."""
    generator = seeded(0)
    warm = adapt_step_size(
        kernel,
        target,
        start(100),
        n_steps=300,
        initial_step_size=first,
        target_acceptance=wanted,
        generator=generator,
    )
    draws = run_chain(kernel, target, warm.state, 100, step_size=warm.step_size, generator=generator)
    assert abs(draws.acceptance.mean().item() - wanted) < 0.05


def test_clamped_latents_stay_in_the_warm_up(seeded: Seeded) -> None:
    """`free` goes through to the kernel."""
    free = (torch.zeros(1, 1).double(), torch.ones(1, 1).double())
    warm = adapt_step_size(
        MALA(1.0), target, start(4), n_steps=20, initial_step_size=0.1, generator=seeded(0), free=free
    )
    assert (warm.state.latents[0] == 1).all()
    assert (warm.state.latents[1] != 1).all()


@pytest.mark.parametrize(
    "wrong",
    [{"n_steps": 0}, {"initial_step_size": 0.0}, {"target_acceptance": 1.0}, {"target_acceptance": 0.0}],
)
def test_a_warm_up_without_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Counts, first step size and wanted acceptance are checked."""
    settings: dict[str, Any] = {"n_steps": 5, "initial_step_size": 0.1, **wrong}
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        adapt_step_size(MALA(1.0), target, start(2), **settings)
