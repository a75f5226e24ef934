"""Sampling and scoring 10,000 images, annealed importance sampling, and Fréchet statistics, against plain ways.

Sampling and scoring use untrained networks; what they cost does not depend on the weights. The plain way is that of
``svhn_sampling``: the paper's loop on batches of 100 with the generator and encoder in the default memory format.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

import hebm
from benchmarks.langevin import langevin_prior
from benchmarks.naive import NaiveTrainer
from benchmarks.timing import Limits, Row, compare
from hebm.evaluation.generate import images_from_prior
from hebm.metrics import GaussianStatistics, frechet_distance
from hebm.samplers import HMC, AnnealingSchedule, annealed_importance

__all__ = ["evaluation_rows"]

BATCH = 100


def _trainer(device: torch.device) -> NaiveTrainer:
    config = hebm.load_config("svhn_sampling")
    generator = hebm.build_model(config).generator.to(memory_format=torch.contiguous_format).to(device)
    trainer = NaiveTrainer(generator, n_steps=config.sampler.n_steps)
    trainer.encoder.to(device)
    trainer.energy.to(device)
    return trainer


def _sampling(n: int, device: torch.device) -> dict[str, Callable[[], object]]:
    model = hebm.build_model(hebm.load_config("svhn_sampling")).to(device)
    trainer = _trainer(device)

    def ours() -> int:
        return sum(len(images) for images in images_from_prior(model, n, seed=0))

    def naive() -> int:
        count = 0
        for _ in range(n // BATCH):
            latents = trainer.langevin(BATCH)
            with torch.no_grad():
                count += len(trainer.generator(tuple(reversed(latents))).mean)
        return count

    assert sum(len(images) for images in images_from_prior(model, BATCH, seed=0)) == BATCH
    return {"hebm": ours, "naive": naive}


def _scoring(preset: str, n: int, device: torch.device) -> dict[str, Callable[[], object]]:
    config = hebm.load_config(preset)
    model = hebm.build_model(config).to(device).eval()
    images = torch.rand(n, config.data.channels, config.data.size, config.data.size, device=device)
    assert hebm.detect(model, images[:2], score="log_joint").shape == (2,)
    return {"hebm": lambda: hebm.detect(model, images, score="log_joint")}


def _scoring_naively(n: int, device: torch.device) -> dict[str, Callable[[], object]]:
    trainer = _trainer(device)
    images = torch.rand(n, 3, 32, 32, device=device)

    @torch.no_grad()
    def naive() -> torch.Tensor:
        scores = []
        for x in images.split(BATCH):
            means, _ = trainer.encoder(2 * x - 1)
            error = (trainer.generator(tuple(reversed(means))).mean - (2 * x - 1)).square().flatten(1).sum(1)
            prior = trainer.energy(means) - sum(0.5 * mean.square().sum(1) for mean in means)
            scores.append(trainer.weight * error - prior)
        return torch.cat(scores)

    return {"naive": naive}


def _annealing(n_chains: int, n_temperatures: int, device: torch.device) -> dict[str, Callable[[], object]]:
    prior = langevin_prior((10,) * 5, 100, 2, device)
    start = prior.sample_base(n_chains, like=torch.empty(0, device=device))
    temperatures = torch.linspace(0, 1, n_temperatures + 1, dtype=torch.float64)
    schedule = AnnealingSchedule(temperatures, torch.full((n_temperatures,), 0.1, dtype=torch.float64))
    kernel = HMC(0.1, 5)
    density = prior.density()

    def by_hand() -> torch.Tensor:
        return annealed_importance(density.base, density, start, schedule, kernel).log_weights

    def by_autograd() -> torch.Tensor:
        target = lambda latents: density(latents)  # noqa: E731  (hides the gradient written by hand)
        base = lambda latents: density.base(latents)  # noqa: E731
        return annealed_importance(base, target, start, schedule, kernel).log_weights

    a, b = by_hand(), by_autograd()
    assert abs(a.mean() - b.mean()) < 5 * (a.var() + b.var()).div(n_chains).sqrt()
    return {"hebm": by_hand, "the same through autograd": by_autograd}


def _frechet(n: int, dim: int) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((n, dim)).astype(np.float32) * s for s in (1.0, 1.1))

    def plain() -> float:
        def statistics(x: NDArray[np.float32]) -> tuple[Any, Any]:
            return x.mean(0, dtype=np.float64), np.cov(x.astype(np.float64), rowvar=False)

        (mean_a, cov_a), (mean_b, cov_b) = statistics(a), statistics(b)
        root = scipy.linalg.sqrtm(cov_a @ cov_b).real
        return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root))

    def ours() -> float:
        return frechet_distance(GaussianStatistics.of(a), GaussianStatistics.of(b))

    assert abs(ours() - plain()) < 1e-6 * plain()
    return {"hebm": ours, "numpy and scipy's sqrtm": plain}


def evaluation_rows(
    limits: Limits, device: torch.device, *, n: int = 10_000, budget_s: float = 10.0, least: int = 3
) -> list[Row]:
    """One row each."""
    options: dict[str, Any] = {"limits": limits, "budget_s": budget_s, "least": least}
    return [
        compare("sampling", f"{n} images, svhn_sampling", _sampling(n, device), **options),
        compare("scoring", f"{n} images, svhn_sampling, log joint",
                _scoring("svhn_sampling", n, device) | _scoring_naively(n, device), **options),
        compare("scoring", f"{n} images, fashion_mnist, log joint", _scoring("fashion_mnist", n, device), **options),
        compare("AIS", f"{n // 10} particles, 50 latents, 2×100, 50 temperatures of HMC with 5 leapfrog steps",
                _annealing(n // 10, 50, device), **options),
        compare("Fréchet statistics", f"two sets of {n} × 512", _frechet(n, 512), **options),
    ]  # fmt: skip
