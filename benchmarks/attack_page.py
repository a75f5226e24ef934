"""The latent attack on docs/detection.md: joint prior and Gaussian twin, with and without the defence.

python -m benchmarks.attack_page

Every ``benchmarks/results/attack-DATA.json`` gives the table ``<!-- attack DATA -->`` and a plot,
``docs/images/attack-DATA.png``: a panel per attacked level, means over runs; the band is one standard error over runs
(over pairs of images where there is one run).
"""

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.pages import fill_page
from benchmarks.robustness import auddc_table

__all__ = ["main"]

PAGE = Path("docs/detection.md")
RESULTS = Path("benchmarks/results")
PLOTS = Path("docs/images")
LOOKS = {
    ("joint", "without_defence"): ("C0", "-", "joint"),
    ("joint", "with_defence"): ("C0", "--", "joint + defence"),
    ("twin", "without_defence"): ("C1", ":", "twin"),
    ("twin", "with_defence"): ("C1", "-.", "twin + defence"),
}


def plot(record: dict[str, Any], path: Path) -> None:
    """One figure of one data set."""
    levels = list(record["curves"][0]["joint"])
    figure, axes = plt.subplots(1, len(levels), figsize=(3.1 * len(levels), 3.1), sharey=True, squeeze=False)
    for panel, level in zip(axes[0], levels, strict=True):
        _panel(panel, record["curves"], level)
        panel.set_title("all levels" if level == "all" else level.replace("_", " "))
        panel.set_xlabel("|d| / |x_t - x|")
    axes[0, 0].set_ylabel("distance left to the target")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(panel: Axes, runs: list[dict[str, Any]], level: str) -> None:
    for (kind, system), (colour, dash, label) in LOOKS.items():
        curves = [c for c in (run[kind][level][system] for run in runs) if c["mean"] is not None]
        if not curves:
            continue
        means = np.array([curve["mean"] for curve in curves])
        mean = means.mean(0)
        error = (
            means.std(0, ddof=1) / len(means) ** 0.5
            if len(means) > 1
            else np.array(curves[0]["se"] or 0 * mean)
        )
        panel.plot(curves[0]["budget"], mean, color=colour, ls=dash, label=label)
        panel.fill_between(curves[0]["budget"], mean - error, mean + error, color=colour, alpha=0.15, lw=0)
    panel.set_xlim(0, 1)
    panel.grid(alpha=0.25)


def main() -> None:
    """Draw all there are, and fill the page."""
    blocks: dict[str, str] = {}
    for file in sorted(RESULTS.glob("attack-*.json")):
        record = json.loads(file.read_text())
        blocks[f"attack {record['data']}"] = auddc_table(record["table"])
        plot(record, PLOTS / f"{file.stem}.png")
    fill_page(PAGE, blocks)


if __name__ == "__main__":
    main()
