"""What a reproduction found, in sections: protocol and traps, findings, tables with plots, failures, cost."""

from collections.abc import Iterator, Sequence

from hebm.reproduce.cells import Record
from hebm.reproduce.document import Section
from hebm.reproduce.plan import Plan
from hebm.reproduce.plots import measure_svg
from hebm.reproduce.tables import Table, grids
from hebm.reproduce.verdict import Finding, findings

__all__ = ["outcome_sections"]


def outcome_sections(plan: Plan, records: Sequence[Record], tables: Sequence[Table]) -> list[Section]:
    """The whole outcome; unflattering findings first."""
    return list(_sections(plan, records, tables))


def _sections(plan: Plan, records: Sequence[Record], tables: Sequence[Table]) -> Iterator[Section]:
    spec = plan.spec
    missing = len(plan.cells) - len(records)
    failed = [record for record in records if "failed" in record]
    n_earlier = sum("earlier" in record for record in records)
    yield Section(
        spec.title,
        (
            _one_line(f"{spec.paper} Size {plan.size}: {spec.sized(plan.size).cost}."),
            _one_line(f"Protocol: {spec.protocol}"),
            tuple(map(_one_line, spec.traps)),
            tuple(map(_one_line, plan.notes)),
            _of_all(plan, n_earlier, "are taken from an earlier result file."),
            _of_all(plan, len(failed), "failed; what follows is without them."),
            _of_all(plan, missing, "are not finished and missing from what follows."),
        ),
    )
    yield Section("Findings", (*_findings(findings(tables, spec)), _one_line(spec.verdict)))
    for table in tables:
        yield Section(table.measure.label, tuple(grids(table, spec)), measure_svg(table, spec))
    if failed:
        texts = (
            f"{r['run']}, {spec.columns[r['column']].label}, seed {r['seed']}: {r['failed']}" for r in failed
        )
        yield Section("Failed cells", (tuple(texts),))
    yield Section("Cost", (_cost(records),))


def _of_all(plan: Plan, number: int, what: str) -> str:
    return f"{number} of {len(plan.cells)} cells {what}" if number > 0 else ""


def _findings(found: Sequence[Finding]) -> Iterator[str | tuple[str, ...]]:
    """A list of what speaks against the rows, of what is open, and of what speaks for them; none is empty."""
    for is_good, title in ((False, "Against:"), (None, "Open:"), (True, "For:")):
        if texts := tuple(finding.text for finding in found if finding.is_good is is_good):
            yield from (title, texts)


def _cost(records: Sequence[Record]) -> str:
    done = [record for record in records if "results" in record]
    if not done:
        return "No cell was finished."
    training, evaluation = (
        sum(record[f"{what}_s"] for record in done) / 60 for what in ("training", "evaluation")
    )
    hardware = ", ".join(sorted({record["hardware"] for record in done}))
    return (
        f"{len(done)} cells: {training:.1f} minutes of training, {evaluation:.1f} of evaluation, on {hardware}; what "
        "another reproduction had trained or evaluated is counted there."
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
