"""Pictures on a reproduction's page: points from results, grids from the folders of trained cells, one seed."""

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from toy import toy_spec

from hebm.reproduce import Plan, make_plan
from hebm.reproduce.cells import CellWork
from hebm.reproduce.document import to_html
from hebm.reproduce.latent_plots import latent_figure
from hebm.reproduce.pictures import grid_figure, picture_sections

POINTS = {
    "labels": [0, 0, 2],
    "posterior": [[[1.0], [1.5], [-2.0]], [[0.0], [0.5], [4.0]]],
    "prior": [[[0.0], [1.0], [2.0]], [[3.0], [-5.0], [0.5]]],
}


def written(
    tmp_path: Path, suites: tuple[str, ...] = ("toy", "aggregate")
) -> tuple[list[CellWork], Plan, list[dict[str, Any]]]:
    """Two seeds of the toy; every cell but the second run's has a plane of its own colour."""
    plan = make_plan(toy_spec(suites=suites), "small", n_seeds=2, columns=["digits"])
    works = [CellWork(cell, tmp_path / "cells", tmp_path / "trained") for cell in plan.cells]
    for number, work in enumerate(works):
        if work.cell.run != "other":
            work.results.mkdir(parents=True)
            Image.new("L", (30, 20), 10 * number).save(work.results / "aggregate-plane.png")
            Image.new("L", (30, 20)).save(work.results / "other-plane.png")
    results = {"toy": {}, "aggregate": {"points": POINTS}}
    records = [
        {"run": c.run, "column": c.column, "seed": c.seed, "results": {s: results[s] for s in suites}}
        for c in plan.cells
    ]
    return works, plan, records


def test_cells_of_the_first_seed_have_points_and_the_grids_that_lie_there(tmp_path: Path) -> None:
    """In the order of the plan, with the run's and the column's names, as one page."""
    sections = picture_sections(*written(tmp_path))
    assert [section.heading for section in sections] == [
        "Latents: with energy, digits, seed 0",
        "Pictures: with energy, digits, seed 0",
        "Latents: other, digits, seed 0",
        "Latents: twin, digits, seed 0",
        "Pictures: twin, digits, seed 0",
    ]
    page = to_html(sections)
    assert page.count("<svg") == 5
    assert page.count("data:image/png;base64") == 2
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_accuracy_over_labels_is_drawn_where_there_are_several_shares(tmp_path: Path) -> None:
    """One curve is no curve: the rows on a tenth of the images have a single share."""
    works, plan, records = written(tmp_path, suites=("toy",))
    curve = {"mean": [0.5, 0.75], "sd": [0.125, None]}
    several = {"shares": [0.5, 1.0], "n_labels": [10, 20], "representations": {"all": curve}, "chance": 0.25}
    single = {"shares": [1.0], "n_labels": [20], "representations": {"all": {"mean": [0.5], "sd": [0.1]}}}
    for record in records:
        record["results"]["sample_efficiency"] = several if record["run"] == "joint" else single
    (section,) = picture_sections(works, plan, records)
    assert section.heading == "Accuracy over labels: with energy, digits, seed 0"
    assert section.plot is not None
    assert "images with a label" in section.plot
    assert len(section.blocks) == 1


def test_a_suite_without_pictures_has_no_section(tmp_path: Path) -> None:
    """Nor has a cell that failed or is not finished."""
    assert picture_sections(*written(tmp_path / "plain", suites=("toy",))) == []
    works, plan, records = written(tmp_path / "failed")
    failed = [{**{k: r[k] for k in ("run", "column", "seed")}, "failed": "why"} for r in records]
    assert picture_sections(works, plan, failed[:2]) == []


def drawn(axes: Any) -> dict[str, list[tuple[float, float]]]:
    """Points of every label of a plot."""
    return {str(line.get_label()): list(zip(*map(list, line.get_data()), strict=True)) for line in axes.lines}


def test_two_levels_of_one_latent_share_a_plot() -> None:
    """The top level across, the other up; a colour per label; both plots show the same square around all points."""
    figure = latent_figure({"points": POINTS})
    assert figure is not None
    left, right = figure.axes
    assert drawn(left) == {"0": [(1.0, 0.0), (1.5, 0.5)], "2": [(-2.0, 4.0)]}
    assert drawn(right) == {"prior": [(0.0, 3.0), (1.0, -5.0), (2.0, 0.5)]}
    assert left.get_xlim() == right.get_ylim() == pytest.approx((-5.25, 5.25))
    assert [line.get_color() for line in left.lines] != [left.lines[0].get_color()] * 2


def test_each_level_of_two_latents_has_a_row_and_one_of_a_single_latent_none() -> None:
    """Top first; without labels one colour; nothing where no level has two."""
    two, one = [[0.0, 1.0], [2.0, 3.0]], [[0.0], [1.0]]
    points = {"labels": None, "posterior": [two, one, two], "prior": [two, one, two]}
    figure = latent_figure({"points": points})
    assert figure is not None
    assert [axes.get_xlabel() for axes in figure.axes[::2]] == [
        "level 0 (top), first latent",
        "level 2, first latent",
    ]
    assert drawn(figure.axes[0]) == {"posterior": [(0.0, 1.0), (2.0, 3.0)]}
    assert latent_figure({"points": {"labels": None, "posterior": [one] * 3, "prior": [one] * 3}}) is None


def test_grids_stand_two_in_a_row_with_their_titles(tmp_path: Path) -> None:
    """Three pictures make two rows; the empty place is blank."""
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file in files:
        Image.new("RGB", (40, 20), (255, 0, 0)).save(file)
    figure = grid_figure(files, ["a", "b", "c"])
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c", ""]
    assert [len(axes.images) for axes in figure.axes] == [1, 1, 1, 0]
