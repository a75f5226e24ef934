"""Put the results of the prior's benchmarks into docs/prior.md: tables between markers, plots beside them.

python -m benchmarks.prior_tables

A block ``<!-- NAME -->`` ... ``<!-- end -->`` of the page is replaced by the table NAME; nothing else is touched.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.pages import fill_page
from hebm.reproduce.statistics import paired_difference

__all__ = ["main"]

PAGE = Path("docs/prior.md")
RESULTS = Path("benchmarks/results")
PLOTS = Path("docs/images")
NAMES = {
    "gaussian": "N(0, I), the VLAE",
    "full_gaussian": "full-covariance Gaussian",
    "mixture": "mixture of 60 full Gaussians",
    "vamp": "mixture of 500 encoder outputs",
    "flow": "neural spline flow",
    "short_run": "energy, short-run chains",
    "persistent": "energy, persistent chains",
    "top_down": "energy on a chained base",
    "recovery": "diffusion recovery, 4 levels",
    "nce": "staged NCE from N(0, I), 4 stages",
    "importance_on_mixture": "energy on the mixture, importance weights",
    "nce_on_mixture": "energy on the mixture, NCE",
    "chains_on_mixture": "energy on the mixture, chains",
}


def spread(values: list[float], digits: str = ".3g", sd_digits: str = ".2g") -> str:
    """Mean ± sample standard deviation; the value alone where there is one."""
    mean = format(statistics.fmean(values), digits)
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):{sd_digits}}"


def learners_table(record: dict[str, Any]) -> str:
    """One row per learner, mean ± sd over its seeds."""
    lines = [
        "| prior | prior gap | precision / recall | held-out log-density | 100 × the steps | fit, s | draw 10,000, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, title in NAMES.items():
        cells = [c for c in record["cells"] if c["learner"] == name]
        done = [c for c in cells if "failed" not in c]
        if done:
            lines.append(_row(title, done))
        elif cells:
            lines.append(f"| {title} | diverged in all {len(cells)} seeds | | | | | |")
    return "\n".join(lines)


def _row(title: str, cells: list[dict[str, Any]]) -> str:
    width = max(c["log_density"][1] - c["log_density"][0] for c in cells)
    density = spread([_middle(c) for c in cells], ".2f") + (f" (interval {width:.2f})" if width > 0 else "")
    ratios = [c["ratio_100_times"] for c in cells if "ratio_100_times" in c]
    failed = sum("longer_chain_failed" in c for c in cells)
    longer = (f"{spread(ratios)} ×" if ratios else ("exact" if not failed else "")) + (
        f" ({failed} failed)" if failed else ""
    )
    rolled = sum(len(c.get("rollbacks", [])) for c in cells)
    seconds = spread([c["fit_s"] for c in cells], ".0f", ".0f") + (f" ({rolled} rollbacks)" if rolled else "")
    manifold = " / ".join(spread([c[key] for c in cells], ".2f", ".1g") for key in ("precision", "recall"))
    gap = spread([_gap(c) for c in cells])
    drawing = spread([c["sampling_s"] for c in cells], ".0f", ".0f")
    return f"| {title} | {gap} | {manifold} | {density} | {longer} | {seconds} | {drawing} |"


def paired_table(records: list[dict[str, Any]]) -> str:
    """What the energies on the mixture and the flow have more than the mixture: a row each, data sets side by side.

    Differences are taken seed by seed, ± their standard error; bold where they are better by more than two of them.
    """
    heads = [f"{record['data']}: prior gap | log-density, nats" for record in records]
    lines = [
        f"| less the mixture's | {' | '.join(heads)} |",
        "| --- " * (2 * len(records) + 1) + "|",
    ]
    for name in ("importance_on_mixture", "nce_on_mixture", "chains_on_mixture", "flow"):
        columns = [
            _paired(record["cells"], name, value, sign)
            for record in records
            for value, sign in ((_gap, -1), (_middle, 1))
        ]
        if any(column != "–" for column in columns):
            lines.append(f"| {NAMES[name]} | {' | '.join(columns)} |")
    return "\n".join(lines)


def _paired(
    cells: list[dict[str, Any]], name: str, value: Callable[[dict[str, Any]], float], better: int
) -> str:
    own, other = (
        {c["seed"]: value(c) for c in cells if c["learner"] == learner and "failed" not in c}
        for learner in (name, "mixture")
    )
    found = paired_difference(own, other)
    if found is None:
        return "–"
    text = f"{found.mean:+.3f}" + ("" if found.se is None else f" ± {found.se:.3f}")
    return f"**{text}**" if found.is_clear and found.mean * better > 0 else text


def _gap(cell: dict[str, Any]) -> float:
    return float(cell["prior_gap"])


def _middle(cell: dict[str, Any]) -> float:
    low, high = cell["log_density"]
    return float(low + high) / 2


def lipschitz_table(record: dict[str, Any]) -> str:
    """One row per bound."""
    lines = [
        "| bound c | learning rate | KL(joint ‖ base), nats | its bound c² / 2 | largest gradient seen | prior gap |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cell in record["cells"]:
        c = cell["lipschitz"]
        if "failed" in cell:
            lines.append(
                f"| {'none' if c is None else f'{c:g}'} | {cell['lr']:g} | diverged, gave up | | | |"
            )
            continue
        low, high = cell["kl_joint_base"]
        lines.append(
            f"| {'none' if c is None else f'{c:g}'} | {cell['lr']:g} | {low:.3f} to {high:.3f} | "
            f"{'–' if c is None else f'{c * c / 2:g}'} | {cell['largest_gradient']:.2f} | {cell['prior_gap']:.3g} |"
        )
    return "\n".join(lines)


def stability_table(record: dict[str, Any]) -> str:
    """One row per learner: how its runs ended."""
    lines = [
        "| learner | seeds | rolled back | gave up | largest energy gap, nats |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, runs in record["learners"].items():
        gaps = [r["largest_gap"] for r in runs if r["largest_gap"] is not None]
        lines.append(
            f"| {NAMES[name]} | {len(runs)} | {sum(r['n_rollbacks'] for r in runs)} | "
            f"{sum(r['gave_up'] for r in runs)} | {format(max(gaps), '.3g') if gaps else '–'} |"
        )
    return "\n".join(lines)


def plot_learners(records: list[dict[str, Any]], path: Path) -> None:
    """Prior gap of every learner and data set, a dot per seed, on a logarithmic axis."""
    names = [n for n in NAMES if any(c["learner"] == n for r in records for c in r["cells"])]
    figure, axes = plt.subplots(figsize=(7.5, 0.36 * len(names) + 1.2))
    for index, record in enumerate(records):
        rows = [(c["prior_gap"], names.index(c["learner"])) for c in record["cells"] if "failed" not in c]
        offset = 0.2 * (index - (len(records) - 1) / 2)
        axes.plot([x for x, _ in rows], [y + offset for _, y in rows], "o", ms=4, label=record["data"])
        floor = record["fd_train_posterior"] / record["fd_reconstruction"]
        axes.axvline(floor, color=f"C{index}", lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), [NAMES[n] for n in names])
    axes.invert_yaxis()
    axes.set_xlabel("prior gap (dotted: posterior samples of training images)")
    axes.grid(axis="x", which="both", alpha=0.25)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Fill the page."""
    tables: dict[str, str] = {}
    records = [json.loads(p.read_text()) for p in sorted(RESULTS.glob("prior_learners-*.json"))]
    for record in records:
        tables[f"learners {record['data']}"] = learners_table(record)
    if records:
        tables["learners paired"] = paired_table(records)
    if (path := RESULTS / "prior_lipschitz.json").is_file():
        tables["lipschitz"] = lipschitz_table(json.loads(path.read_text()))
    if (path := RESULTS / "prior_stability.json").is_file():
        tables["stability"] = stability_table(json.loads(path.read_text()))
    fill_page(PAGE, tables)
    if records:
        plot_learners(records, PLOTS / "prior-learners.png")


if __name__ == "__main__":
    main()
