r"""What a Lipschitz bound on the energy costs: KL(joint ‖ base) against c² / 2, and the prior gap.

HEBM_DATA=DIR python -m benchmarks.prior_lipschitz runs/prior_gap/fashion_mnist-seed0/twin

Short-run learning in two phases on the latents of one run, c = 0.5, 1, 2, 4 and none; c = 1 and none once more at the
released learning rate, 2e-6.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.prior_learners import Bench, learner_config, log_z_interval
from hebm.build_prior import build_learner, build_prior, build_sampler
from hebm.errors import DivergenceError
from hebm.evaluation import images_from_prior
from hebm.features import extract_features
from hebm.latents import flatten_latents
from hebm.learners import fit_two_phase
from hebm.metrics import GaussianStatistics, frechet_distance
from hebm.models import JointModel
from hebm.priors import JointPrior
from hebm.randomness import derive_seed, named_generator
from hebm.samplers import HMC, evaluate_state, run_chain
from hebm.training.environment import hardware_name, package_version

__all__ = ["main"]

CELLS: list[tuple[float | None, float]] = [
    (0.5, 1e-3),
    (1.0, 1e-3),
    (2.0, 1e-3),
    (4.0, 1e-3),
    (None, 1e-3),
    (1.0, 2e-6),
    (None, 2e-6),
]
N_CHAINS = 500


def study(bench: Bench, lipschitz: float | None, lr: float, seed: int) -> dict[str, Any]:
    """Fit, then measure the divergence from the base with converged chains, and the distance with short ones."""
    bound = "null" if lipschitz is None else str(lipschitz)
    config = learner_config(
        bench.config, "short_run", [f"prior.lipschitz={bound}", f"trainer.energy.lr={lr}", f"seed={seed}"]
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "init"))
        prior = build_prior(config.prior, bench.model.level_dims)
    assert isinstance(prior, JointPrior)
    learner = build_learner(config, prior, {s: named_generator(seed, s) for s in ("prior", "pool")})
    assert learner is not None
    fit_two_phase(
        learner,
        prior,
        bench.train,
        n_steps=config.trainer.energy_only_steps,
        batch_size=config.trainer.energy_only_batch_size or config.trainer.batch_size,
        generator=named_generator(seed, "posterior"),
    )
    prior.eval()
    model = JointModel(bench.model.generator, bench.model.encoder, prior, build_sampler(config))
    features = extract_features(bench.extractor, images_from_prior(model, 10_000, seed=seed))
    distance = frechet_distance(GaussianStatistics.of(bench.real), GaussianStatistics.of(features))
    return {
        "lipschitz": lipschitz,
        "lr": lr,
        "seed": seed,
        "prior_gap": distance / bench.fd_reconstruction,
        **divergence(prior, seed),
    }


def divergence(prior: JointPrior, seed: int) -> dict[str, Any]:
    """KL(joint ‖ base) = E_p[-E(z)] - log Z in nats, as an interval; the largest gradient of E on the chains."""
    generator = named_generator(seed, "kl")
    start = prior.sample_base(N_CHAINS, like=torch.empty(0), generator=generator)
    density = prior.density()
    draws = run_chain(HMC(0.15, 8), density, evaluate_state(density, start), 200, thin=2, generator=generator)
    flat = draws.positions[100:].flatten(0, 1)
    energy, grad = density.energy.value_and_grad(flat)
    mean, error = -energy.mean().item(), (energy.std() / len(energy) ** 0.5).item()
    lower, upper, found = log_z_interval(prior, flatten_latents(start), generator)
    return {
        "kl_joint_base": [mean - 2 * error - upper, mean + 2 * error - lower],
        "log_z": [lower, upper],
        "largest_gradient": grad.norm(dim=1).max().item(),
        "acceptance": draws.acceptance.mean().item(),
        **found,
    }


def main() -> None:
    """Fit, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    bench, cells = Bench(arguments.run), []
    for lipschitz, lr in CELLS:
        try:
            cells.append(study(bench, lipschitz, lr, arguments.seed))
        except DivergenceError as error:
            cells.append({"lipschitz": lipschitz, "lr": lr, "seed": arguments.seed, "failed": str(error)})
        print(cells[-1], flush=True)
    record = {
        "benchmark": "prior_lipschitz",
        "data": bench.config.data.name,
        "hebm_version": package_version(),
        "hardware": hardware_name(),
        "extractor": bench.extractor.identifier,
        "cells": cells,
    }
    path = Path("benchmarks/results/prior_lipschitz.json")
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
