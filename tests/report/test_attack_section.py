"""The section on attacks: table and curves."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_directories import make_full_run, write_suite

from hebm.report import write_report
from hebm.report.attack import attack_curves_figure, attack_table
from hebm.report.run_files import read_run


def number(mean: float | None, se: float | None = 0.125) -> dict[str, Any]:
    return {"mean": mean, "se": se, "n": 3 if mean is not None else 0}


def level(shift: float) -> dict[str, Any]:
    def system(value: float) -> dict[str, Any]:
        curve = {"budget": [0.0, 0.5, 1.0], "mean": [1.0, value, value], "se": [0.0, 0.1, 0.1]}
        return {"auddc": number(value), "curve": curve}

    found = {
        key: {
            "ms_ssim_reconstruction": number(0.5 + shift),
            "latent_skl": number(1500.0),
            "accuracy": number(0.75),
        }
        for key in ("without_defence", "with_defence")
    }
    return {
        "latent": {
            "without_defence": system(0.25 + shift),
            "with_defence": system(0.5 + shift),
            "auddc_gain": number(0.25, None),
        },
        "linf": [{"radius": 0.1, "ms_ssim_input": number(0.875), **found}],
    }


RESULTS = {
    "per_level": {"all": level(0.0), "level_0": level(0.25), "level_1": level(0.125)},
    "clean": {k: {"accuracy": number(0.9), "mse": number(0.01)} for k in ("without_defence", "with_defence")},
    "n_pairs": 3,
    "n_images": 7,
    "penalties": [1.0],
    "ms_ssim_scales": 2,
}


def test_the_table_has_every_attack_with_and_without_the_defence(tmp_path: Path) -> None:
    """Both systems in one cell, the twin beside them, radius and level by name; the page shows it."""
    make_full_run(tmp_path / "twin", kind="gaussian")
    write_suite(make_full_run(tmp_path), "attack", RESULTS)
    twin = copy.deepcopy(RESULTS)
    twin["per_level"]["level_0"]["latent"]["with_defence"]["auddc"] = number(None)  # type: ignore[index]
    write_suite(tmp_path / "twin", "attack", twin)
    table = attack_table(read_run(tmp_path))
    rows = {row.name: (row.value, row.twin_value) for row in table.rows}
    assert rows["AUDDC, all levels attacked"][0] == "0.25 ±\u00a00.12 → 0.5 ±\u00a00.12"
    assert rows["AUDDC, level 0 (top) attacked"][1] == "0.5 ±\u00a00.12 → –"
    assert rows["What the defence adds"][0] == "0.25"
    assert rows["Likeness of reconstructions, level 1 attacked within ±0.1"][0].startswith("0.625")
    assert "2 scales" in table.origin
    assert table.remark == ""
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "What attacks achieve" in page
    assert "Suite “attack”" not in page


def test_without_labels_there_is_no_accuracy_and_without_a_twin_no_column(tmp_path: Path) -> None:
    """Null fields have no row."""
    results = copy.deepcopy(RESULTS)
    for row in results["per_level"].values():  # type: ignore[attr-defined]
        for system in ("without_defence", "with_defence"):
            row["linf"][0][system]["accuracy"] = None
    write_suite(make_full_run(tmp_path), "attack", results)
    table = attack_table(read_run(tmp_path))
    assert not table.has_twin
    assert not [row for row in table.rows if "accuracy" in row.name and "nothing" not in row.name]


def test_what_does_not_compare_or_count_is_said(tmp_path: Path) -> None:
    """Other penalties than the twin's, and pairs without a curve."""
    make_full_run(tmp_path / "twin", kind="gaussian")
    results = copy.deepcopy(RESULTS)
    results["per_level"]["level_1"]["latent"]["with_defence"]["auddc"]["n"] = 1  # type: ignore[index]
    write_suite(make_full_run(tmp_path), "attack", results)
    write_suite(tmp_path / "twin", "attack", {**RESULTS, "penalties": [2.0]})
    remark = attack_table(read_run(tmp_path)).remark
    assert "penalties differ" in remark
    assert "2 pairs have no curve" in remark


def test_the_curves_are_drawn_as_they_are() -> None:
    """A colour per level, dashed with the defence; levels without a curve are left out."""
    results = copy.deepcopy(RESULTS)
    results["per_level"]["level_1"]["latent"]["with_defence"]["curve"]["mean"] = None  # type: ignore[index]
    (axes,) = attack_curves_figure(results).axes
    lines = {(line.get_color(), line.get_linestyle()): line for line in axes.get_lines()}
    assert len(lines) == 5
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "all levels",
        "level 0 (top)",
        "level 1",
    ]  # type: ignore[union-attr]
    solid, dashed = axes.get_lines()[:2]
    assert (solid.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
    assert solid.get_color() == dashed.get_color()
    np.testing.assert_allclose(np.asarray(dashed.get_ydata()), [1, 0.5, 0.5])


@pytest.mark.parametrize("results", [{}, {"per_level": None}, {"per_level": {"all": {}}}])
def test_half_a_file_makes_no_error(tmp_path: Path, results: dict[str, Any]) -> None:
    """A page is made whatever is missing."""
    write_suite(make_full_run(tmp_path), "attack", {**results, "n_pairs": 2})
    assert "What attacks achieve" in write_report(tmp_path).read_text(encoding="utf-8")
