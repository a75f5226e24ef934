"""The curves of accuracy against the number of labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_directories import make_full_run, write_suite

from hebm.report import write_report
from hebm.report.sample_efficiency import sample_efficiency_figure


def curve(top: float) -> dict[str, Any]:
    return {"mean": [top / 2, top], "sd": [0.01, None], "n": [3, 1]}


RESULTS = {
    "n_labels": [600, 60000],
    "chance": 0.125,
    "representations": {
        "level_0": curve(0.75),
        "top_2": curve(0.8),
        "trunk": curve(0.95),
        "simclr_top": curve(0.9),
        "simclr_trunk": curve(0.99),
        "bigan_all": curve(0.5),
        "pca": curve(0.88),
        "pixels": curve(0.92),
    },
}


def test_every_representation_has_a_curve_on_a_logarithmic_axis() -> None:
    """Ours solid; a control in the colour of ours in its place and in the dash of its kind; ticks at what was run."""
    (axes,) = sample_efficiency_figure(RESULTS).axes
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["600", "60,000"]
    drawn = {bars.get_label(): bars.lines[0] for bars in axes.containers}
    assert list(drawn) == [
        "level 0 (top)",
        "top levels: 2",
        "trunk",
        "SimCLR, level 0 (top)",
        "SimCLR, trunk",
        "BiGAN, all levels",
        "PCA",
        "pixels",
    ]
    assert drawn["level 0 (top)"].get_color() == drawn["SimCLR, level 0 (top)"].get_color()
    assert drawn["trunk"].get_color() == drawn["SimCLR, trunk"].get_color() != drawn["pixels"].get_color()
    assert drawn["PCA"].get_color() == drawn["BiGAN, all levels"].get_color()
    assert drawn["trunk"].get_linestyle() == "-"
    assert drawn["SimCLR, trunk"].get_linestyle() == "--"
    np.testing.assert_allclose(np.asarray(drawn["trunk"].get_xdata()), [600, 60000])
    np.testing.assert_allclose(np.asarray(drawn["trunk"].get_ydata()), [0.475, 0.95])
    first, second = axes.containers[0].lines[2][0].get_segments()  # the bars of the spread
    np.testing.assert_allclose(first[:, 1], [0.365, 0.385])
    assert second[0, 1] == second[1, 1] == 0.75
    assert axes.get_lines()[-1].get_ydata() == pytest.approx([0.125, 0.125])


@pytest.mark.parametrize(
    "results", [RESULTS, {"n_labels": [5]}, {"n_labels": [5], "representations": {"all": {}}}]
)
def test_the_page_shows_it_or_makes_no_error(tmp_path: Path, results: dict[str, Any]) -> None:
    """Also with half a file."""
    write_suite(make_full_run(tmp_path), "sample_efficiency", results)
    assert "How few labels the codes need" in write_report(tmp_path).read_text(encoding="utf-8")
