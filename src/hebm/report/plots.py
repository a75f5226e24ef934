"""The curves of a run: loss, rates, energies against the step, and the energy along a chain."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hebm.report.figure import COLOURS, INK, STYLE, axis_pair, single_axis
from hebm.report.history import History, Record, as_float, series

__all__ = ["chain_figure", "energy_figure", "loss_figure", "rate_figure"]

MAX_POINTS = 600
EVENT_LOOKS = {
    "diverged": ("diverged", "#d6453d", "--"),
    "rollback": ("rolled back to", "#d6453d", ":"),
    "resumed": ("resumed", INK, "-."),
    "energy_only": ("energy alone from", "#8c8f3a", (0, (5, 2))),
}


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def loss_figure(history: History) -> Figure:
    """Loss and distortion, in nats per image, against the step."""
    figure, axes = single_axis("step", "nats per image")
    for number, key in enumerate(("loss", "distortion")):
        _draw(axes, history, key, label=key, number=number)
    _finish(axes, _marks(history))
    return figure


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def rate_figure(history: History) -> Figure:
    """The rate of every level, in nats per image, against the step; top level first."""
    figure, axes = single_axis("step", "rate (nats per image)")
    rates = [record.get("rate_per_level") for record in history.records]
    n_levels = max((len(rate) for rate in rates if isinstance(rate, list)), default=0)
    for level in range(n_levels):
        label = f"level {level}{_place(level, n_levels)}"
        _draw(axes, history, "rate_per_level", label=label, number=level, index=level)
    _finish(axes, _marks(history))
    return figure


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def energy_figure(history: History) -> Figure:
    """Energy of data-side latents and of prior samples, and their gap, in nats, against the step."""
    figure, (upper, lower) = axis_pair("step", ("energy (nats)", "gap (nats)"))
    _draw(upper, history, "energy_data", label="data-side latents", number=0)
    _draw(upper, history, "energy_prior", label="prior samples", number=1)
    _draw(lower, _with_gap(history), "gap", label="data − prior", number=2)
    lower.axhline(0, color=INK, linewidth=0.8, alpha=0.6)
    _finish(upper, _marks(history))
    _finish(lower, _marks(history), event_labels=False)
    return figure


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def chain_figure(chain: Mapping[str, Any]) -> Figure:
    """Mean energy ± sd of prior chains against the Langevin step; level band: held-out posterior samples.

    Args:
        chain: ``step``, ``mean`` and ``sd`` as lists, ``posterior_mean`` and ``posterior_sd`` as numbers.
    """
    figure, axes = single_axis("Langevin step", "energy (nats)")
    step, mean, sd = (_array(chain.get(key)) for key in ("step", "mean", "sd"))
    n = min(len(step), len(mean))
    axes.plot(step[:n], mean[:n], color=COLOURS[0], label="prior chains, mean ± sd", marker=_marker(n))
    if len(sd) >= n:
        low, high = mean[:n] - sd[:n], mean[:n] + sd[:n]
        axes.fill_between(step[:n], low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    centre, width = as_float(chain.get("posterior_mean")), as_float(chain.get("posterior_sd"))
    if np.isfinite(centre):
        axes.axhline(centre, color=COLOURS[1], linestyle="--", label="held-out images, mean ± sd")
    if np.isfinite(centre) and np.isfinite(width):
        axes.axhspan(centre - width, centre + width, color=COLOURS[1], alpha=0.15, linewidth=0)
    _finish(axes, ())
    return figure


def _draw(
    axes: Axes, history: History, key: str, *, label: str, number: int, index: int | None = None
) -> None:
    """One quantity: the path to the last step as a line, abandoned stretches faint."""
    colour, dash = COLOURS[number % len(COLOURS)], ("-", "--", "-.")[number % 3]
    records = history.records[:: 1 + len(history.records) // MAX_POINTS]
    values = series(records, key, index)
    if np.isfinite(values).any():
        marker = _marker(len(values))
        axes.plot(series(records, "step"), values, dash, color=colour, label=label, marker=marker)
    for stretch in history.abandoned:
        steps, values = series(stretch, "step"), series(stretch, key, index)
        faint = Line2D(steps, values, color=colour, alpha=0.45, linewidth=1)
        axes.add_artist(faint)  # unlike plot, leaves the limits to what was kept


def _finish(axes: Axes, events: Sequence[Record], *, event_labels: bool = True) -> None:
    """Mark the events, each kind once in the legend, and place the legend above the axes."""
    if not axes.get_legend_handles_labels()[1]:
        axes.text(0.5, 0.5, "no finite values", transform=axes.transAxes, ha="center")
    named = set()
    for event in events:
        kind, step = str(event["event"]), as_float(event.get("step"))
        if kind in EVENT_LOOKS and np.isfinite(step):
            name, colour, dash = EVENT_LOOKS[kind]
            label = "_nolegend_" if kind in named or not event_labels else name
            axes.axvline(step, color=colour, linestyle=dash, linewidth=1.2, alpha=0.9, label=label)
            named.add(kind)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, handlelength=1.8)


def _marks(history: History) -> list[Record]:
    """The events, and the step from which the energy learned alone."""
    start = history.energy_only_from
    return [*history.events, *([] if start is None else [{"event": "energy_only", "step": start}])]


def _with_gap(history: History) -> History:
    def gap(records: list[Record]) -> list[Record]:
        gaps = series(records, "energy_data") - series(records, "energy_prior")
        return [{"step": r["step"], "gap": float(g)} for r, g in zip(records, gaps, strict=True)]

    return History(gap(history.records), [gap(stretch) for stretch in history.abandoned])


def _array(values: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    return series([{"value": value} for value in values] if isinstance(values, list) else [], "value")


def _marker(n: int) -> str:
    return "o" if n < 2 else ""


def _place(level: int, n_levels: int) -> str:
    if n_levels == 1:
        return ""
    return {0: " (top)", n_levels - 1: " (bottom)"}.get(level, "")
