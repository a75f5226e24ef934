"""The look of all plots, and their way into the page: SVG whose ink is the page's text colour."""

import io
import re
from html import escape

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "STYLE", "axis_pair", "single_axis", "to_svg"]

INK = "#010203"
"""Stands for the page's text colour, which is light on dark and dark on light."""
COLOURS = ("#3987d4", "#d97d20", "#2f9e77", "#a872cc", "#cf5b73", "#8c8f3a")
"""Mid-tones that show on white and on near-black."""
STYLE: dict[str, object] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.facecolor", "figure.facecolor", "savefig.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.8,
    "grid.color": INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "font.family": "sans-serif",
    "font.size": 11,
    "legend.fontsize": 10.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "hebm",
}


def single_axis(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlabel=x_label, ylabel=y_label)
    return figure, axes


def axis_pair(x_label: str, y_labels: tuple[str, str]) -> tuple[Figure, tuple[Axes, Axes]]:
    """Two axes one above the other with a common abscissa."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=(3, 2))
    upper = figure.add_subplot(grid[0])
    lower = figure.add_subplot(grid[1], sharex=upper)
    upper.tick_params(labelbottom=False)
    upper.set(ylabel=y_labels[0])
    lower.set(xlabel=x_label, ylabel=y_labels[1])
    figure.align_ylabels()
    return figure, (upper, lower)


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def to_svg(figure: Figure, *, name: str, alt: str) -> str:
    """An ``<svg>`` element to be put into a page.

    Args:
        figure: Drawn in the colours above.
        name: Put before every id, so that figures of one page do not share any.
        alt: What the figure shows, for those who do not see it.
    """
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    opening, rest = text.split(">", 1)
    opening = re.sub(r'\s(width|height)="[^"]*"', "", opening)
    return f'{opening} role="img" aria-label="{escape(alt)}">{rest}'
