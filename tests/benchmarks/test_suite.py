"""The benchmark suite: what it asserts and computes, not how fast anything is."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.growth import growth_exponents, slope
from benchmarks.memory import memory_rows
from benchmarks.timing import Floor, Limits, compare, interleaved
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import langevin, performance_page, suite, timing

LIMITS = Limits(gflop_per_s=100.0, bf16_gflop_per_s=200.0, gbyte_per_s=10.0)
CPU = torch.device("cpu")


def test_rounds_run_every_candidate_in_turn() -> None:
    """a, b, a, b, ...: the warm-up first, then as many rounds as asked for."""
    order: list[str] = []
    times = interleaved(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, budget_s=0, least=3, n_warmup=2
    )
    assert order == ["a", "b"] * 5
    assert [len(values) for values in times.values()] == [3, 3]


def test_a_floor_is_the_greater_of_operations_and_bytes() -> None:
    """1 GFLOP at 100 GFLOP/s is 10 ms, 0.2 GB at 10 GB/s is 20 ms."""
    assert Floor(1.0, 0.2).milliseconds(LIMITS) == pytest.approx(20)
    assert Floor(1.0, 0.05).milliseconds(LIMITS) == pytest.approx(10)


def test_a_row_compares_pairs_of_one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ratio's median is of paired ratios, peer / ours; quartiles in order."""
    seconds = {"hebm": [1.0, 2.0, 4.0], "peer": [3.0, 4.0, 4.0]}
    monkeypatch.setattr(timing, "interleaved", lambda *_, **__: seconds)
    row = compare("group", "case", {}, limits=LIMITS, floor=Floor(100.0, 0.0))
    assert row.speedup["peer"] == [1.5, 2.0, 2.5]
    assert row.milliseconds["hebm"][1] == 2000
    assert (row.floor_ms, row.floor_of, row.n_rounds) == (pytest.approx(1000), "operations", 3)


def test_a_power_law_gives_its_exponent() -> None:
    """t = 3 s^1.7."""
    sizes = [10.0, 20.0, 80.0]
    assert slope(sizes, [3 * s**1.7 for s in sizes]) == pytest.approx(1.7)


def test_the_langevin_floor_counts_four_sweeps_of_every_weight() -> None:
    """Forward and backward, a multiplication and an addition each; 2×100 on 50 latents has 15,100 weights."""
    floor = langevin.langevin_floor(50, 100, 2, batch=10, n_steps=3)
    assert floor.gflop == pytest.approx(3 * 10 * 4 * (50 * 100 + 100 * 100 + 100) / 1e9)


def test_langevin_peers_run_the_same_dynamics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The assertion passes on our peers, and fails on one with another step."""
    chains = langevin._chains(16, 50, 2, CPU)
    langevin.assert_same_dynamics(chains, 16, CPU)
    wrong = {**chains, "wrong": lambda start, n: start + 1.1 * (chains["hebm"](start, n) - start)}
    with pytest.raises(AssertionError, match="wrong"):
        langevin.assert_same_dynamics(wrong, 16, CPU)


def test_growth_of_chains_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small sizes, to see that it runs: finite exponents for K and the number of chains."""
    monkeypatch.setattr("benchmarks.growth._image_step", lambda *_: lambda: None)
    sizes = {"Langevin steps K": (1, 2), "chains": (1, 2)}
    results = growth_exponents(CPU, budget_s=0, least=1, sizes=sizes)
    assert [g["what"] for g in results][:2] == list(sizes)
    assert all(math.isfinite(g["exponent"]) for g in results)


def test_memory_is_measured_in_processes_of_their_own() -> None:
    """A step of the digits each, once; on a GPU there is nothing to measure."""
    (row,) = memory_rows(LIMITS, CPU, presets=("digits",), budget_s=0, least=1)
    assert list(row.milliseconds) == ["hebm", "hebm, memory given back"]
    assert all(value > 0 for values in row.milliseconds.values() for value in values)
    assert memory_rows(LIMITS, torch.device("cuda")) == []


def result() -> dict[str, Any]:
    row = timing.Row(
        "langevin", "50 latents, 2×100, batch 100", {"hebm": [1.0, 2.0, 3.0], "torchebm": [4.0, 5.0, 6.0]},
        {"torchebm": [2.2, 2.5, 2.6]}, 5, 0.5, "operations",
    )  # fmt: skip
    return {
        "benchmark": "suite", "quick": False, "hardware": "Processor X (2 threads)", "threads": 2,
        "environment": {"packages": {"torch": "2"}}, "limits": vars(LIMITS),
        "groups": {
            "langevin": [row.to_dict()],
            "growth": [{"what": "chains", "sizes": [1, 2], "milliseconds": [1.0, 2.0], "exponent": 1.0}],
            "pythae": [{"what": "a VAE", "milliseconds": 7.0}],
        },
    }  # fmt: skip


def test_the_page_says_what_is_reached_and_what_not() -> None:
    """Aim, value, verdict; ours over the floor; the peers' ratios."""
    made = performance_page.page([result()])
    assert "| langevin: 50 latents, 2×100, batch 100, against torchebm | 2.4 | 2.50 | reached |" in made
    assert "torchebm 5.0 (×2.50, 2.20 to 2.60) | 4.0 (operations) |" in made
    assert "| chains | 1, 2 | 1.0, 2.0 | 1.00 |" in made
    assert "one step of a VAE takes 7.0 ms" in made
    slower = result()
    slower["groups"]["langevin"][0]["speedup"]["torchebm"] = [1.0, 1.2, 1.3]
    assert "**not reached**" in performance_page.page([slower])


def test_a_missed_aim_of_chains_says_what_products_and_noise_alone_take() -> None:
    """Ours 2 ms, of which 1.2 and 0.4 are 80 %; the peer's 5 ms over 1.6."""
    missed = result()
    row = missed["groups"]["langevin"][0]
    row["speedup"]["torchebm"] = [1.0, 1.2, 1.3]
    row["milliseconds"] |= {"products alone": [1.1, 1.2, 1.3], "noise alone": [0.3, 0.4, 0.5]}
    made = performance_page.page([missed])
    assert (
        "take 1.2 and drawing the noise alone 0.4, 80%. A loop of nothing else would reach 3.12 times against torchebm."
        in made
    )
    row["speedup"]["torchebm"] = [2.2, 2.5, 2.6]
    assert "A loop of nothing else" not in performance_page.page([missed])


def test_the_parts_of_a_chain_are_its_products_and_its_noise() -> None:
    """As many operations as the floor counts, up to the last layer's."""
    parts = langevin._parts(50, 100, 2, 10, CPU)
    with FlopCounterMode(display=False) as counter:
        parts[langevin.PRODUCTS]()
    weights, last = 50 * 100 + 100 * 100, 100
    assert counter.get_total_flops() == 60 * 10 * 4 * weights
    assert langevin.langevin_floor(50, 100, 2, 10).gflop * 1e9 == 60 * 10 * 4 * (weights + last)
    parts[langevin.NOISE]()


def test_an_aim_is_that_of_its_own_size() -> None:
    """Batch 100 is not batch 1000, and not 10000."""
    larger = result()
    larger["groups"]["langevin"][0]["case"] = "50 latents, 2×100, batch 10000"
    assert "| aim," not in performance_page.page([larger])
    larger["groups"]["langevin"][0]["case"] = "50 latents, 2×100, batch 1000"
    assert performance_page.page([larger]).count("against torchebm |") == 1


def test_the_suite_writes_json_and_prints_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hardware, versions, limits and rows; the table is last."""
    monkeypatch.setattr(suite, "measure_limits", lambda _: LIMITS)
    row = timing.Row(**result()["groups"]["langevin"][0])
    monkeypatch.setitem(suite.GROUPS, "langevin", lambda *_, **__: [row])
    suite.main(["--only", "langevin", "--device", "cpu", "--threads", "1", "--out", str(tmp_path / "x.json")])
    written = json.loads((tmp_path / "x.json").read_text())
    assert written["groups"] == {"langevin": [row.to_dict()]}
    assert written["environment"]["packages"]["torch"] == torch.__version__
    assert "against torchebm 2.50x; 4.0 of floor (operations)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="unknown groups"):
        suite.main(["--only", "nothing"])


def test_groups_that_are_not_asked_for_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Measured again, a group is replaced; beside it the others stay, unless they were measured otherwise."""
    monkeypatch.setattr(suite, "measure_limits", lambda _: LIMITS)
    times = iter([1.0, 2.0, 3.0, 4.0, 5.0])
    for name in ("langevin", "input"):
        monkeypatch.setitem(
            suite.GROUPS, name,
            lambda *_, name=name, **__: [timing.Row(name, "a case", {"hebm": [next(times)] * 3}, {}, 5, None, None)],
        )  # fmt: skip
    path = tmp_path / "x.json"

    def measure(group: str) -> dict[str, Any]:
        suite.main(["--only", group, "--device", "cpu", "--threads", "1", "--out", str(path)])
        return {
            name: rows[0]["milliseconds"]["hebm"][0]
            for name, rows in json.loads(path.read_text())["groups"].items()
        }

    assert measure("input") == {"input": 1.0}
    assert measure("langevin") == {"langevin": 2.0, "input": 1.0}
    assert measure("input") == {"langevin": 2.0, "input": 3.0}
    path.write_text(json.dumps({**json.loads(path.read_text()), "threads": 64}))
    with pytest.raises(SystemExit, match="langevin measured with another threads; measure all groups"):
        measure("input")
    assert measure("langevin,input") == {"langevin": 4.0, "input": 5.0}
    with pytest.raises(SystemExit, match="langevin measured with another quick"):
        suite.main(["--only", "input", "--device", "cpu", "--threads", "1", "--out", str(path), "--quick"])
    assert "input          a case" in capsys.readouterr().out


def test_files_are_named_after_the_hardware() -> None:
    """In letters, digits and dashes."""
    assert suite.file_name("AMD EPYC (2 threads)") == "amd-epyc-2-threads.json"
