"""Every learner of the prior on the same latents: two phases, one trained encoder, several seeds of the learner.

HEBM_DATA=DIR python -m benchmarks.prior_learners runs/prior_gap/fashion_mnist-seed0/twin --seeds 0 1 2

The run's encoder infers all training images once; every learner is fitted to these latents, drawn from, decoded by
the run's generator, and judged on the held-out images. Finished cells are kept in ``runs/prior_learners/``; the table
goes to ``benchmarks/results/prior_learners-DATA.json``, which docs/prior.md is made from (``benchmarks.prior_tables``).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from hebm.build import build_images
from hebm.build_prior import build_learner, build_prior, build_sampler
from hebm.config import RunConfig
from hebm.data import ResidentImages
from hebm.errors import HebmError
from hebm.evaluation import images_from_prior
from hebm.evaluation.log_z import interval_around
from hebm.features import FeatureExtractor, build_extractor, extract_features, image_batches
from hebm.latents import unflatten_latents
from hebm.learners import PosteriorLatents, fit_two_phase, fitted
from hebm.metrics import GaussianStatistics, frechet_distance, precision_recall
from hebm.models import JointModel
from hebm.priors import GaussianPrior, JointPrior, MixtureFit, RecoveryPrior, fit_mixture
from hebm.randomness import derive_seed, named_generator
from hebm.samplers import HMC, bracket_log_normalizer, importance_log_normalizer
from hebm.training.environment import hardware_name, package_version
from hebm.training.inference import infer_posteriors
from hebm.training.run import Run

__all__ = ["LEARNERS", "main"]

TWO_PHASE = "prior.training=two_phase"
MIXTURE = "prior.n_components=[60]"
STEPS = "trainer.energy_only_steps="
# Steps are what a few minutes on one core allow.
PLAIN = [
    "prior.kind=gaussian", "prior.base=standard", "prior.width=128", "prior.depth=2", "sampler.n_steps=60",
    "sampler.step_size=0.08",
]  # fmt: skip
CHAINS = [STEPS + "1200", "trainer.energy_only_batch_size=250", "trainer.energy.lr=3e-4", TWO_PHASE]
ON_MIXTURE = ["prior.base=mixture", MIXTURE, "trainer.energy_only_batch_size=1000", "prior.width=256"]
LEARNERS: dict[str, list[str]] = {
    "gaussian": ["prior.kind=gaussian"],
    "full_gaussian": ["prior.kind=full_gaussian"],
    "mixture": ["prior.kind=mixture", MIXTURE],
    "vamp": ["prior.kind=vamp", "prior.n_components=[500]"],
    "importance_on_mixture": ["prior.kind=importance", *ON_MIXTURE, STEPS + "3000", "trainer.energy.lr=2e-3"],
    "nce_on_mixture": ["prior.kind=nce", *ON_MIXTURE, STEPS + "3000", "trainer.energy.lr=2e-3"],
    "short_run": ["prior.kind=joint", *CHAINS],
    "persistent": ["prior.kind=persistent", *CHAINS, "sampler.n_chains=4000"],
    "recovery": ["prior.kind=recovery", *CHAINS, "sampler.n_steps=20"],
    "nce": [
        "prior.kind=nce", "prior.n_stages=4", STEPS + "3000", "trainer.energy_only_batch_size=1000",
        "trainer.energy.lr=2e-3", "prior.width=256",
    ],
    "chains_on_mixture": [
        "prior.kind=joint", "prior.base=mixture", MIXTURE, *CHAINS, "sampler.n_steps=20", "trainer.energy.lr=1e-3",
    ],
    "flow": ["prior.kind=flow", STEPS + "1500", "trainer.energy_only_batch_size=1000", "trainer.base.lr=2e-3"],
    "top_down": ["prior.kind=joint", "prior.base=top_down", *CHAINS],
}  # fmt: skip
N_LONG = 1000
LONGER = 100


def evaluate_cell(
    model: JointModel,
    config: RunConfig,
    test: PosteriorLatents,
    extractor: FeatureExtractor,
    real: torch.Tensor,
    seed: int,
) -> dict[str, Any]:
    """Distances, precision and recall, held-out log-density, and what a chain 100 times longer does."""
    statistics = GaussianStatistics.of(real)

    def distance(n: int, n_steps: int | None) -> tuple[float, torch.Tensor]:
        features = extract_features(extractor, images_from_prior(model, n, seed=seed, n_steps=n_steps))
        return frechet_distance(statistics, GaussianStatistics.of(features)), features

    started = time.perf_counter()
    fd, features = distance(10_000, None)
    seconds = time.perf_counter() - started
    manifold = precision_recall(real, features, k=config.evaluation.nearest_k)
    result: dict[str, Any] = {
        "fd_prior": fd,
        "precision": manifold.precision,
        "recall": manifold.recall,
        "sampling_s": seconds,
        **held_out_log_density(model, test, seed),
    }
    if model.prior.energy is not None:
        n_steps = config.sampler.n_steps
        try:
            short, longer = distance(N_LONG, n_steps)[0], distance(N_LONG, LONGER * n_steps)[0]
            result |= {"fd_same_n": short, "fd_100_times": longer, "ratio_100_times": longer / short}
        except HebmError as error:
            result |= {"longer_chain_failed": str(error)}
    return result


@torch.no_grad()
def held_out_log_density(model: JointModel, test: PosteriorLatents, seed: int) -> dict[str, Any]:
    """E log p(z) over posterior draws of held-out images, nats, as an interval [lower, upper]; its standard error."""
    generator = named_generator(seed, "held_out")
    flat = test.sample(generator=generator)
    prior = model.prior
    values = torch.cat(
        [prior.log_density(unflatten_latents(z, test.level_dims)) for z in torch.split(flat, 2000)]
    )
    lower = upper = 0.0
    found: dict[str, Any] = {}
    if prior.energy is not None:
        lower, upper, found = log_z_interval(prior, flat, named_generator(seed, "log_z"))
    mean = values.double().mean().item()
    error = (values.double().std() / len(values) ** 0.5).item()
    return {"log_density": [mean - upper, mean - lower], "log_density_se": error, **found}


def log_z_interval(
    prior: Any, like: torch.Tensor, generator: torch.Generator
) -> tuple[float, float, dict[str, Any]]:
    """log Z by plain importance weights where they are even enough, by annealing otherwise."""
    if isinstance(prior, JointPrior) and not isinstance(prior.base, GaussianPrior):
        drawn = [prior.sample_base(20_000, like=like, generator=generator) for _ in range(5)]
        found = importance_log_normalizer(-torch.cat([prior._energy(z) for z in drawn]))
        if found.ess > 2000:
            estimate, error = found.log_normalizer.item(), found.se.item()
            return *interval_around(estimate, estimate, error, error), {"log_z_method": "importance"}
    base = prior.base
    target = prior.density()
    bracket = bracket_log_normalizer(
        base.density(),
        (lambda z: target(z)) if isinstance(prior, RecoveryPrior) else target,
        lambda n: base.sample_base(n, like=like, generator=generator),
        kernel=HMC(0.2, 5),
        generator=generator,
    )
    parts = (bracket.lower, bracket.upper, bracket.lower_se, bracket.upper_se)
    lower, upper, lower_se, upper_se = (part.item() for part in parts)
    interval = interval_around(lower, upper, lower_se, upper_se)
    return *interval, {"log_z_method": "annealed", "log_z_bracket": [lower, upper]}


def learner_config(config: RunConfig, name: str, overrides: list[str]) -> RunConfig:
    """A run's configuration with a learner's prior in place of its own, whatever that was."""
    return config.with_overrides([*PLAIN, *LEARNERS[name], *overrides])


class RememberedFits:
    """fit_mixture, fitted once per seed for all learners that share the mixture; its time counts for each of them."""

    def __init__(self) -> None:
        self.fits: dict[tuple[Any, ...], tuple[MixtureFit, float]] = {}
        self.seconds_saved = 0.0

    def __call__(self, train: torch.Tensor, valid: torch.Tensor, **settings: Any) -> MixtureFit:
        key = (tuple(settings["n_components"]), settings["seed"], train.double().sum().item())
        if key in self.fits:
            fit, seconds = self.fits[key]
            self.seconds_saved += seconds
            return fit
        started = time.perf_counter()
        fit = fit_mixture(train, valid, **settings)
        self.fits[key] = fit, time.perf_counter() - started
        return fit


class Bench:
    """One trained run: its nets, its latents, and the held-out images' features."""

    def __init__(self, directory: Path) -> None:
        self.run, self.fits = Run(directory), RememberedFits()
        fitted.fit_mixture = self.fits  # type: ignore[assignment]
        self.config = self.run.config()
        self.model = self.run.model()
        train, test = build_images(self.config, self.config.data.split), build_images(self.config, "test")
        self.extractor = build_extractor("auto", train, test, device=self.model.device)
        self.real = extract_features(self.extractor, image_batches(test.images))
        self.train = infer_posteriors(self.model, ResidentImages(train, self.model.device))
        self.test = infer_posteriors(self.model, ResidentImages(test, self.model.device))
        with torch.no_grad():
            rebuilt = [
                self.model.decode(unflatten_latents(m, self.model.level_dims))
                for m in torch.split(self.test.mean, 500)
            ]
            stream = named_generator(0, "train")
            rows = torch.randperm(len(self.train), generator=stream)[:10_000]  # a set may be sorted by writer
            drawn = torch.split(self.train.sample(rows, generator=stream), 500)
            posterior = [self.model.decode(unflatten_latents(z, self.model.level_dims)) for z in drawn]
        self.fd_reconstruction = self.distance(rebuilt)
        self.fd_train_posterior = self.distance(posterior)

    def distance(self, batches: list[torch.Tensor]) -> float:
        """Fréchet distance of images from the held-out ones."""
        features = extract_features(self.extractor, iter(batches))
        return frechet_distance(GaussianStatistics.of(self.real), GaussianStatistics.of(features))

    def cell(self, name: str, seed: int) -> dict[str, Any]:
        """Fit one learner with one seed, and judge it."""
        config = learner_config(self.config, name, [f"seed={seed}"])
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, "init"))
            prior = build_prior(config.prior, self.model.level_dims)
        streams = {stream: named_generator(seed, stream) for stream in ("prior", "pool")}
        learner = build_learner(config, prior, streams)
        started, self.fits.seconds_saved = time.perf_counter(), 0.0
        found: dict[str, Any] = {}
        if learner is not None:
            history = fit_two_phase(
                learner,
                prior,
                self.train,
                n_steps=config.trainer.energy_only_steps,
                batch_size=config.trainer.energy_only_batch_size or config.trainer.batch_size,
                generator=named_generator(seed, "posterior"),
            )
            found = {"prepared": history.prepared, "rollbacks": list(history.rollbacks)}
        seconds = time.perf_counter() - started + self.fits.seconds_saved
        model = JointModel(self.model.generator, self.model.encoder, prior.eval(), build_sampler(config))
        result = evaluate_cell(model, config, self.test, self.extractor, self.real, seed)
        gap = result["fd_prior"] / self.fd_reconstruction
        return {
            "learner": name,
            "overrides": LEARNERS[name],
            "seed": seed,
            "fit_s": seconds,
            "prior_gap": gap,
            **result,
            **found,
        }


def main() -> None:
    """Fit, judge, write after every cell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--learners", nargs="+", choices=LEARNERS, default=list(LEARNERS))
    parser.add_argument("--name", help="of the result file; the data set's by default")
    arguments = parser.parse_args()
    bench = Bench(arguments.run)
    data = arguments.name or bench.config.data.name
    kept = Path("runs/prior_learners") / data
    kept.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        for name in arguments.learners:
            file = kept / f"{name}-seed{seed}.json"
            if not file.is_file():
                try:
                    cell = bench.cell(name, seed)
                except HebmError as error:
                    cell = {"learner": name, "seed": seed, "failed": str(error)}
                file.write_text(json.dumps(cell, indent=1) + "\n")
            cell = json.loads(file.read_text())
            if "failed" in cell:
                print(f"{data} {name} seed {seed}: {cell['failed']}", flush=True)
                continue
            low, high = cell["log_density"]
            print(
                f"{data} {name} seed {seed}: gap {cell['prior_gap']:.3g}, log-density {low:.2f} to {high:.2f}, "
                f"100 times longer {cell.get('ratio_100_times', 1):.3g}, fit {cell['fit_s']:.0f} s",
                flush=True,
            )
    record = {
        "benchmark": "prior_learners",
        "data": data,
        "hebm_version": package_version(),
        "hardware": hardware_name(),
        "n_threads": torch.get_num_threads(),
        "encoder_seed": bench.config.seed,
        "extractor": bench.extractor.identifier,
        "fd_reconstruction": bench.fd_reconstruction,
        "fd_train_posterior": bench.fd_train_posterior,
        "cells": [json.loads(path.read_text()) for path in sorted(kept.glob("*.json"))],
    }
    path = Path("benchmarks/results") / f"prior_learners-{data}.json"
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
