"""From the records of cells to tables: mean ± sd over seeds, published values beside them, differences to controls."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hebm.reproduce.cells import Record
from hebm.reproduce.document import Grid
from hebm.reproduce.plan import Plan
from hebm.reproduce.spec import Measure, Published, Row, Spec
from hebm.reproduce.statistics import Difference, Summary, paired_difference, summarise

__all__ = ["Entry", "Line", "Table", "as_json", "grids", "make_tables"]


@dataclass(frozen=True)
class Entry:
    """One place of a table.

    Args:
        summary: Ours; None if no cell has it.
        values: Ours by seed.
        published: The paper's number for this very place, if it has one.
        differences: Ours minus each control's, by the control's key; without those that have no seed in common.
    """

    summary: Summary | None
    values: dict[int, float]
    published: float | None
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Line:
    """One row of a table, by column."""

    row: Row
    controls: tuple[Row, ...]
    entries: dict[str, Entry]


@dataclass(frozen=True)
class Table:
    """One measure.

    Args:
        key: Of the measure.
        measure: What it is.
        columns: Keys of the columns, those first that were run.
        lines: Ours.
        published: The paper's rows that stand beside none of ours.
    """

    key: str
    measure: Measure
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    published: tuple[Published, ...]


def make_tables(plan: Plan, records: Iterable[Record]) -> list[Table]:
    """One table per measure that has rows, in the specification's order; failed cells have no values."""
    done = [record for record in records if "results" in record]
    tables = (_table(plan, key, done) for key in plan.spec.measures)
    return [table for table in tables if table.lines]


def _table(plan: Plan, key: str, records: Sequence[Record]) -> Table:
    spec, measure = plan.spec, plan.spec.measures[key]
    published = [p for p in spec.published if p.measure == key]
    columns = (*plan.columns, *dict.fromkeys(c for p in published for c in p.values if c not in plan.columns))
    runs = {record["run"] for record in records} | {cell.run for cell in plan.cells}
    rows = [row for row in spec.all_rows if row.run in runs and _is_in(row, key, plan.size)]
    values = {row.key: {c: _values(row, c, measure, records) for c in columns} for row in rows}
    lines = [_line(row, spec, columns, values, published) for row in rows]
    own = {line.row.key for line in lines}
    return Table(key, measure, columns, tuple(lines), tuple(p for p in published if p.row not in own))


def _is_in(row: Row, measure: str, size: str) -> bool:
    """Whether a row has this measure, and numbers at this size."""
    return (row.measures is None or measure in row.measures) and (row.sizes is None or size in row.sizes)


def _line(
    row: Row,
    spec: Spec,
    columns: tuple[str, ...],
    values: Mapping[str, Mapping[str, dict[int, float]]],
    published: Sequence[Published],
) -> Line:
    controls = tuple(r for r in spec.all_rows if r.key in row.control)
    entries = {}
    for column in columns:
        ours = values[row.key][column]
        found = {key: paired_difference(ours, values[key][column]) for key in row.control if key in values}
        differences = {key: difference for key, difference in found.items() if difference is not None}
        paper = next((p.values[column] for p in published if row.key in p.rows and column in p.values), None)
        entries[column] = Entry(summarise(ours), ours, paper, differences)
    return Line(row, controls, entries)


def _values(row: Row, column: str, measure: Measure, records: Sequence[Record]) -> dict[int, float]:
    found = {
        record["seed"]: _look_up(record["results"], measure.path.format_map(row.fields))
        for record in records
        if (record["run"], record["column"]) == (row.run, column)
    }
    return {seed: value for seed, value in found.items() if value is not None}


def _look_up(results: Any, path: str) -> float | None:
    """The number at a path; None if there is none."""
    value = results
    for part in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif (
            isinstance(value, list) and part.lstrip("-").isdecimal() and -len(value) <= int(part) < len(value)
        ):
            value = value[int(part)]
        else:
            return None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_json(table: Table) -> dict[str, Any]:
    """A table as JSON has it; columns by key, nothing rounded."""
    lines = [
        {
            "row": line.row.key,
            "label": line.row.label,
            "controls": list(line.row.control),
            "columns": {key: asdict(entry) for key, entry in line.entries.items()},
        }
        for line in table.lines
    ]
    return {
        **table.measure.model_dump(),
        "rows": lines,
        "published": [p.model_dump() for p in table.published],
    }


def grids(table: Table, spec: Spec) -> list[Grid]:
    """A table of values, published rows last, and one of the differences to controls where there are any."""
    labels = [spec.columns[column].label for column in table.columns]
    found = [Grid((table.measure.label, *labels), (*_value_rows(table), *_published_rows(table)))]
    differences = tuple(
        (
            f"{line.row.label} − {control.label}",
            *(
                _difference(entry.differences.get(control.key), table.measure)
                for entry in line.entries.values()
            ),
        )
        for line in table.lines
        for control in line.controls
        if table.measure.higher_is_better is not None
    )
    return [*found, Grid(("difference ± standard error", *labels), differences)] if differences else found


def _value_rows(table: Table) -> Iterator[tuple[str, ...]]:
    for line in table.lines:
        yield (line.row.label, *(_value(entry, table.measure) for entry in line.entries.values()))


def _published_rows(table: Table) -> Iterator[tuple[str, ...]]:
    for published in table.published:
        numbers = [published.values.get(column) for column in table.columns]
        label = f"published: {published.label}{published.note and f' ({published.note})'}"
        yield (label, *("–" if n is None else _number(n, table.measure) for n in numbers))


def _value(entry: Entry, measure: Measure) -> str:
    text = "–"
    if entry.summary is not None:
        text = _number(entry.summary.mean, measure)
        text += "" if entry.summary.sd is None else f" ± {_number(entry.summary.sd, measure)}"
    return text if entry.published is None else f"{text} (paper {_number(entry.published, measure)})"


def _difference(found: Difference | None, measure: Measure) -> str:
    if found is None:
        return "–"
    text = f"{found.mean:+.{measure.digits}f}"
    return text + (" (one seed)" if found.se is None else f" ± {_number(found.se, measure)}")


def _number(value: float, measure: Measure) -> str:
    return f"{value:.{measure.digits}f}"
