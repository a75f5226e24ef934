"""Chains of one sampler from one start: energies on a grid of lengths, positions for images, draws for diagnostics.

Chains run in blocks of fixed size, each with a generator of its own, so chain i depends on the seed and i alone.
"""

import itertools
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.evaluation.chain_walks import ChainSampler, DivergedError
from hebm.samplers import bulk_effective_sample_size, split_r_hat

__all__ = ["CHAIN_BLOCK", "Diagnostics", "Trace", "diagnose", "trace_chains"]

CHAIN_BLOCK = 500
N_DRAWS = 200
N_DIAGNOSED = 125
COLUMNS_AT_ONCE = 16


@dataclass(frozen=True)
class Trace:
    """What was seen of chains; lengths are evaluations per chain, everything is on the CPU.

    Args:
        steps: Lengths, rising; they end before a divergence.
        energies: Energies at those lengths, [n_steps, n_chains] nats.
        snapshots: Length to positions, [n, D].
        acceptance: Mean acceptance between each length and the one before, [n_steps]; NaN where nobody moved.
        draws: Positions of some chains over the second half, [n_draws, n, D]; no draws where chains cannot go on.
        draw_energies: Energies of all chains at those draws, [n_draws, n_chains].
        n_evaluations: Length of the second half.
        diverged_at: Length at which a chain left the finite numbers; None if none did.
    """

    steps: list[int]
    energies: Tensor
    snapshots: dict[int, Tensor]
    acceptance: list[float]
    draws: Tensor
    draw_energies: Tensor
    n_evaluations: int
    diverged_at: int | None


@dataclass
class _Seen:
    """One block's chains."""

    energies: dict[int, Tensor]
    snapshots: dict[int, Tensor]
    acceptance: dict[int, float]
    draws: dict[int, Tensor]
    diverged_at: int | None = None


def trace_chains(
    sampler: ChainSampler,
    start: Callable[[int], Tensor],
    energy: Callable[[Tensor], Tensor],
    *,
    steps: Collection[int],
    snapshot_steps: Collection[int],
    n_chains: int,
    n_snapshots: int,
    noise: Callable[[int], torch.Generator],
) -> Trace:
    """Run chains and look at them.

    Args:
        sampler: What moves them.
        start: A block's number to its positions, [CHAIN_BLOCK, D].
        energy: E of flat latents, [B] nats.
        steps: Lengths at which energies are taken; cut to whole moves.
        snapshot_steps: Lengths, among them, at which positions are kept.
        n_chains: Chains whose energies are kept.
        n_snapshots: Chains whose positions are kept.
        noise: A block's number to its generator.
    """
    per_move = sampler.evaluations_per_move
    grid = sorted({step // per_move for step in steps})
    shown = {step // per_move for step in snapshot_steps}
    drawn = _draw_moves(grid[-1]) if sampler.can_continue else []
    blocks, n_diagnosed = [], min(n_chains, N_DIAGNOSED)
    for block in range(-(-max(n_chains, n_snapshots) // CHAIN_BLOCK)):
        moves = sorted({*grid, *drawn}) if block * CHAIN_BLOCK < n_chains else sorted(shown)
        seen = _Seen({}, {}, {}, {})
        blocks.append(seen)
        # the loop variable is bound now: a generator is made within this turn
        walk = sampler.walk(start(block), moves, lambda block=block: noise(block))  # type: ignore[misc]
        try:
            for at, (flat, acceptance) in zip(moves, walk, strict=False):
                _look(seen, at, flat, acceptance, energy, shown, drawn if block == 0 else [], n_diagnosed)
        except DivergedError as error:
            seen.diverged_at = error.n_moves
    return _joined(blocks, grid, drawn, per_move, n_chains, n_snapshots)


def _draw_moves(n_moves: int) -> list[int]:
    """Moves of the second half at which draws are taken, evenly, at most N_DRAWS of them."""
    half = n_moves // 2
    thin = max(1, -(-(n_moves - half) // N_DRAWS))
    return list(range(n_moves, half, -thin))[::-1]


def _look(
    seen: _Seen,
    at: int,
    flat: Tensor,
    acceptance: float,
    energy: Callable[[Tensor], Tensor],
    shown: Collection[int],
    drawn: Collection[int],
    n_diagnosed: int,
) -> None:
    values = energy(flat)
    if not torch.isfinite(values).all():
        raise DivergedError(at)
    seen.energies[at], seen.acceptance[at] = values.cpu(), acceptance
    if at in shown:
        seen.snapshots[at] = flat.cpu()
    if at in drawn:
        seen.draws[at] = flat[:n_diagnosed].cpu()


def _joined(
    blocks: list[_Seen], grid: list[int], drawn: list[int], per_move: int, n_chains: int, n_snapshots: int
) -> Trace:
    """All blocks side by side, up to the first divergence of any."""
    lost = [block.diverged_at for block in blocks if block.diverged_at is not None]
    end = min(lost, default=math.inf)
    measured = blocks[: -(-n_chains // CHAIN_BLOCK)]
    kept = [at for at in grid if at < end]

    def energies(moves: list[int]) -> Tensor:
        rows = [torch.cat([block.energies[at] for block in measured])[:n_chains] for at in moves]
        return torch.stack(rows) if rows else torch.empty(0, n_chains)

    shown = [at for at in sorted(blocks[0].snapshots) if at < end]
    draws = [at for at in drawn if at < end] if end == math.inf else []
    return Trace(
        steps=[at * per_move for at in kept],
        energies=energies(kept),
        snapshots={
            at * per_move: torch.cat([block.snapshots[at] for block in blocks])[:n_snapshots] for at in shown
        },
        acceptance=_acceptance(measured, kept),
        draws=torch.stack([blocks[0].draws[at] for at in draws]) if draws else torch.empty(0, 0, 0),
        draw_energies=energies(draws),
        n_evaluations=(grid[-1] - grid[-1] // 2) * per_move,
        diverged_at=None if end == math.inf else int(end) * per_move,
    )


def _acceptance(blocks: list[_Seen], grid: list[int]) -> list[float]:
    """Mean over blocks and over the looks between one length of the grid and the next, weighted by their moves."""
    looks = sorted(blocks[0].acceptance)
    moves = (
        dict(zip(looks, [looks[0], *(b - a for a, b in itertools.pairwise(looks))], strict=True))
        if looks
        else {}
    )
    result = []
    for before, at in zip([-1, *grid], grid, strict=False):
        within = [m for m in looks if before < m <= at and moves[m]]
        total = sum(block.acceptance[m] * moves[m] for block in blocks for m in within)
        weight = len(blocks) * sum(moves[m] for m in within)
        result.append(total / weight if weight else math.nan)
    return result


@dataclass(frozen=True)
class Diagnostics:
    """Split R-hat and bulk effective sample size: of the energy, and per level the worst and best of its latents.

    Args:
        rhat: ``energy``, and ``level_0`` (top) and so on as {"max", "min"}.
        ess: The same.
        worst_rhat: The greatest of all.
        worst_ess: The least of all.
    """

    rhat: dict[str, object]
    ess: dict[str, object]
    worst_rhat: float
    worst_ess: float


def diagnose(draws: Tensor, draw_energies: Tensor, level_dims: tuple[int, ...]) -> Diagnostics | None:
    """Diagnostics of draws [n_draws, n_chains, D] and of the same chains' energies [n_draws, n_chains].

    None where there are fewer than 4 draws. A latent that never moved is left out.
    """
    if len(draws) < 4:
        return None
    energy = draw_energies[:, :, None]
    parts = {"energy": energy} | {
        f"level_{i}": part for i, part in enumerate(torch.split(draws, list(level_dims), dim=2))
    }
    rhat, ess = (
        {name: _by_columns(measure, part) for name, part in parts.items()}
        for measure in (split_r_hat, bulk_effective_sample_size)
    )
    return Diagnostics(
        rhat={name: _summary(name, values) for name, values in rhat.items()},
        ess={name: _summary(name, values) for name, values in ess.items()},
        worst_rhat=max((v for values in rhat.values() for v in values), default=math.inf),
        worst_ess=min((v for values in ess.values() for v in values), default=0.0),
    )


def _by_columns(measure: Callable[[Tensor], Tensor], draws: Tensor) -> list[float]:
    """A diagnostic of every column, some at a time; NaN, for what never moved, is left out."""
    values = torch.cat([measure(part) for part in torch.split(draws, COLUMNS_AT_ONCE, dim=2)])
    return [value for value in values.tolist() if not math.isnan(value)]


def _summary(name: str, values: list[float]) -> object:
    if not values:
        return None
    return values[0] if name == "energy" else {"max": max(values), "min": min(values)}
