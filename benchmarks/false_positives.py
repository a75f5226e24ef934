"""Which share of fresh normal images a calibrated detector calls anomalous.

HEBM_DATA=DIR python -m benchmarks.false_positives runs/fashion_mnist --scores log_joint prior_density

The run's held-out images are split as ``hebm detect`` splits them: ``detection.n_calibration`` calibrate, the
others are fresh. `rate` is that detector's, `interval` the 95 % interval of it under the beta-binomial law (fresh
images are binomial given the rate, and the rate of one calibration is random). `mean_rate` is over 200 other splits
of the same scores, which is what conformal p-values promise about.
"""

import argparse
from pathlib import Path

import torch
from scipy.stats import betabinom

from hebm.build import build_images
from hebm.data import ResidentImages
from hebm.detection import build_score, conformal_p_values, score_images
from hebm.training import Run
from hebm.training.detectors import calibration_items

__all__ = ["main"]

RATES = (0.01, 0.05)
N_SPLITS = 200


def main() -> None:
    """Print one line per score and rate."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--scores", nargs="+", default=["log_joint", "prior_density", "distortion"])
    arguments = parser.parse_args()
    run = Run(arguments.run)
    images = build_images(run.config(), "test")
    x = ResidentImages(images, "cpu").batch(torch.arange(len(images)))
    chosen = calibration_items(len(images), run.config())
    fresh = torch.ones(len(images), dtype=torch.bool).index_fill(0, chosen, False)
    model = run.model()
    print("score            nominal  rate    interval          mean_rate  n_calibration  n_fresh")
    for name in arguments.scores:
        scores = score_images(model, x, build_score(name))
        for rate in RATES:
            hits = int((conformal_p_values(scores[chosen], scores[fresh]) <= rate).sum())
            n, n_fresh = len(chosen), int(fresh.sum())
            rank = int(rate * (n + 1))
            low, high = (end / n_fresh for end in betabinom.interval(0.95, n_fresh, rank, n + 1 - rank))
            print(
                f"{name:15}  {rate:7.2%}  {hits / n_fresh:6.2%}  {low:6.2%} to {high:6.2%}  "
                f"{_mean_rate(scores, n, rate):9.3%}  {n:13}  {n_fresh:7}"
            )


def _mean_rate(scores: torch.Tensor, n: int, rate: float) -> float:
    generator = torch.Generator().manual_seed(0)
    rates = []
    for _ in range(N_SPLITS):
        order = torch.randperm(len(scores), generator=generator)
        p_values = conformal_p_values(scores[order[:n]], scores[order[n:]])
        rates.append((p_values <= rate).double().mean().item())
    return sum(rates) / N_SPLITS


if __name__ == "__main__":
    main()
