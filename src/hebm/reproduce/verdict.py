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
    directed = [table for table in tables if table.measure.higher_is_better is not None]
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
    for control in line.controls:
        difference = entry.differences.get(control.key)
        if difference is not None and difference.se is not None:
            yield _against_control(name, control.label, difference, table)
    if entry.published is not None:
        ahead = _is_better(entry.summary.mean - entry.published, table)
        word = "above" if entry.summary.mean > entry.published else "not above"
        text = (
            f"{name} has {entry.summary.mean:.{digits}f}, {word} the published {entry.published:.{digits}f}"
        )
        yield Finding(f"{text} ({_seeds(entry.summary.n)}).", ahead)


def _against_control(name: str, control: str, found: Difference, table: Table) -> Finding:
    digits = table.measure.digits
    text = f"{name} − {control} = {found.mean:+.{digits}f} ± {found.se:.{digits}f} ({_seeds(found.n)})"
    if found.mean == found.se == 0:
        return Finding(f"{name} and {control} are equal in every seed ({_seeds(found.n)}).", None)
    better = _is_better(found.mean, table)
    if not found.is_clear:
        return Finding(f"{text}: within two standard errors, no difference shown.", False)
    return Finding(f"{text}: {'better' if better else 'worse'} by more than two standard errors.", better)


def _is_better(difference: float, table: Table) -> bool:
    return difference > 0 if table.measure.higher_is_better else difference < 0


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"
