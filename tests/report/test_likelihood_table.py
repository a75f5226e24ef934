"""The table of the likelihood suite."""

from pathlib import Path

import pytest
from run_directories import make_full_run, write_suite

from hebm.report import write_report
from hebm.report.likelihood import interval_text, likelihood_table
from hebm.report.run_files import read_run

RESULTS = {
    "log_z_lower": 1.0,
    "log_z_upper": 1.25,
    "elbo": [85.5, 85.75],
    "elbo_se": 1.5,
    "iwae_k": {"1": [85.5, 85.75], "100": [90.5, 90.75], "1000": [70.0, 70.25]},
    "iwae_k_se": {"1": 1.5, "100": 1.4, "1000": 9.0},
    "iwae_k_n_images": {"1": 500, "100": 500, "1000": 20},
    "likelihood_measure": "density of y",
    "bits_per_dim": None,
    "rate_per_level": [11.25, 3.5],
    "active_units": [5, 1],
    "n_units": [5, 2],
    "gain_per_level": [None, {"interval": [2.0, 2.5], "se": 0.25}],
    "n_images": 500,
    "note": None,
}


@pytest.mark.parametrize(
    ("interval", "se", "text"),
    [
        ([1.0, 2.0], None, "1.00 to 2.00"),
        ([-1234.5, -1234.498], 0.125, "-1,234.50 ±\u00a00.12"),
        ([-0.001, 0.0], None, "0.00"),
        (None, 0.1, "–"),
        ([1.0, "inf"], None, "1 to infinite"),
    ],
)
def test_intervals_are_a_to_b(interval: object, se: float | None, text: str) -> None:
    """One number where both ends agree, the error behind it."""
    assert interval_text(interval, se) == text


def test_the_table_says_each_number_in_words(tmp_path: Path) -> None:
    """Intervals, errors, levels; what is null has no row; the twin stands beside it."""
    make_full_run(tmp_path / "twin", kind="gaussian")
    write_suite(make_full_run(tmp_path), "likelihood", RESULTS)
    write_suite(tmp_path / "twin", "likelihood", {**RESULTS, "elbo": [80.0, 80.0], "gain_per_level": None})
    table = likelihood_table(read_run(tmp_path))
    rows = {row.name: (row.value, row.twin_value) for row in table.rows}
    assert rows["Bound on log p(x)"] == ("85.50 to 85.75 ±\u00a01.5", "80.00 ±\u00a01.5")
    assert rows["Tighter bound, 100 draws"][0] == "90.50 to 90.75 ±\u00a01.4"
    assert rows["Active units"][0] == "5 of 5, 1 of 2"
    assert rows["What it adds on each level"] == ("–; 2.00 to 2.50 ±\u00a00.25", "–")
    assert rows["log Z"][0] == "1.00 to 1.25"
    assert not {"Bits per dimension", "Tighter bound, 10 draws"} & rows.keys()
    assert table.remark == ""
    assert "Tighter bound, 100 draws" in write_report(tmp_path).read_text(encoding="utf-8")


def test_columns_that_do_not_compare_say_so(tmp_path: Path) -> None:
    """Another number of images, and the suite's own note."""
    make_full_run(tmp_path / "twin", kind="gaussian")
    write_suite(make_full_run(tmp_path), "likelihood", {**RESULTS, "note": "A note."})
    write_suite(tmp_path / "twin", "likelihood", {**RESULTS, "n_images": 7})
    remark = likelihood_table(read_run(tmp_path)).remark
    assert remark == "The two columns do not compare: n_images differ. A note."
