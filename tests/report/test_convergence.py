"""The section on convergence: the warning, the curves and the table say what the result file says."""

from pathlib import Path
from typing import Any

import pytest
from run_directories import make_full_run, write_suite

from hebm.report import write_report
from hebm.report.chain_plots import chain_distance_figure, chain_energy_figure


def mcmc_results(**changes: Any) -> dict[str, Any]:
    """Results of the suite, in miniature."""
    fields = {
        "energy_trace": {"step": [0, 20, 200], "mean": [3.0, -7.0, -9.0], "sd": [1.0, 1.0, 1.0]},
        "fd": {"step": [0, 20, 200], "value": [90.0, 9.0, 40.0]},
    }
    ends = {"energy_at_k": -7.0, "energy_at_long": -9.0, "fd_at_k": 9.0, "fd_at_long": 40.0}
    provisional = {"sampler": "mala", "energy_nats": 2.0, "energy_sd": 0.8125, "fd": -31.0}
    return {
        "has_chain": True,
        "n_steps": 20,
        "own_sampler": "langevin",
        "is_converged": False,
        "against": ["the mean energy is 0.81 standard deviations above that of long runs"],
        "stationary_bias": {"reference": None, "provisional": provisional, "remark": "unknown"},
        "long_chain": {"steps": 200, "starts": {"noise": {**ends, "stays_on_the_data": False}}},
        "long_runs": {"mala": {"mean": -9.0, "sd": 2.5, "rhat": 1.375, "ess": 50.0}},
        "samplers": {
            "langevin": {"is_own": True, "is_exact": False, "starts": {"noise": fields, "posterior": fields}},
            "mala": {"is_own": False, "is_exact": True, "starts": {"noise": {**fields, "fd": {}}}},
        },
        "fd_base": 90.0,
        "fd_reconstruction": 4.0,
        "energy_posterior": {"mean": -6.0, "sd": 2.0},
        **changes,
    }


def _section(folder: Path, results: dict[str, Any]) -> str:
    run = make_full_run(folder)
    write_suite(run, "mcmc", results)
    page = write_report(run).read_text(encoding="utf-8")
    return page.split('<section id="convergence">')[1].split("</section>")[0]


def test_a_run_whose_chains_have_not_converged_is_warned_about(tmp_path: Path) -> None:
    section = _section(tmp_path, mcmc_results())
    assert 'class="warning"' in section
    assert "Training relies on chains that have not converged: the mean energy is 0.81" in section
    assert "The number of steps belongs to the model" in section
    assert "provisional" in section
    for number in ("0.8125", "9 → 40", "1.375", "Does not stay where the data are."):
        assert number in section
    assert section.count("<svg") == 2


def test_no_warning_where_they_have_or_where_there_is_no_chain(tmp_path: Path) -> None:
    converged = _section(tmp_path / "a", mcmc_results(is_converged=True, against=[]))
    assert 'class="warning"' not in converged
    assert "Chains of 20 steps have converged" in converged
    none = {"has_chain": False, "remark": "Draws are exact.", "is_converged": None, "samplers": {}}
    without = _section(tmp_path / "b", {**none, "stationary_bias": None})
    assert "Draws are exact." in without
    assert "<svg" not in without
    bare = write_report(make_full_run(tmp_path / "c")).read_text(encoding="utf-8")
    assert 'id="convergence"' not in bare


def test_chains_that_diverged_leave_a_page_all_the_same(tmp_path: Path) -> None:
    """Nothing but a note is left of a sampler, and numbers are missing."""
    gone = {"is_own": True, "is_exact": False, "diverged_at": 0, "starts": {}}
    bias = {"reference": None, "provisional": None, "remark": "not known"}
    section = _section(
        tmp_path, mcmc_results(samplers={"langevin": gone}, stationary_bias=bias, long_runs={})
    )
    assert "not known" in section


def test_curves_show_their_numbers_and_name_each_sampler_once() -> None:
    axes = chain_energy_figure(mcmc_results()).axes[0]
    lines = {line.get_label(): line for line in axes.lines if not str(line.get_label()).startswith("_")}
    assert list(lines["langevin (the run's own)"].get_ydata()) == [3.0, -7.0, -9.0]
    assert list(lines["mala"].get_xdata()) == [0, 20, 200]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata()) == 3]
    assert len(dashed) == 1, "only the run's own chains start at posterior samples too"
    low, high = axes.get_ylim()
    assert (low, high) == pytest.approx((-9.0 - 0.24, -6.0 + 0.24)), "the fall from noise is cut off"
    distance = chain_distance_figure(mcmc_results()).axes[0]
    drawn = [list(line.get_ydata()) for line in distance.lines]
    assert drawn[:2] == [[90.0, 9.0, 40.0]] * 2
    assert "mala" not in [line.get_label() for line in distance.lines]
