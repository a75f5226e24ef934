"""Aggregate posterior beside draws of the prior, in two dimensions: the points in a result of suite ``aggregate``."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hebm.report.figure import COLOURS, STYLE, to_svg

__all__ = ["latent_figure", "latent_svg"]

Points = Sequence[Sequence[float]]
SIDE_INCHES = 3.4


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def latent_figure(results: Mapping[str, Any]) -> Figure | None:
    """A row of two plots per level with two latents or more, or one row for two levels of one latent each.

    Args:
        results: Of suite ``aggregate``; only ``points`` is read.

    Returns:
        The figure; None if no two latents belong together.
    """
    points = results["points"]
    panels = _panels(points["posterior"], points["prior"])
    if not panels:
        return None
    figure = Figure(figsize=(2 * SIDE_INCHES, SIDE_INCHES * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False)
    for (names, posterior, prior), (left, right) in zip(panels, grid, strict=True):
        _labelled(left, posterior, points["labels"])
        _scattered(right, prior, COLOURS[-1], "prior")
        for axes, title in ((left, "aggregate posterior"), (right, "prior")):
            axes.set(title=title, xlabel=names[0], ylabel=names[1], aspect="equal")
            axes.set(**_limits(posterior, prior))
    return figure


def latent_svg(results: Mapping[str, Any], *, name: str, alt: str) -> str | None:
    """The same as SVG."""
    figure = latent_figure(results)
    return None if figure is None else to_svg(figure, name=name, alt=alt)


def _panels(
    posterior: Sequence[Points], prior: Sequence[Points]
) -> list[tuple[tuple[str, str], Points, Points]]:
    """What is shown together, with names of both latents: two of a level, or the two there are."""
    widths = [len(level[0]) for level in posterior]
    if widths == [1, 1]:
        return [(("the top level's latent", "the other level's"), _paired(posterior), _paired(prior))]
    return [
        ((f"level {i}{' (top)' if i == 0 else ''}, first latent", "second latent"), posterior[i], prior[i])
        for i, width in enumerate(widths)
        if width > 1
    ]


def _paired(levels: Sequence[Points]) -> Points:
    return [[*first, *second] for first, second in zip(*levels, strict=True)]


def _labelled(axes: Axes, points: Points, labels: Sequence[int] | None) -> None:
    """A colour per label, with a legend."""
    if labels is None:
        _scattered(axes, points, COLOURS[0], "posterior")
        return
    for number, label in enumerate(sorted(set(labels))):
        chosen = [point for point, other in zip(points, labels, strict=True) if other == label]
        _scattered(axes, chosen, COLOURS[number % len(COLOURS)], str(label))
    axes.legend(loc="upper right", markerscale=1.5, handletextpad=0.1, borderaxespad=0.1)


def _scattered(axes: Axes, points: Points, colour: str, label: str) -> None:
    across, up = zip(*points, strict=True)
    axes.plot(across, up, "o", color=colour, markersize=2.6, markeredgewidth=0, alpha=0.75, label=label)


def _limits(*sets: Points) -> dict[str, tuple[float, float]]:
    """A square around all points, the same for both plots."""
    values = [value for points in sets for point in points for value in point]
    reach = 1.05 * max(3.0, *map(abs, values))
    return {"xlim": (-reach, reach), "ylim": (-reach, reach)}
