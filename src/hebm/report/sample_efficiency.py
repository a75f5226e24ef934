"""How few labels a linear probe needs, as curves: the suite ``sample_efficiency``."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from hebm.report.figure import COLOURS, INK, STYLE, single_axis
from hebm.report.history import as_float, series
from hebm.report.run_files import Json, dig

__all__ = ["sample_efficiency_figure"]

CONTROLS = ("simclr", "bigan", "untrained", "pca", "pixels")
DASHES = {
    "run": "-",
    "simclr": "--",
    "bigan": ":",
    "untrained": "-.",
    "pca": (0, (6, 1.5)),
    "pixels": (0, (1, 2.5)),
}
OWN_NAMES = {"all": "all levels", "level_0": "level 0 (top)"}
NAMES = {"simclr": "SimCLR", "bigan": "BiGAN"}
ALONE = {"pca": "PCA", "pixels": "pixels"}


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def sample_efficiency_figure(results: Json) -> Figure:
    """Accuracy ± sd over subsets against the number of labels; solid: the run's own codes, the others dashed.

    One colour for what has as many numbers: SimCLR's top level has that of the run's, PCA that of all levels.
    """
    figure, axes = single_axis("images with a label", "accuracy of a linear probe")
    figure.set_size_inches(7.2, 5.0)
    n_labels = _array(results.get("n_labels"))
    colours: dict[str, str] = {}
    curves = results.get("representations")
    for name, curve in curves.items() if isinstance(curves, dict) else ():
        mean, sd = _array(dig(curve, "mean")), _array(dig(curve, "sd"))
        if not len(n_labels) == len(mean) == len(sd) > 0:
            continue
        owner, place = _owner_and_place(name)
        colour = INK if owner == "pixels" else colours.setdefault(place, COLOURS[len(colours) % len(COLOURS)])
        axes.errorbar(
            n_labels,
            mean,
            np.nan_to_num(sd),
            color=colour,
            linestyle=DASHES[owner],
            marker="o",
            markersize=3.5,
            capsize=2,
            elinewidth=0.9,
            label=_words(owner, place),
        )
    _finish(axes, n_labels, as_float(results.get("chance")))
    return figure


def _owner_and_place(name: str) -> tuple[str, str]:
    """Whose codes these are, and to which of the run's they correspond."""
    owner, _, place = name.partition("_")
    if owner not in CONTROLS:
        return "run", name
    return owner, {"top": "level_0", "": "all"}.get(place, place)


def _words(owner: str, place: str) -> str:
    words = OWN_NAMES.get(place, place.replace("top_", "top levels: ").replace("_", " "))
    if owner in ALONE:
        return ALONE[owner]
    return words if owner == "run" else f"{NAMES.get(owner, owner)}, {words}"


def _finish(axes: Axes, n_labels: Any, chance: float) -> None:
    axes.set_xscale("log")
    if len(n_labels):
        axes.set_xticks(n_labels, [f"{n:,.0f}" for n in n_labels])
        axes.xaxis.set_minor_locator(NullLocator())
    if np.isfinite(chance):
        axes.axhline(chance, color=INK, linewidth=0.8, alpha=0.6, label="chance")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), handlelength=3)


def _array(values: Any) -> Any:
    return series([{"value": value} for value in values] if isinstance(values, list) else [], "value")
