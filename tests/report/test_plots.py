"""Plots show the numbers they were given, and nothing global changes."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from run_directories import ROLLED_BACK, log_record, make_run, sample_results, write_metrics

from hebm.report.figure import INK, to_svg
from hebm.report.history import History, read_history
from hebm.report.plots import chain_figure, energy_figure, loss_figure, rate_figure


@pytest.fixture
def history(tmp_path: Path) -> History:
    write_metrics(make_run(tmp_path), [*ROLLED_BACK, {"event": "resumed", "step": 200}])
    return read_history(tmp_path / "metrics.jsonl", batch_size=100)


def _line(figure: Figure, label: str, axes: int = 0) -> tuple[list[float], list[float]]:
    (line,) = (line for line in figure.axes[axes].lines if line.get_label() == label)
    return list(line.get_xdata()), list(line.get_ydata())  # type: ignore[arg-type]


def test_loss_is_drawn_along_the_path_that_was_kept(history: History) -> None:
    figure = loss_figure(history)
    assert _line(figure, "loss") == ([50, 100, 150, 200], [95.0, 90.0, 1.5, 80.0])
    assert figure.axes[0].get_ylim()[1] < 1000, "the stretch undone must not set the scale"


def test_events_are_marked_at_their_steps(history: History) -> None:
    for figure in (loss_figure(history), rate_figure(history), energy_figure(history)):
        marks = {label: _line(figure, label)[0] for label in ("diverged", "rolled back to", "resumed")}
        assert marks == {"diverged": [170, 170], "rolled back to": [100, 100], "resumed": [200, 200]}


def test_a_level_without_finite_rates_has_no_line(history: History) -> None:
    history.records[:] = [log_record(50, rate_per_level=[1.0, "nan"]), log_record(60)]
    assert _line(rate_figure(history), "level 0 (top)")[1] == [1.0, 2.0]
    np.testing.assert_array_equal(_line(rate_figure(history), "level 1 (bottom)")[1], [np.nan, 1.0])


def test_the_gap_is_data_minus_prior(history: History) -> None:
    assert _line(energy_figure(history), "data − prior", axes=1)[1] == [-0.5] * 4


def test_the_chain_lies_in_its_own_band_beside_that_of_held_out_images() -> None:
    axes = chain_figure(sample_results()["energy_along_chain"]).axes[0]
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((-1.5 - 0.8, 0.0 + 1.0))
    assert axes.patches[0].get_extents().transformed(axes.transData.inverted()).y0 == pytest.approx(-1.9)


def test_values_that_are_not_finite_are_said_to_be_so(history: History) -> None:
    history.records[:] = [log_record(50, loss="nan", distortion="inf")]
    history.abandoned.clear()
    figure = loss_figure(history)
    assert [text.get_text() for text in figure.axes[0].texts] == ["no finite values"]
    assert "no finite values" in to_svg(figure, name="loss", alt="loss")
    to_svg(chain_figure({"step": [0, 1], "mean": ["nan", None], "sd": None}), name="chain", alt="")


def test_svg_is_well_formed_takes_the_pages_ink_and_repeats(history: History) -> None:
    first, second = (to_svg(loss_figure(history), name="loss", alt='"a" < b') for _ in range(2))
    root = ElementTree.fromstring(first)
    assert first == second
    assert INK not in first
    assert "currentColor" in first
    assert (root.get("role"), root.get("aria-label")) == ("img", '"a" < b')
    assert all(element.get("id", "loss-").startswith("loss-") for element in root.iter())


def test_the_users_plot_settings_are_neither_changed_nor_used(history: History) -> None:
    plain = to_svg(loss_figure(history), name="loss", alt="")
    with matplotlib.rc_context({"text.color": "#ff00ff", "axes.facecolor": "#00ff00"}):
        before = dict(matplotlib.rcParams)
        assert to_svg(loss_figure(history), name="loss", alt="") == plain
        assert dict(matplotlib.rcParams) == before
