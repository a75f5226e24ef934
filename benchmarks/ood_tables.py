"""Put the results of `benchmarks.ood` into docs/detection.md.

python -m benchmarks.ood_tables

A block ``<!-- ood DATA PAIR -->`` ... ``<!-- end -->`` of the page is replaced by that pair's table, a block
``<!-- ood DATA -->`` by what the declared score beats; nothing else is touched.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import fill_page

__all__ = ["main"]

PAGE = Path("docs/detection.md")
RESULTS = Path("benchmarks/results")
SHOWN = ("auroc", "auprc", "fpr80")
COLUMNS = {
    "gaussian": "Gaussian twin",
    "top_down": "chained Gaussian base",
    "mixture": "mixture",
    "joint": "energy on N(0, I)",
    "importance_on_mixture": "energy on a mixture",
    "nce_on_mixture": "energy on a mixture, NCE",
    "joint_on_top_down": "energy on a chained base",
}
PNG = ("png_size", "png_size_reversed", "png_size_distance")
Json = dict[str, Any]


def pair_table(record: Json, pair: str) -> str:
    """A row per control, then per score; AUROC / AUPRC / FPR80 under every prior."""
    columns = {name: found[pair] for name, found in record["summary"].items() if pair in found}
    n_seeds = {name: len(_rows(record, name, pair)) for name in columns}
    heads = [f"{COLUMNS.get(name, name)} ({_seeds(n_seeds[name])})" for name in columns]
    lines = [f"| AUROC / AUPRC / FPR80 | {' | '.join(heads)} |", "| --- " * (len(heads) + 1) + "|"]
    for group in ("controls", "scores"):
        for name in dict.fromkeys(key for found in columns.values() for key in found[group]):
            values = [
                _cell(found[group].get(name), _rows(record, column, pair)[0][group].get(name))
                for column, found in columns.items()
            ]
            lines.append(f"| {_title(record, group, name)} | {' | '.join(values)} |")
    n_in, n_out = _counts(record, pair)
    return "\n".join([*lines, "", f"{n_in} + {n_out} images."])


def verdict_list(record: Json) -> str:
    """In how many seeds the declared score beats PNG size, and every control."""
    lines = []
    for column in record["summary"]:
        for pair in record["summary"][column]:
            margins = [
                found["declared_over"]
                for found in _rows(record, column, pair)
                if found["declared_over"] is not None
            ]
            if not margins:
                lines.append(f"* {COLUMNS.get(column, column)}, {pair}: the declared score was not measured.")
                continue
            png = sum(all(_beaten(each[name]) for name in PNG) for each in margins)
            every = sum(all(map(_beaten, each.values())) for each in margins)
            lines.append(
                f"* {COLUMNS.get(column, column)}, {pair}: the declared score beats PNG size (either sign, either "
                f"form) in {png} of {_seeds(len(margins))}, and every control in {every}."
            )
    return "\n".join(lines)


def _rows(record: Json, column: str, pair: str) -> list[Json]:
    cells = [each for each in record["cells"] if each["column"] == column]
    return [each["results"]["pairs"][pair] for each in cells if pair in each["results"]["pairs"]]


def _cell(over_seeds: Json | None, first: Json | None) -> str:
    """Mean ± sd over seeds; with one seed the interval over its images."""
    if over_seeds is None or first is None:
        return "–"
    auroc = over_seeds["auroc"]
    if auroc["sd"] is not None:
        spread = f" ± {auroc['sd']:.3f}"
    else:
        low, high = first["auroc_interval"]
        spread = f" [{low:.3f}, {high:.3f}]"
    others = " / ".join(f"{over_seeds[name]['mean']:.3f}" for name in SHOWN[1:])
    return f"{auroc['mean']:.3f}{spread} / {others}"


def _title(record: Json, group: str, name: str) -> str:
    if group == "controls":
        return f"*{name}*"
    declared = {each["results"]["declared"] for each in record["cells"]}
    return f"**{name}** (declared)" if name in declared else name


def _counts(record: Json, pair: str) -> tuple[int, int]:
    for each in record["cells"]:
        for row in each["results"]["pairs"].get(pair, {}).get("controls", {}).values():
            return row["n_in"], row["n_out"]
    return 0, 0


def _beaten(margin: Json) -> bool:
    return bool(margin["interval"][0] > 0)


def _seeds(n: int) -> str:
    return f"{n} seed{'s' if n != 1 else ''}"


def main() -> None:
    """Fill the page."""
    blocks: dict[str, str] = {}
    for path in sorted(RESULTS.glob("ood-*.json")):
        record = json.loads(path.read_text())
        blocks[f"ood {record['data']}"] = verdict_list(record)
        for pair in dict.fromkeys(pair for found in record["summary"].values() for pair in found):
            blocks[f"ood {record['data']} {pair}"] = pair_table(record, pair)
    fill_page(PAGE, blocks)


if __name__ == "__main__":
    main()
