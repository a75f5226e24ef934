"""Pictures of the first seed's cells for the page: latents as points, curves, grids that suites put beside results.

They are for the page alone: in Markdown they would be headings without a body.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from hebm.report.figure import STYLE, to_svg
from hebm.report.sample_efficiency import sample_efficiency_figure
from hebm.reproduce.cells import CellWork, Record, record_place
from hebm.reproduce.document import Section
from hebm.reproduce.latent_plots import latent_svg
from hebm.reproduce.plan import Plan

__all__ = ["grid_figure", "picture_sections"]

POINTS_WORDS = (
    "One posterior draw per held-out image, coloured by its label, beside as many draws of the prior."
)
LABELS_WORDS = (
    "Accuracy of a linear probe ± sd over subsets of the labelled images. Solid: the run's codes; dashed in the same "
    "colour: a control that stands in the same place with as many numbers."
)
GRID_WORDS = {
    "hierarchy": (
        "Left of each row a sample of the prior; then the same with one level drawn anew given the others "
        "(conditional) or taken from other samples (pasted). Level 0 is the top."
    ),
    "aggregate": (
        "What each point of the latent plane decodes to: the top level's latent across, the other up, from -3 to 3."
    ),
}
WIDTH_INCHES = 8.0


def picture_sections(works: Sequence[CellWork], plan: Plan, records: Sequence[Record]) -> list[Section]:
    """One section per picture of the first seed, in the order of the plan.

    Args:
        works: All cells and where they are done.
        plan: What was done.
        records: Of the cells that ended.
    """
    by_cell = {record_place(r): r for r in records if "results" in r}
    found: list[Section] = []
    for work in works:
        cell = work.cell
        record = by_cell.get(cell.place)
        if cell.seed == 0 and record is not None:
            found += _of_cell(work, plan, record)
    return found


def _of_cell(work: CellWork, plan: Plan, record: Record) -> Iterator[Section]:
    cell = work.cell
    about = f"{plan.spec.runs[cell.run].label}, {plan.spec.columns[cell.column].label}, seed {cell.seed}"
    if (results := record["results"].get("aggregate")) is not None:
        plot = latent_svg(results, name=f"latents-{cell.key}", alt=f"Latents of {about}.")
        yield Section(f"Latents: {about}", (POINTS_WORDS,), plot)
    labels = record["results"].get("sample_efficiency")
    if labels is not None and len(labels["shares"]) > 1:
        figure = sample_efficiency_figure(labels)
        plot = to_svg(
            figure, name=f"labels-{cell.key}", alt=f"Accuracy against the number of labels: {about}."
        )
        yield Section(f"Accuracy over labels: {about}", (LABELS_WORDS,), plot)
    for suite, words in GRID_WORDS.items():
        files = sorted(work.results.glob(f"{suite}-*.png"))
        if suite in cell.suites and files:
            titles = [path.stem.removeprefix(f"{suite}-").replace("-", " ") for path in files]
            figure = grid_figure(files, titles)
            plot = to_svg(figure, name=f"grids-{cell.key}-{suite}", alt=f"Grids of images: {about}.")
            yield Section(f"Pictures: {about}", (words,), plot)


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def grid_figure(files: Sequence[Path], titles: Sequence[str]) -> Figure:
    """Pictures with their titles, two in a row."""
    n_columns = min(2, len(files))
    n_rows = -(-len(files) // n_columns)
    with Image.open(files[0]) as first:
        shape = first.height / first.width
    figure = Figure(
        figsize=(WIDTH_INCHES, n_rows * (0.35 + shape * WIDTH_INCHES / n_columns)), layout="constrained"
    )
    axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, file, title in zip(axes, files, titles, strict=False):
        with Image.open(file) as image:
            place.imshow(image.convert("RGB"), interpolation="none")
        place.set_title(title, fontsize="medium")
    return figure
