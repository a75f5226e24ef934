"""Sentences that the numbers decide, the unflattering ones first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hebm.reproduce.spec import Spec
from hebm.reproduce.statistics import Difference
from hebm.reproduce.tables import Entry, Line, Table

__all__ = ["Finding", "findings"]


@dataclass(frozen=True)
class Finding:
    """A sentence, and whether it speaks for the row it is about (None: it cannot tell)."""

    text: str
    is_good: bool | None


def findings(tables: Sequence[Table], spec: Spec) -> list[Finding]:
    """Compare every row with its control and with the published value; what speaks against it comes first."""
    directed = [
        table for table in tables if table.measure.decides and table.measure.higher_is_better is not None
    ]
    found = [
        finding
        for table in directed
        for line in table.lines
        for column, entry in line.entries.items()
        for finding in _of_entry(table, line, spec.columns[column].label, entry)
    ]
    order = {False: 0, None: 1, True: 2}
    return sorted([*found, *_undecided(directed)], key=lambda finding: order[finding.is_good])


def _undecided(tables: Sequence[Table]) -> list[Finding]:
    """One sentence about all differences that rest on a single seed."""
    entries = [entry for table in tables for line in table.lines for entry in line.entries.values()]
    n = sum(difference.se is None for entry in entries for difference in entry.differences.values())
    what = "One difference to a control rests" if n == 1 else f"{n} differences to controls rest"
    return [Finding(f"{what} on one seed, which gives no error and decides nothing.", None)] if n else []


def _of_entry(table: Table, line: Line, column: str, entry: Entry) -> Iterator[Finding]:
    if entry.summary is None:
        return
    digits, name = table.measure.digits, f"{table.measure.label}, {column}: {line.row.label}"
    yield from _against_controls(name, line, entry, table)
    if entry.published is not None:
        ahead = _is_better(entry.summary.mean - entry.published, table)
        word = "above" if entry.summary.mean > entry.published else "not above"
        text = (
            f"{name} has {entry.summary.mean:.{digits}f}, {word} the published {entry.published:.{digits}f}"
        )
        yield Finding(f"{text} ({_seeds(entry.summary.n)}).", ahead)


def _against_controls(name: str, line: Line, entry: Entry, table: Table) -> Iterator[Finding]:
    """One sentence for all controls that compare alike."""
    digits = table.measure.digits
    told: dict[tuple[str, bool | None], list[str]] = {}
    for control in line.controls:
        found = entry.differences.get(control.key)
        if found is not None and found.se is not None:
            how = f"{found.mean:+.{digits}f} ± {found.se:.{digits}f}, {_seeds(found.n)}"
            told.setdefault(_comparison(found, table), []).append(f"{control.label} ({how})")
    for (words, is_good), controls in told.items():
        yield Finding(f"{name} {words} {'; '.join(controls)}.", is_good)


def _comparison(found: Difference, table: Table) -> tuple[str, bool | None]:
    """What a difference says, and whether that speaks for the row."""
    if found.mean == found.se == 0:
        return "equals in every seed", None
    if not found.is_clear:
        return "is not told apart, within two standard errors, from", False
    better = _is_better(found.mean, table)
    return f"is {'better' if better else 'worse'} by more than two standard errors than", better


def _is_better(difference: float, table: Table) -> bool:
    return difference > 0 if table.measure.higher_is_better else difference < 0


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"
