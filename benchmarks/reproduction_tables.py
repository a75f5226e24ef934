"""Put finished reproductions into docs/: verdicts between the markers of reproduction.md, tables on pages of their own.

python -m benchmarks.reproduction_tables runs/reproduce

Results are copied from there to ``benchmarks/results/reproduce-NAME-SIZE.json``, without the cells' own results, and
the pages are made from all copies, of the text that ``hebm reproduce`` wrote: ``docs/reproduction/NAME-SIZE.md`` has
all of it; in docs/reproduction.md a block ``<!-- reproduce NAME SIZE -->`` ... ``<!-- end -->`` is replaced by the
findings, and the block ``<!-- overview -->`` by a line per result; nothing else is touched. Size smoke has no place
there: its numbers mean nothing.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import fill_page
from hebm.data import data_root

__all__ = ["main", "overview", "page", "section"]

PAGE = Path("docs/reproduction.md")
PAGES = Path("docs/reproduction")
RESULTS = Path("benchmarks/results")


def copied(source: Path, results: Path) -> list[Path]:
    """Copy every result of a folder of reproductions but those of size smoke, without this machine's folder of data."""
    copies = []
    for path in sorted(source.glob("*/result.json")):
        text = path.read_text(encoding="utf-8").replace(str(data_root()), "$HEBM_DATA")
        record: dict[str, Any] = json.loads(text)
        if record["size"] == "smoke":
            continue
        record["cells"] = [{k: v for k, v in cell.items() if k != "results"} for cell in record["cells"]]
        copy = results / f"reproduce-{record['name']}-{record['size']}.json"
        copy.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        copies.append(copy)
    return copies


def page(record: dict[str, Any]) -> str:
    """The whole text of a result, with the way back and the command after the title."""
    title, _, rest = record["text"].strip().partition("\n")
    return f"{title}\n\n[All verdicts](../{PAGE.name})\n\n{_command(record)}\n{rest}\n"


def section(record: dict[str, Any]) -> str:
    """What stands in a result's place: title, command, cells that are missing, findings, why cells failed, cost, where
    its tables are."""
    start, *parts = re.split(r"^## ", record["text"].strip(), flags=re.MULTILINE)
    title = start.partition("\n")[0].removeprefix("# ")
    cells = re.findall(r"^\d+ of \d+ cells .*$", start, flags=re.MULTILINE)
    bodies = {heading: body.strip() for heading, _, body in (part.partition("\n") for part in parts)}
    failed = [f"Failed cells:\n\n{bodies['Failed cells']}"] if "Failed cells" in bodies else []
    told = [bodies["Findings"], *failed, bodies["Cost"]]
    link = f"[Protocol, traps and tables]({PAGES.name}/{_page_name(record)})"
    return "\n\n".join([f"### {title}", _command(record), *cells, *told, link])


def _page_name(record: dict[str, Any]) -> str:
    return f"{record['name']}-{record['size']}.md"


def _command(record: dict[str, Any]) -> str:
    options = [f"--size {record['size']}", f"--seeds {record['n_seeds']}"]
    options += [f"--{what} {key}" for what, keys in record["asked"].items() for key in keys]
    return f"```bash\nhebm reproduce {record['name']} {' '.join(options)}\n```"


def overview(records: Sequence[dict[str, Any]]) -> str:
    """One line per result: seeds, cost, how many findings speak against the model, cannot tell and speak for it, and
    the first of them."""
    head = "| name | seeds | hours of a thread | findings against / open / for | the first of them |"
    return "\n".join([head, "| --- | --- | --- | --- | --- |", *map(_overview_line, records)])


def _overview_line(record: dict[str, Any]) -> str:
    title = record["text"].strip().partition("\n")[0].removeprefix("# ")
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    hours = sum(cell.get("training_s", 0) + cell.get("evaluation_s", 0) for cell in record["cells"]) / 3600
    counts = Counter(finding["is_good"] for finding in record["findings"])
    first = (
        record["findings"][0]["text"]
        if record["findings"]
        else "none: nothing here has a direction or a control"
    )
    seeds = f"{record['n_seeds']}{', not all cells' if record['n_cells_missing'] else ''}"
    return (
        f"| [`{record['name']}`](#{anchor}) | {seeds} | {hours:.1f} | "
        f"{counts[False]} / {counts[None]} / {counts[True]} | {first} |"
    )


def main() -> None:
    """Copy and fill."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "source", type=Path, nargs="?", help="a folder of reproductions; none: copies as they are"
    )
    arguments = parser.parse_args()
    if arguments.source is not None:
        copied(arguments.source, RESULTS)
    records = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("reproduce-*.json"))
    ]
    PAGES.mkdir(exist_ok=True)
    for record in records:
        (PAGES / _page_name(record)).write_text(page(record), encoding="utf-8")
    sections = {f"reproduce {r['name']} {r['size']}": section(r) for r in records}
    fill_page(PAGE, {"overview": overview(records), **sections})


if __name__ == "__main__":
    main()
