"""PyOD's VAE on the anomaly protocol of table 3, beside ``hebm reproduce table3-anomaly``: an optional peer.

HEBM_DATA=DIR python -m benchmarks.anomaly_pyod mnist --digits 1 4 5 7 9 --seeds 0 1

Needs ``pip install 'hebm[bench]'``. PyOD clamps the KL term at ``capacity``, whose default 0 switches it off; here it
has no bound. Its reconstruction term is a mean over D pixels, so the weight of the KL that corresponds to a Gaussian
likelihood with standard deviation s on pixels in [0, 1] is 2 s² / D. Its score is the distance to the reconstruction.

Every cell goes to ``benchmarks/results/anomaly_pyod-DATA.json`` as soon as it is there, and is not measured again by
the same version with the same options; the table ``<!-- anomaly pyod -->`` of docs/reproduction.md is filled.
"""

import argparse
import importlib
import itertools
import json
import statistics
import time
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.anomaly_ceiling import by_digit
from benchmarks.pages import fill_page
from hebm.build import build_images
from hebm.config import RunConfig, load_config
from hebm.errors import MissingDependencyError
from hebm.metrics import ranking
from hebm.training.environment import hardware_name, package_version

__all__ = ["main"]

SCALE = 0.1  # standard deviation of a pixel in [0, 1]; that of the presets, 0.2 on [-1, 1]
NO_BOUND = 1e9


def pyod_vae(**options: Any) -> Any:
    """PyOD's detector.

    Raises:
        MissingDependencyError: If it is not installed.
    """
    try:
        return importlib.import_module("pyod.models.vae").VAE(**options)
    except ImportError as error:
        raise MissingDependencyError(
            f"this benchmark needs PyOD and what it imports ({error}): pip install 'hebm[bench]'."
        ) from error


def rows(config: RunConfig, split: str) -> NDArray[np.float32]:
    """Images of one split as rows of pixels in [0, 1]."""
    images = build_images(config, split).images
    return images.reshape(len(images), -1).astype(np.float32) / 255


def one_cell(data: str, digit: int, seed: int, *, n_epochs: int, limit: int | None) -> dict[str, Any]:
    """Train and test on one held-out digit."""
    overrides = [f"data.held_out_labels=[{digit}]", *([f"data.limit={limit}"] if limit else [])]
    config = load_config(data, overrides)
    train = rows(config, "train")
    detector = pyod_vae(
        capacity=NO_BOUND,
        beta=2 * SCALE**2 / train.shape[1],
        latent_dim=28,
        encoder_neuron_list=[512, 256],
        decoder_neuron_list=[256, 512],
        dropout_rate=0.0,
        preprocessing=False,
        batch_size=100,
        epoch_num=n_epochs,
        random_state=seed,
        verbose=0,
    )
    started = time.perf_counter()
    detector.fit(train)
    seconds = time.perf_counter() - started
    normal, anomalous = (detector.decision_function(rows(config, split)) for split in ("test", "anomalies"))
    found = ranking(normal.astype(np.float64), anomalous.astype(np.float64))
    return {"digit": digit, "seed": seed, "training_s": seconds, **found._asdict()}


def table(cells: list[dict[str, Any]]) -> str:
    """Mean ± sd over seeds, a column per digit."""
    rows = {"AUPRC (trapezoid)": "auprc_trapezoid", "average precision": "auprc", "AUROC": "auroc"}
    lines = by_digit("PyOD's VAE, digit", {label: itemgetter(key) for label, key in rows.items()}, cells)
    n_seeds = sorted(set(Counter(cell["digit"] for cell in cells).values()))
    minutes = statistics.fmean(cell["training_s"] for cell in cells) / 60
    seeds = " or ".join(map(str, n_seeds))
    return "\n".join([*lines, "", f"Seeds a digit: {seeds}. {minutes:.1f} minutes of training a cell."])


def main() -> None:
    """Train, test, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="a preset with labels, such as mnist or digits")
    parser.add_argument("--digits", type=int, nargs="+", default=[1, 4, 5, 7, 9])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--page", type=Path, default=Path("docs/reproduction.md"))
    arguments = parser.parse_args()
    same = {"hebm_version": package_version(), "epochs": arguments.epochs, "limit": arguments.limit}
    path = arguments.out / f"anomaly_pyod-{arguments.data}.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    cells = record["cells"] if all(record.get(key) == value for key, value in same.items()) else []
    arguments.out.mkdir(parents=True, exist_ok=True)
    for digit, seed in itertools.product(arguments.digits, arguments.seeds):
        if any((cell["digit"], cell["seed"]) == (digit, seed) for cell in cells):
            continue
        cells.append(one_cell(arguments.data, digit, seed, n_epochs=arguments.epochs, limit=arguments.limit))
        print(cells[-1], flush=True)
        record = {"benchmark": "anomaly_pyod", **same, "hardware": hardware_name(), "cells": cells}
        path.write_text(json.dumps(record, indent=1) + "\n")
    print(table(cells))
    fill_page(arguments.page, {"anomaly pyod": table(cells)})


if __name__ == "__main__":
    main()
