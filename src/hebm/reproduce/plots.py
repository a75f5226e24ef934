"""Plots of a reproduction: every seed of every row."""

import textwrap

import matplotlib
from matplotlib.figure import Figure

from hebm.report.figure import COLOURS, STYLE, single_axis, to_svg
from hebm.reproduce.spec import Spec
from hebm.reproduce.tables import Table

__all__ = ["measure_figure", "measure_svg"]

LINE_INCHES = 0.34
PLOT_INCHES, LETTER_INCHES = 4.4, 0.075  # the labels' width is added to the plot's
LABEL_LETTERS = 48  # as wide as the plot
SPREAD = 0.6  # of the space between two rows, shared by the columns


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def measure_figure(table: Table, spec: Spec) -> Figure:
    """Every seed of every row as a dot, a colour per column; rings are the paper's numbers."""
    figure, axes = single_axis(textwrap.fill(table.measure.label, LABEL_LETTERS), "")
    shown = [c for c in table.columns if any(line.entries[c].values for line in table.lines)]
    longest = max(len(line.row.label) for line in table.lines)
    height = 1.2 + LINE_INCHES * (max(4, len(table.lines)) + len(shown))
    figure.set_size_inches(PLOT_INCHES + LETTER_INCHES * longest, height)
    for number, column in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        offset = SPREAD * ((number + 0.5) / len(shown) - 0.5)
        for place, line in enumerate(table.lines):
            entry = line.entries[column]
            values = list(entry.values.values())
            axes.plot(values, [place + offset] * len(values), "o", color=colour, markersize=5)
            if entry.published is not None:
                axes.plot(entry.published, place + offset, "o", color=colour, markersize=9, fillstyle="none")
        axes.plot([], [], "o", color=colour, label=spec.columns[column].label)
    axes.set_yticks(range(len(table.lines)), [line.row.label for line in table.lines])
    axes.set_ylim(len(table.lines) - 0.5, -0.5)
    if shown:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def measure_svg(table: Table, spec: Spec) -> str:
    """The plot of a measure as SVG."""
    alt = f"{table.measure.label} of every row and seed; rings are published values."
    return to_svg(measure_figure(table, spec), name=f"measure-{table.key}", alt=alt)
