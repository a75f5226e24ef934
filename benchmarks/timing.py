"""How the benchmarks measure: candidates interleaved in one process, quartiles, floors from measured rates."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

__all__ = ["Floor", "Limits", "Row", "compare", "interleaved", "measure_limits"]

Candidates = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Limits:
    """What this machine reaches: float32 (and, where it is quick, bfloat16) matrix products, and copies in memory."""

    gflop_per_s: float
    bf16_gflop_per_s: float
    gbyte_per_s: float


@dataclass(frozen=True)
class Floor:
    """Least time of a piece of work: its operations at the matrix-product rate, its bytes at the copy rate."""

    gflop: float
    gbyte: float

    def milliseconds(self, limits: Limits) -> float:
        """The greater of the two, ms."""
        return 1e3 * max(self.gflop / limits.gflop_per_s, self.gbyte / limits.gbyte_per_s)


@dataclass(frozen=True)
class Row:
    """One comparison. Times are [first quartile, median, third quartile] in ms; `speedup` the same of the paired
    ratios peer / hebm; `floor_ms` may be missing where no count of operations means anything."""

    group: str
    case: str
    milliseconds: dict[str, list[float]]
    speedup: dict[str, list[float]]
    n_rounds: int
    floor_ms: float | None = None
    floor_of: str = ""
    note: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _seconds(function: Callable[[], object]) -> float:
    _synchronise()
    start = time.perf_counter()
    function()
    _synchronise()
    return time.perf_counter() - start


def interleaved(
    candidates: Candidates, *, budget_s: float, least: int = 5, most: int = 60, n_warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of every candidate, round after round, each round running all of them in turn.

    Args:
        candidates: What to time, by name.
        budget_s: No round starts later than this, once there have been `least`.
        least: Rounds at least.
        most: Rounds at most.
        n_warmup: Rounds before, which are not timed.
    """
    for _ in range(n_warmup):
        for function in candidates.values():
            function()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    started = time.perf_counter()
    for n in range(most):
        if n >= least and time.perf_counter() - started > budget_s:
            break
        for name, function in candidates.items():
            times[name].append(_seconds(function))
    return times


def compare(
    group: str,
    case: str,
    candidates: Candidates,
    *,
    limits: Limits,
    floor: Floor | None = None,
    budget_s: float = 3.0,
    least: int = 5,
    ours: str = "hebm",
    note: str = "",
    **extra: Any,
) -> Row:
    """Time candidates against each other; the ratios are theirs over ours.

    Args:
        group: What is measured.
        case: Its size.
        candidates: By name.
        limits: Rates of this machine.
        floor: The work that cannot be avoided.
        budget_s: Time for the rounds.
        least: Rounds at least.
        ours: Which candidate the others are compared with.
        note: A sentence for the table.
        extra: More for the JSON file.
    """
    times = interleaved(candidates, budget_s=budget_s, least=least)
    ratios = {
        name: [theirs / mine for theirs, mine in zip(values, times[ours], strict=True)]
        for name, values in times.items()
        if name != ours
    }
    row = Row(
        group,
        case,
        {name: [1e3 * value for value in _quartiles(values)] for name, values in times.items()},
        {name: _quartiles(values) for name, values in ratios.items()},
        len(times[ours]),
        None if floor is None else floor.milliseconds(limits),
        "" if floor is None else _bound(floor, limits),
        note,
        extra,
    )
    print(_line(row), flush=True)
    return row


def _bound(floor: Floor, limits: Limits) -> str:
    by_operations = floor.gflop / limits.gflop_per_s >= floor.gbyte / limits.gbyte_per_s
    return "operations" if by_operations else "bytes"


def _quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3


def _line(row: Row) -> str:
    times = "  ".join(f"{name} {values[1]:.1f}" for name, values in row.milliseconds.items())
    floor = f"  floor {row.floor_ms:.2f}" if row.floor_ms is not None else ""
    return f"{row.group} | {row.case} | ms: {times}{floor}"


def measure_limits(device: torch.device) -> Limits:
    """Best of several matrix products and copies that do not fit into a cache."""
    big = device.type == "cuda"
    n = 8192 if big else 1024
    left, right = torch.randn(n, n, device=device), torch.randn(n, n, device=device)
    halves = left.bfloat16(), right.bfloat16()
    source = torch.randn(2**28 if big else 2**24, device=device)
    target = torch.empty_like(source)
    work: Candidates = {
        "float32": lambda: left @ right,
        "bfloat16": lambda: halves[0] @ halves[1],
        "copy": lambda: target.copy_(source),
    }
    best = {name: min(values) for name, values in interleaved(work, budget_s=2, least=5).items()}
    return Limits(
        2 * n**3 / best["float32"] / 1e9,
        2 * n**3 / best["bfloat16"] / 1e9,
        2 * source.nbytes / best["copy"] / 1e9,
    )
