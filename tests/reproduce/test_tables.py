"""Statistics over seeds, tables, findings and the document: exact values."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from pydantic import ValidationError
from toy import toy_spec

from hebm.reproduce.document import Grid, Section, to_html, to_markdown
from hebm.reproduce.plan import Plan
from hebm.reproduce.plots import measure_figure, measure_svg
from hebm.reproduce.sections import outcome_sections
from hebm.reproduce.statistics import paired_difference, summarise
from hebm.reproduce.tables import as_json, grids, make_tables
from hebm.reproduce.verdict import findings


def record(run: str, seed: int, good: float, bad: float = 1.0, column: str = "digits") -> dict[str, Any]:
    """A finished cell."""
    return {
        "run": run, "column": column, "seed": seed, "config_hash": "0", "hardware": "a machine", "training_s": 30.0,
        "evaluation_s": 15.0, "results": {"toy": {"good": [good], "bad": bad}},
    }  # fmt: skip


RECORDS = [
    record("joint", 0, 0.9), record("joint", 1, 0.7), record("joint", 2, 0.8),
    record("gaussian", 0, 0.5), record("gaussian", 1, 0.4), record("gaussian", 2, 0.6),
]  # fmt: skip


def plan(**changes: object) -> Plan:
    """The toy's plan, without cells: tables look at records."""
    return Plan(toy_spec(**changes), "small", ("digits",), 3, ())


def test_summary_is_mean_and_sample_deviation() -> None:
    """n - 1 in the denominator; a single value has none."""
    summary = summarise({0: 1.0, 1: 2.0, 2: 6.0})
    assert summary is not None
    assert (summary.mean, summary.n) == (3.0, 3)
    assert summary.sd == pytest.approx(math.sqrt(7.0))
    alone = summarise({4: 2.0})
    assert alone is not None
    assert alone.sd is None
    assert summarise({}) is None


def test_difference_is_paired_by_seed() -> None:
    """The standard error is that of the differences, over the seeds both have; the common spread drops out."""
    ours, control = {0: 1.0, 1: 11.0, 2: 24.0, 3: 9.0}, {0: 0.0, 1: 10.0, 2: 20.0, 9: 5.0}
    found = paired_difference(ours, control)
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(2.0), 3)  # differences 1, 1, 4
    assert found.se == pytest.approx(math.sqrt(3.0) / math.sqrt(3))
    assert found.is_clear is False
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    single = paired_difference({0: 1.0}, {0: 3.0})
    assert single is not None
    assert (single.mean, single.se, single.is_clear) == (-2.0, None, None)


@pytest.mark.parametrize(("gap", "clear"), [(2.1, True), (1.9, False), (-2.1, True)])
def test_clear_means_more_than_two_standard_errors(gap: float, clear: bool) -> None:
    """Differences gap ± 1 have the standard error 1."""
    found = paired_difference({0: gap - 1, 1: gap + 1}, {0: 0.0, 1: 0.0})
    assert found is not None
    assert found.se == pytest.approx(1.0)
    assert found.is_clear is clear


def test_table_has_values_published_numbers_and_differences_in_place() -> None:
    """Mean ± sd, the paper's number beside ours, rows of the paper alone last, differences under it."""
    table, _ = make_tables(plan(), RECORDS)
    values, differences = grids(table, plan().spec)
    assert values == Grid(
        ("goodness", "digits", "Fashion-MNIST"),
        (
            ("with energy", "0.800 ± 0.100 (paper 0.500)", "– (paper 0.900)"),
            ("twin", "0.500 ± 0.100", "–"),
            ("published: theirs (copied)", "0.250", "–"),
        ),
    )
    assert differences == Grid(
        ("difference ± standard error", "digits", "Fashion-MNIST"),
        (("with energy − twin", "+0.300 ± 0.058", "–"),),
    )


def test_a_row_may_have_several_controls() -> None:
    """A line and a sentence for each, in the order of the table; one with no seed in common has none."""
    rows = [row.model_dump() for row in toy_spec().rows]
    rows[0]["control"] = ["other", "gaussian"]
    rows[2]["measures"] = None
    spec = toy_spec(rows=rows)
    others = [record("other", seed, 0.75) for seed in range(3)]
    tables = make_tables(Plan(spec, "small", ("digits",), 3, ()), [*RECORDS, *others])
    entry = tables[0].lines[0].entries["digits"]
    assert {key: round(found.mean, 3) for key, found in entry.differences.items()} == {
        "gaussian": 0.3,
        "other": 0.05,
    }
    assert [line[:2] for line in grids(tables[0], spec)[1].rows] == [
        ("with energy − twin", "+0.300 ± 0.058"),
        ("with energy − other", "+0.050 ± 0.058"),
    ]
    same = [record("other", seed, 0.5 + 0.001 * seed) for seed in range(3)]
    (table, *_) = make_tables(Plan(spec, "small", ("digits",), 3, ()), [*RECORDS, *same])
    assert (
        "goodness, digits: with energy is better by more than two standard errors than twin (+0.300 ± 0.058, 3 seeds); "
        "other (+0.299 ± 0.058, 3 seeds)." in [finding.text for finding in findings([table], spec)]
    )
    (alone, *_) = make_tables(Plan(spec, "small", ("digits",), 3, ()), RECORDS)
    assert list(alone.lines[0].entries["digits"].differences) == ["gaussian"]


def test_failed_cells_and_other_columns_have_no_values() -> None:
    """A failed seed is left out; a column's records do not enter another's."""
    failed = {"run": "joint", "column": "digits", "seed": 2, "failed": "diverged"}
    table, _ = make_tables(plan(), [*RECORDS[:2], failed, record("joint", 2, 99.0, column="fashion")])
    entry = table.lines[0].entries["digits"]
    assert entry.values == {0: 0.9, 1: 0.7}
    assert table.lines[0].entries["fashion"].values == {2: 99.0}


def test_a_row_is_in_its_own_measures_alone() -> None:
    """`other` has badness only; a list item and a missing field are found or not."""
    good, bad = make_tables(plan(), [*RECORDS, record("other", 0, 0.1, bad=7.0)])
    assert [line.row.key for line in good.lines] == ["joint", "gaussian"]
    assert [line.row.key for line in bad.lines] == ["joint", "gaussian", "other"]
    assert bad.lines[2].entries["digits"].values == {0: 7.0}


def test_a_row_is_in_its_own_sizes_alone() -> None:
    """A row of the smoke test stands in no other table; one without sizes stands in all."""
    rows = [row.model_dump() for row in toy_spec().rows]
    rows[0]["sizes"], rows[1]["sizes"] = ["smoke"], ["small"]
    spec = toy_spec(rows=rows)
    keys = {
        size: [line.row.key for line in make_tables(Plan(spec, size, ("digits",), 3, ()), RECORDS)[0].lines]
        for size in ("smoke", "small")
    }
    assert keys == {"smoke": ["joint"], "small": ["gaussian"]}
    rows[0]["sizes"] = ["medium"]
    with pytest.raises(ValidationError, match="the row joint names 'medium'"):
        toy_spec(rows=rows)


def test_a_measure_that_no_run_has_is_left_out() -> None:
    """Where only some runs are asked for, there may be no row to show."""
    assert [table.key for table in make_tables(plan(), [record("other", 0, 0.1)])] == ["bad"]


@pytest.mark.parametrize(
    ("path", "value"),
    [("toy.list.0", 1.0), ("toy.list.-1", 3.0), ("toy.list.3", None), ("toy.list.-4", None), ("toy.list.x", None),
     ("toy.none", None), ("toy.deep.inside", 5.0), ("toy.deep", None), ("toy.flag", None), ("toy.missing.x", None)],
)  # fmt: skip
def test_paths_find_numbers_alone(path: str, value: float | None) -> None:
    """Items of lists from both ends; neither truth values nor absent fields are numbers."""
    measures = {"m": {"label": "m", "path": path}}
    results = {"list": [1, 2, 3], "none": None, "deep": {"inside": 5}, "flag": True}
    cell = {**record("joint", 0, 0.0), "results": {"toy": results}}
    (table,) = make_tables(plan(measures=measures, published=(), rows=()), [cell])
    assert table.lines[0].entries["digits"].values == ({} if value is None else {0: value})


def test_findings_put_what_speaks_against_us_first() -> None:
    """Not above the published value; within two standard errors; equal, which says nothing; then what speaks for us."""
    rows = [row.model_dump() for row in toy_spec().rows]
    rows[2] |= {"measures": ["good"], "control": "joint"}
    published = ({"label": "ours", "measure": "good", "row": "joint", "values": {"digits": 0.85}},)
    spec = toy_spec(published=published, rows=rows)
    others = [record("other", seed, 0.8) for seed in range(3)]
    tables = make_tables(Plan(spec, "small", ("digits",), 3, ()), [*RECORDS, *others])
    found = findings(tables, spec)
    assert [f.is_good for f in found] == [False, False, None, True]
    assert (
        found[0].text == "goodness, digits: with energy has 0.800, not above the published 0.850 (3 seeds)."
    )
    assert found[1].text == (
        "goodness, digits: other is not told apart, within two standard errors, from with energy "
        "(+0.000 ± 0.058, 3 seeds)."
    )
    assert (
        found[2].text == "badness, digits: with energy equals in every seed twin (+0.000 ± 0.000, 3 seeds)."
    )
    assert found[3].text == (
        "goodness, digits: with energy is better by more than two standard errors than twin (+0.300 ± 0.058, 3 seeds)."
    )


@pytest.mark.parametrize(("bad", "word", "good"), [(0.5, "better", True), (1.5, "worse", False)])
def test_where_lower_is_better_a_negative_difference_is(bad: float, word: str, good: bool) -> None:
    """The measure says which way is better."""
    cells = [record(run, seed, 0.5, bad=bad + seed / 1000 if run == "joint" else 1.0)
             for run in ("joint", "gaussian") for seed in range(3)]  # fmt: skip
    spec = plan().spec
    (finding,) = [f for f in findings(make_tables(plan(), cells), spec) if f.text.startswith("badness")]
    assert f" is {word} by more" in finding.text
    assert finding.is_good is good


def test_a_mean_of_zero_is_equality_only_without_spread() -> None:
    """Two seeds that differ by as much in opposite directions are not equal."""
    spec = toy_spec()
    for bad, words in ((1.0, "equals in every seed"), (1.5, "is not told apart")):
        cells = [record("joint", 0, 0.5, bad=bad), record("joint", 1, 0.5, bad=2 - bad)]
        cells += [record("gaussian", seed, 0.5, bad=1.0) for seed in range(2)]
        found = findings(make_tables(plan(), cells), spec)
        assert [words in f.text for f in found if f.text.startswith("badness")] == [True]


def test_one_seed_decides_nothing() -> None:
    """Neither good nor bad without an error; said once, not once for each place."""
    (found,) = findings(make_tables(plan(published=()), [RECORDS[0], RECORDS[3]]), plan().spec)
    assert found.is_good is None
    assert (
        found.text == "2 differences to controls rest on one seed, which gives no error and decides nothing."
    )


def test_a_published_number_is_held_against_every_row_it_names() -> None:
    """The row it stands beside, and those in `also`, such as the declared one; a miss comes first."""
    published = (
        {"label": "ours", "measure": "good", "row": "joint", "also": ["gaussian"], "values": {"digits": 0.6}},
    )
    spec = toy_spec(published=published)
    tables = make_tables(Plan(spec, "small", ("digits",), 3, ()), RECORDS)
    texts = [f.text for f in findings(tables, spec)]
    assert texts[0] == "goodness, digits: twin has 0.500, not above the published 0.600 (3 seeds)."
    assert "goodness, digits: with energy has 0.800, above the published 0.600 (3 seeds)." in texts
    assert tables[0].published == ()


def test_a_published_number_whose_rows_were_not_run_stands_alone() -> None:
    """It keeps a row of its own as long as the row it belongs to is not there, and is still held against the others."""
    published = (
        {"label": "ours", "measure": "good", "row": "other", "also": ["joint"], "values": {"digits": 0.6}},
    )
    spec = toy_spec(published=published)
    (table, _) = make_tables(Plan(spec, "small", ("digits",), 3, ()), RECORDS)
    assert [p.label for p in table.published] == ["ours"]
    assert table.lines[0].entries["digits"].published == 0.6


def test_a_measure_without_direction_gives_neither_findings_nor_differences() -> None:
    """Such as a base rate."""
    measures = {"m": {"label": "m", "path": "toy.bad"}}
    bare = plan(measures=measures, published=(), rows=tuple(
        r.model_dump() | {"measures": None} for r in toy_spec().rows))  # fmt: skip
    tables = make_tables(bare, RECORDS)
    assert findings(tables, bare.spec) == []
    assert len(grids(tables[0], bare.spec)) == 1
    assert findings(make_tables(bare, [RECORDS[0], RECORDS[3]]), bare.spec) == []  # one seed of it, too


def test_json_keeps_every_seed_unrounded() -> None:
    """And the difference with its error."""
    text = as_json(make_tables(plan(), RECORDS)[0])
    entry = text["rows"][0]["columns"]["digits"]
    assert entry["values"] == {0: 0.9, 1: 0.7, 2: 0.8}
    assert entry["published"] == 0.5
    assert entry["differences"]["gaussian"]["n"] == 3
    assert text["published"][0]["label"] == "theirs"


class Balance(HTMLParser):
    """Counts elements, and fails on a wrong closing tag."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_one_balanced_file_with_its_plots_and_no_script() -> None:
    """Nothing is fetched, text is escaped, every table of the Markdown is there."""
    failed = {"run": "other", "column": "digits", "seed": 0, "failed": "it <broke>"}
    sections = outcome_sections(plan(), [*RECORDS, failed], make_tables(plan(), RECORDS))
    html, text = to_html(sections), to_markdown(sections)
    parser = Balance()
    parser.feed(html)
    assert parser.open == []
    assert parser.seen.count("svg") == 2
    assert parser.seen.count("table") == len(re.findall(r"^\| --- ", text, flags=re.M)) == 4
    assert "script" not in parser.seen
    assert re.search(r'(src|href)="(?!#)', html) is None
    assert "it &lt;broke&gt;" in html
    assert "seed 0: it <broke>" in text
    assert " cells failed; what follows is without them.\n\n" in text
    assert "6 cells: 3.0 minutes of training, 1.5 of evaluation, on a machine; what another" in text


def test_findings_stand_under_what_they_say_of_the_model() -> None:
    """Against, open, for; what there is none of has no heading."""
    published = ({"label": "ours", "measure": "good", "row": "joint", "values": {"digits": 0.85}},)
    lost = plan(published=published)
    text = to_markdown(outcome_sections(lost, RECORDS, make_tables(lost, RECORDS)[:1]))
    assert (
        "## Findings\n\nAgainst:\n\n* goodness, digits: with energy has 0.800, not above the published 0.850 (3 seeds)."
        "\n\nFor:\n\n* goodness, digits: with energy is better by" in text
    )
    assert "Open:" not in text
    alone = to_markdown(outcome_sections(lost, RECORDS[::3], make_tables(lost, RECORDS[::3])[:1]))
    assert "Open:\n\n* One difference to a control rests on one seed" in alone


def test_markdown_escapes_bars_in_tables() -> None:
    """A bar in a cell would begin another."""
    text = to_markdown([Section("t", ("words", ("a", "b"), Grid(("x",), (("p|q",),)), ()))])
    assert text == "# t\n\nwords\n\n* a\n* b\n\n| x |\n| --- |\n| p\\|q |\n"


def test_the_plot_has_a_dot_per_seed_and_a_ring_per_published_number() -> None:
    """In the rows' order, top first."""
    table, _ = make_tables(plan(), RECORDS)
    (axes,) = measure_figure(table, plan().spec).axes
    dots = [line.get_xdata() for line in axes.lines if line.get_markersize() == 5]
    rings = [line.get_xdata() for line in axes.lines if line.get_markersize() == 9]
    assert [list(d) for d in dots] == [[0.9, 0.7, 0.8], [0.5, 0.4, 0.6]]
    assert [list(r) for r in rings] == [[0.5]]
    assert axes.yaxis_inverted()
    assert measure_svg(table, plan().spec).startswith("<svg")


def test_a_long_label_of_a_measure_is_no_wider_than_its_plot() -> None:
    """It goes on in a second line."""
    table, _ = make_tables(plan(), RECORDS)
    long = replace(table, measure=table.measure.model_copy(update={"label": "goodness " * 9 + "end"}))
    figure = measure_figure(long, plan().spec)
    figure.canvas.draw()
    (axes,) = figure.axes
    assert axes.get_xlabel().split() == [*["goodness"] * 9, "end"]
    assert axes.xaxis.label.get_window_extent().x1 <= figure.bbox.x1


def test_a_measure_for_information_has_differences_but_no_findings() -> None:
    """The same verdict by three measures is one finding."""
    measures = {key: m.model_dump() for key, m in toy_spec().measures.items()}
    measures["bad"]["decides"] = False
    spec = toy_spec(measures=measures)
    tables = make_tables(Plan(spec, "small", ("digits",), 3, ()), RECORDS)
    assert tables[1].lines[0].entries["digits"].differences
    assert all("badness" not in finding.text for finding in findings(tables, spec))
    assert any("goodness" in finding.text for finding in findings(tables, spec))
