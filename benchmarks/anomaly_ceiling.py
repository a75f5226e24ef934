"""How far any combination of the model's scores could get on table 3 if it were told which images are anomalous.

HEBM_DATA=DIR python -m benchmarks.anomaly_ceiling runs/reproduce/table3-anomaly-small/cells/*-joint-*

A detector never sees an anomaly's label. Here gradient boosting does: it learns from the scores of one image (below,
:data:`SCORES`) whether it is anomalous, on four fifths of the test images, and ranks the last fifth. What it reaches
is about what the best combination of these scores could reach, whoever finds it; a published value above it was not
reached with such scores of such nets on this split. Beside it the declared score, and the best single one chosen with
labels. Numbers go to ``benchmarks/results/anomaly_ceiling.json`` and, as the table ``<!-- anomaly ceiling -->``, into
docs/detection.md.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from benchmarks.pages import fill_page
from benchmarks.prior_tables import spread
from hebm.build import build_images
from hebm.data import ImageSet, ResidentImages
from hebm.detection import build_score
from hebm.evaluation.together import score_together
from hebm.metrics import ranking
from hebm.training import Run
from hebm.training.environment import hardware_name, package_version

__all__ = ["by_digit", "ceiling", "main", "run_of"]

DECLARED = "prior_density"
SCORES = (DECLARED, "energy", "distortion", "latent_density", "rate:level=0", "rate:level=1", "rate:level=2")
N_CALIBRATION = 2000
PUBLISHED = {1: 0.722, 4: 0.949, 5: 0.980, 7: 0.941, 9: 0.935}  # arXiv:2310.09604, table 3
PAGE = Path("docs/detection.md")


def ceiling(scores: NDArray[np.float64], is_anomalous: NDArray[np.bool_], *, seed: int) -> float:
    """AUPRC (trapezoid) of out-of-fold probabilities.

    Args:
        scores: One row per image, [N, F].
        is_anomalous: Their labels, [N].
        seed: Of folds and classifier.
    """
    model = HistGradientBoostingClassifier(random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    found = cross_val_predict(model, scores, is_anomalous, cv=folds, method="predict_proba")[:, 1]
    return ranking(found[~is_anomalous], found[is_anomalous]).auprc_trapezoid


def run_of(cell: Path) -> Run:
    """The run of a finished cell, ``runs/reproduce/trained/HASH``."""
    record = json.loads((cell / "cell.json").read_text())
    return Run(cell.absolute().parents[2] / "trained" / record["trained"])


def one_run(run: Run) -> dict[str, Any]:
    """All scores of one run's test images, and what labels could make of them."""
    config, model = run.config(), run.model()
    parts = [pixels(build_images(config, split)) for split in ("test", "anomalies")]
    normals = pixels(build_images(config, config.data.split))[:N_CALIBRATION]
    is_anomalous = np.repeat([False, True], [len(part) for part in parts])
    images = torch.cat(parts)
    found = score_together(model, {name: build_score(name) for name in SCORES}, images, normals=normals)
    if found.refused:
        raise SystemExit(f"{run.directory} has not all of these scores: {'; '.join(found.refused.values())}")
    columns = {name: values.numpy() for name, values in found.values.items()}
    single = {
        name: ranking(values[~is_anomalous], values[is_anomalous]).auprc_trapezoid
        for name, values in columns.items()
    }
    return {
        "run": run.directory.name,
        "digit": config.data.held_out_labels[-1],
        "seed": config.seed,
        "single": single,
        "with_labels": ceiling(np.stack(list(columns.values()), 1), is_anomalous, seed=config.seed),
    }


def pixels(images: ImageSet) -> torch.Tensor:
    """[N, C, H, W] in [0, 1]."""
    return ResidentImages(images, torch.device("cpu")).batch(torch.arange(len(images)))


def table(cells: list[dict[str, Any]]) -> str:
    """Mean ± sd over seeds, a column per digit."""
    rows = {
        "declared: the prior's density": lambda cell: cell["single"][DECLARED],
        "the best single score, chosen with labels": lambda cell: max(cell["single"].values()),
        "all scores, combined with labels": lambda cell: cell["with_labels"],
    }
    digits = sorted({cell["digit"] for cell in cells})
    published = [f"{PUBLISHED[d]:.3f}" if d in PUBLISHED else "–" for d in digits]
    return "\n".join([*by_digit("AUPRC, digit", rows, cells), f"| published | {' | '.join(published)} |"])


def by_digit(
    title: str, rows: Mapping[str, Callable[[dict[str, Any]], float]], cells: list[dict[str, Any]]
) -> list[str]:
    """Lines of a table: a value of every cell a row, a held-out digit a column, mean ± sd over seeds."""
    digits = sorted({cell["digit"] for cell in cells})
    lines = [f"| {title} | {' | '.join(map(str, digits))} |", "| --- " * (len(digits) + 1) + "|"]
    for label, value in rows.items():
        own = [[value(cell) for cell in cells if cell["digit"] == digit] for digit in digits]
        lines.append(f"| {label} | {' | '.join(spread(values, '.3f', '.3f') for values in own)} |")
    return lines


def main() -> None:
    """Score, learn, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", type=Path, nargs="+", help="folders of finished cells of table3-anomaly")
    cells = []
    for cell in parser.parse_args().cells:
        cells.append(one_run(run_of(cell)))
        print(cells[-1], flush=True)
    record = {
        "benchmark": "anomaly_ceiling",
        "hebm_version": package_version(),
        "hardware": hardware_name(),
        "scores": list(SCORES),
        "cells": cells,
    }
    Path("benchmarks/results/anomaly_ceiling.json").write_text(json.dumps(record, indent=1) + "\n")
    print(table(cells))
    fill_page(PAGE, {"anomaly ceiling": table(cells)})


if __name__ == "__main__":
    main()
