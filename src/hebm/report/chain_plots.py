"""Curves of the suite on chains: energy and distance against the length of a chain, per sampler and start."""

from collections.abc import Iterator
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hebm.report.figure import COLOURS, INK, STYLE, single_axis
from hebm.report.history import as_float, series
from hebm.report.run_files import Json, dig

__all__ = ["chain_distance_figure", "chain_energy_figure"]

DASHES = {"noise": "-", "posterior": "--", "pool": ":"}
LENGTH = "gradient evaluations per chain"
Numbers = NDArray[np.float64]


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def chain_energy_figure(results: Json) -> Figure:
    """Mean energy against the chain's length, one colour per sampler and one dash per start.

    The ordinate shows what the run's own chains do from half of K steps on, and where all others end: the fall from
    noise would hide it.
    """
    figure, axes = single_axis(LENGTH, "mean energy (nats)")
    shown: list[float] = []
    n_steps = as_float(results.get("n_steps"))
    for label, colour, dash, fields, is_own in _chains(results):
        step, mean = _pair(dig(fields, "energy_trace", "step"), dig(fields, "energy_trace", "mean"))
        axes.plot(step, mean, dash, color=colour, label=label)
        from_step = n_steps / 2 if is_own else max(step, default=np.inf)
        shown += [v for s, v in zip(step, mean, strict=True) if s >= from_step and np.isfinite(v)]
    centre = as_float(dig(results, "energy_posterior", "mean"))
    if np.isfinite(centre):
        axes.axhline(centre, color=INK, linewidth=1, linestyle=(0, (1, 3)), label="held-out images")
        shown.append(centre)
    if shown:
        margin = 0.08 * (max(shown) - min(shown)) or 1.0
        axes.set_ylim(min(shown) - margin, max(shown) + margin)
    _finish(axes, n_steps)
    return figure


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def chain_distance_figure(results: Json) -> Figure:
    """Fréchet distance of decoded positions against the chain's length; other samplers at their ends."""
    figure, axes = single_axis(LENGTH, "Fréchet distance")
    for label, colour, dash, fields, _ in _chains(results):
        step, value = _pair(dig(fields, "fd", "step"), dig(fields, "fd", "value"))
        if len(step) and np.isfinite(value).any():
            axes.plot(step, value, dash, color=colour, label=label, marker="o", markersize=4)
    for key, name, colour in (("fd_base", "base", COLOURS[4]), ("fd_reconstruction", "reconstructions", INK)):
        level = as_float(results.get(key))
        if np.isfinite(level):
            axes.axhline(level, color=colour, linewidth=1, linestyle=(0, (1, 3)), label=name)
    axes.set_yscale("log")
    _finish(axes, as_float(results.get("n_steps")))
    return figure


def _chains(results: Json) -> Iterator[tuple[str, str, str, Any, bool]]:
    """Label, colour, dash, fields, and whether it is the run's own, of chains; a sampler is named once."""
    samplers = results.get("samplers")
    for number, (name, sampler) in enumerate(samplers.items() if isinstance(samplers, dict) else ()):
        starts = sampler.get("starts") if isinstance(sampler, dict) else None
        is_own = isinstance(sampler, dict) and sampler.get("is_own") is True
        label = f"{name} (the run's own)" if is_own else name
        for start, fields in starts.items() if isinstance(starts, dict) else ():
            yield label, COLOURS[number % len(COLOURS)], DASHES.get(start, "-."), fields, is_own
            label = "_nolegend_"


def _pair(steps: Any, values: Any) -> tuple[Numbers, Numbers]:
    x, y = (
        series([{"value": v} for v in values] if isinstance(values, list) else [], "value")
        for values in (steps, values)
    )
    n = min(len(x), len(y))
    return x[:n], y[:n]


def _finish(axes: Axes, n_steps: float) -> None:
    """A logarithmic abscissa with room for 0, the run's own number of steps, and the legend above."""
    axes.set_xscale("symlog", linthresh=10)
    axes.set_xlim(left=0)
    if np.isfinite(n_steps):
        axes.axvline(n_steps, color=INK, linewidth=0.9, alpha=0.7, label=f"K = {n_steps:g}")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, handlelength=1.8)
