"""Tables of docs/prior.md from result files: exact values."""

from typing import Any

from benchmarks.prior_tables import paired_table, stability_table


def cell(learner: str, seed: int, gap: float, low: float, high: float) -> dict[str, Any]:
    """What the table looks at."""
    return {"learner": learner, "seed": seed, "prior_gap": gap, "log_density": [low, high]}


def test_differences_to_the_mixture_are_paired_by_seed() -> None:
    """Middle of the interval; bold where clearly better: a smaller gap, more density; no row for what is missing."""
    mixture = [cell("mixture", seed, 2.0 + seed, -10.0, -10.0) for seed in range(2)]
    nce = [cell("nce_on_mixture", seed, 1.5 + seed, -9.0 - seed, -8.0 - seed) for seed in range(2)]
    flow = [cell("flow", seed, 2.5 + seed, -10.5, -10.5) for seed in range(2)]
    failed = [{"learner": "chains_on_mixture", "seed": 0, "failed": "diverged"}]
    text = paired_table(
        [
            {"data": "a", "cells": [*mixture, *nce, *flow, *failed]},
            {"data": "b", "cells": [mixture[0], cell("flow", 0, 1.0, -9.0, -9.0)]},
        ]
    )
    assert text.splitlines() == [
        "| less the mixture's | a: prior gap | log-density, nats | b: prior gap | log-density, nats |",
        "| --- | --- | --- | --- | --- |",
        "| energy on the mixture, NCE | **-0.500 ± 0.000** | +1.000 ± 0.500 | – | – |",
        "| neural spline flow | +0.500 ± 0.000 | -0.500 ± 0.000 | -1.000 | +1.000 |",
    ]


def test_how_runs_ended_is_counted() -> None:
    """The largest gap of all seeds; a learner without an energy has none."""
    ended = {"n_rollbacks": 0, "gave_up": False, "largest_gap": 1.5}
    runs = [
        ended,
        {**ended, "n_rollbacks": 2, "largest_gap": 0.5},
        {**ended, "gave_up": True, "largest_gap": None},
    ]
    text = stability_table({"learners": {"nce": runs, "flow": [{**ended, "largest_gap": None}]}})
    assert text.splitlines()[2:] == [
        "| staged NCE from N(0, I), 4 stages | 3 | 2 | 1 | 1.5 |",
        "| neural spline flow | 1 | 0 | 0 | – |",
    ]
