"""The section on images that do not belong."""

from pathlib import Path
from typing import Any

import pytest
from run_directories import make_full_run, write_suite

from hebm.report import write_report
from hebm.report.ood_table import ood_section
from hebm.report.run_files import read_run


def row(auroc: float, n: int = 50) -> dict[str, Any]:
    measures = ("auroc", "auprc", "auprc_trapezoid", "fpr80", "fpr95")
    values = {name: auroc - i / 100 for i, name in enumerate(measures)}
    intervals = {f"{name}_interval": [value - 0.01, value + 0.01] for name, value in values.items()}
    return {**values, **intervals, "n_in": n, "n_out": n, "base_rate": 0.5}


def results(auroc: float = 0.9, n: int = 50, **more: Any) -> dict[str, Any]:
    pairs = {
        name: {
            "controls": {"png_size": row(0.8, n)},
            "scores": {"elbo": row(auroc, n), "llr:n_lowest=2": row(auroc - 0.2, n)},
        }
        for name in ("mnist", "noise<b>")
    }
    base = {"declared": "elbo", "verdict": "mnist: elbo beats <it>.", "left_out": {}, "n_bootstrap": 20}
    return {**base, "pairs": pairs, "n_calibration": 70, "n_train": 80, **more}


def test_controls_come_first_and_the_declared_score_is_marked(tmp_path: Path) -> None:
    """A table per measure, AUROC first; a cell has value, interval and the twin's value."""
    make_full_run(tmp_path / "twin", kind="gaussian")
    write_suite(make_full_run(tmp_path), "ood", results())
    write_suite(tmp_path / "twin", "ood", results(0.85))
    section = ood_section(read_run(tmp_path))
    assert section is not None
    assert not section.is_warning
    assert [table.name for table in section.tables][:2] == ["AUROC", "AUPRC (average precision)"]
    table = section.tables[0]
    assert table.sets == ["mnist", "noise<b>"]
    assert [(r.name, r.is_control, r.is_declared) for r in table.rows] == [
        ("png_size", True, False), ("elbo", False, True), ("llr:n_lowest=2", False, False),
    ]  # fmt: skip
    cell = table.rows[1].cells[0]
    assert (cell.value, cell.interval, cell.twin_value) == ("0.900", "0.890\u00a0to\u00a00.910", "0.850")
    fpr80 = section.tables[2].rows[1].cells[1]  # not the trapezoid before it
    assert (fpr80.value, fpr80.interval) == ("0.870", "0.860\u00a0to\u00a00.880")
    assert table.rows[2].meaning.startswith("Likelihood ratio of levels")
    assert "50 + 50" in section.origin
    assert section.remark == ""
    page = write_report(tmp_path).read_text(encoding="utf-8")
    assert "Does it notice what does not belong?" in page
    assert "elbo (declared)" in page
    assert "twin&nbsp;0.850" in page
    assert "beats &lt;it&gt;" in page
    assert "noise<b>" not in page
    assert "Suite “ood”" not in page


def test_a_model_that_does_not_beat_a_control_gets_a_warning(tmp_path: Path) -> None:
    """In the words of the verdict."""
    write_suite(
        make_full_run(tmp_path), "ood", results(verdict="mnist: elbo does not beat the size of a PNG file.")
    )
    section = ood_section(read_run(tmp_path))
    assert section is not None
    assert section.is_warning
    assert "<strong>Warning.</strong> mnist: elbo does not beat the size" in write_report(tmp_path).read_text(
        "utf-8"
    )


def test_what_is_left_out_and_what_does_not_compare_is_said(tmp_path: Path) -> None:
    """Reasons; other numbers of images; a score that the twin has not."""
    make_full_run(tmp_path / "twin", kind="gaussian")
    write_suite(make_full_run(tmp_path), "ood", results(left_out={"svhn_sample": "not there."}))
    twin = results(n=40)
    del twin["pairs"]["mnist"]["scores"]["elbo"]
    write_suite(tmp_path / "twin", "ood", twin)
    section = ood_section(read_run(tmp_path))
    assert section is not None
    assert section.remark.startswith(
        "Left out: svhn_sample: not there. The twin was measured on other numbers"
    )
    assert section.tables[0].rows[1].cells[0].twin_value == ""


@pytest.mark.parametrize("content", [{}, {"pairs": []}, {"pairs": {}}])
def test_no_section_without_results(tmp_path: Path, content: dict[str, Any]) -> None:
    """Nor a broken page."""
    write_suite(make_full_run(tmp_path), "ood", content)
    assert ood_section(read_run(tmp_path)) is None
    assert "does not belong" not in write_report(tmp_path).read_text("utf-8")
