"""PyOD's VAE on the anomaly protocol of table 3, beside ``hebm reproduce table3-anomaly``: an optional peer.

HEBM_DATA=DIR python -m benchmarks.anomaly_pyod mnist --digits 1 4 5 7 9 --seeds 0 1

Needs ``pip install 'hebm[bench]'``. PyOD clamps the KL term at ``capacity``, whose default 0 switches it off; here it
has no bound. Its reconstruction term is a mean over D pixels, so the weight of the KL that corresponds to a Gaussian
likelihood with standard deviation s on pixels in [0, 1] is 2 s² / D. Its score is the distance to the reconstruction.
"""

import argparse
import importlib
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
            "this benchmark needs PyOD, which is not installed: pip install 'hebm[bench]'."
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
    arguments = parser.parse_args()
    cells = [
        one_cell(arguments.data, digit, seed, n_epochs=arguments.epochs, limit=arguments.limit)
        for digit in arguments.digits
        for seed in arguments.seeds
    ]
    record = {"hebm_version": package_version(), "hardware": hardware_name(), "cells": cells}
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"anomaly_pyod-{arguments.data}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print("| PyOD VAE, digit | AUPRC (trapezoid) | average precision |\n| --- | --- | --- |")
    for digit in arguments.digits:
        own = [cell for cell in cells if cell["digit"] == digit]
        means = (statistics.fmean(cell[key] for cell in own) for key in ("auprc_trapezoid", "auprc"))
        print(f"| {digit} | {' | '.join(f'{mean:.3f}' for mean in means)} |")


if __name__ == "__main__":
    main()
