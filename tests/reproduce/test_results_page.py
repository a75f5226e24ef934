"""The results page: blocks between markers are replaced, nothing else; every shipped name has its place."""

import json
import re
from pathlib import Path

import pytest
from benchmarks.pages import filled
from benchmarks.reproduction_tables import copied, overview, page, section

from hebm.config import RunConfig
from hebm.errors import MissingDataError
from hebm.reproduce import load_spec, spec_names
from hebm.reproduce import plan as planning
from hebm.reproduce.cells import record_place

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reproduction.md"
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("reproduce-*.json"))
RECORD = {
    "name": "toy",
    "size": "small",
    "n_seeds": 2,
    "asked": {"run": [], "column": ["digits"]},
    "text": "# A toy\n\nWords.\n\n1 of 4 cells are not finished.\n\n## Findings\n\n* one\n\n"
    "## accuracy\n\n| a |\n\n## Cost\n\n2 cells: an hour.\n",
}


def test_verdicts_stand_on_the_page_and_all_of_the_text_on_its_own() -> None:
    """Findings, cost and missing cells in their place, no table; filling twice changes nothing."""
    before = "before\n\n<!-- reproduce toy small -->\nold\n<!-- end -->\n\nafter <!-- end -->\n"
    text, _ = filled(before, "reproduce toy small", section(RECORD))
    command = "```bash\nhebm reproduce toy --size small --seeds 2 --column digits\n```\n\n"
    assert text == (
        f"before\n\n<!-- reproduce toy small -->\n### A toy\n\n{command}"
        "1 of 4 cells are not finished.\n\n* one\n\n2 cells: an hour.\n\n"
        "[Protocol, traps and tables](reproduction/toy-small.md)\n<!-- end -->\n\nafter <!-- end -->\n"
    )
    assert filled(text, "reproduce toy small", section(RECORD)) == (text, True)
    failed = RECORD | {"text": str(RECORD["text"]).replace("## Cost", "## Failed cells\n\n* why\n\n## Cost")}
    assert "\n* one\n\nFailed cells:\n\n* why\n\n2 cells" in section(failed)
    rest = RECORD["text"].partition("\n\n")[2]  # type: ignore[attr-defined]
    assert page(RECORD) == f"# A toy\n\n[All verdicts](../reproduction.md)\n\n{command}{rest}"


def test_the_overview_counts_findings_and_leads_to_the_section() -> None:
    """Hours of all cells, failed ones without times; the first finding; the anchor that GitHub makes of the title."""
    finding = {"text": "A is worse than B.", "is_good": False}
    others = [{"text": "?", "is_good": None}, *[{"text": "+", "is_good": True}] * 3]
    record = RECORD | {
        "text": "# A toy, 2-D: levels (all)\n\nWords.",
        "findings": [finding, *others],
        "n_cells_missing": 0,
        "cells": [{"training_s": 3600.0, "evaluation_s": 1800.0}, {"failed": "diverged"}],
    }
    line = "| [`toy`](#a-toy-2-d-levels-all) | 2 | 1.5 | 1 / 1 / 3 | A is worse than B. |"
    assert overview([record]).splitlines()[2:] == [line]
    assert "| 2, not all cells |" in overview([record | {"n_cells_missing": 1}])
    assert "nothing here has a direction" in overview([record | {"findings": []}])


def test_results_are_copied_without_the_cells_own_and_without_smoke(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page needs, and no more; the folder of data has no name there."""
    monkeypatch.setenv("HEBM_DATA", "/mine/data")
    for size in ("small", "smoke"):
        folder = tmp_path / f"toy-{size}"
        folder.mkdir()
        record = RECORD | {"size": size, "cells": [{"run": "joint", "results": {"toy": {}}}]}
        record["notes"] = ["missing from /mine/data/svhn"]
        (folder / "result.json").write_text(json.dumps(record))
    (path,) = copied(tmp_path, tmp_path)
    assert path.name == "reproduce-toy-small.json"
    copy = json.loads(path.read_text())
    assert copy["cells"] == [{"run": "joint"}]
    assert copy["notes"] == ["missing from $HEBM_DATA/svhn"]


def test_every_name_has_its_place_and_every_link_of_the_page_its_file() -> None:
    """At size small; pages of their own lead back."""
    text = PAGE.read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- reproduce (\S+) small -->", text)) == spec_names()
    linked = {PAGE.parent / link for link in re.findall(r"\]\((reproduction/\S+)\)", text)}
    assert linked == set((PAGE.parent / "reproduction").glob("*.md"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_number_is_of_the_configuration_that_its_specification_has_now(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell of every result file."""

    def missing(config: RunConfig) -> MissingDataError | None:
        return MissingDataError("not here") if config.data.name in ("svhn", "celeba", "shapes3d") else None

    monkeypatch.setattr(planning, "_missing_images", missing)
    file = json.loads(path.read_text(encoding="utf-8"))
    plan = planning.make_plan(load_spec(file["name"]), file["size"], n_seeds=file["n_seeds"])
    configs = {cell.place: cell.config for cell in plan.cells}
    for cell in file["cells"]:
        assert cell["config_hash"] in configs[record_place(cell)].hashes(), cell
