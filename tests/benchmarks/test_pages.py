"""Pages that commands fill: the right place and nothing else."""

import re
from pathlib import Path

import pytest
from benchmarks.pages import fill_page, filled

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
DOCS = Path(__file__).parents[2] / "docs"
PAGE = "before\n<!-- a -->\nold\n<!-- end -->\nbetween\n<!-- a b -->\n<!-- end -->\nafter\n"


def test_a_text_goes_into_its_place_alone() -> None:
    """Not into a place whose name begins the same way; a backslash is a backslash."""
    page, found = filled(PAGE, "a", r"new \1")
    assert found
    assert page == PAGE.replace("old", r"new \1")
    page, found = filled(PAGE, "a b", "new")
    assert found
    assert page == PAGE.replace("<!-- a b -->\n", "<!-- a b -->\nnew\n")


def test_a_text_without_a_place_changes_nothing_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are written all the same."""
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    fill_page(path, {"c": "lost", "a": "new"})
    assert path.read_text() == PAGE.replace("old", "new")
    assert capsys.readouterr().out == f"c: has no place in {path}\na: written\n"


def test_results_name_no_place_of_the_machine_that_made_them() -> None:
    """No absolute path in any of them, neither as a value nor within a text, nor in the pages made of them."""
    files = [*RESULTS.glob("*.json"), *DOCS.rglob("*.md")]
    absolute = re.compile(r"[\s\"'(=]/\w+/")
    assert [path.name for path in files if absolute.search(path.read_text(encoding="utf-8"))] == []
