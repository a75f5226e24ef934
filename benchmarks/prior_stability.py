"""Does a learner's training diverge? Ten seeds of 2,000 two-phase steps each, on the latents of one trained run.

HEBM_DATA=DIR python -m benchmarks.prior_stability runs/prior_gap/fashion_mnist-seed0/twin --seeds 10

Learners that are not asked for (``--learners``) keep what ``benchmarks/results/prior_stability.json`` has of them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.prior_learners import LEARNERS, learner_config
from hebm.build import build_images
from hebm.build_prior import build_learner, build_prior
from hebm.data import ResidentImages
from hebm.errors import DivergenceError
from hebm.learners import PosteriorLatents, fit_two_phase
from hebm.randomness import derive_seed, named_generator
from hebm.training.environment import hardware_name, package_version
from hebm.training.inference import infer_posteriors
from hebm.training.run import Run

__all__ = ["main"]

STEPWISE = [
    name for name in LEARNERS if name not in ("gaussian", "full_gaussian", "mixture", "vamp")
]  # what learns by steps
BATCH = 100
N_STEPS = 2000


def one_run(run: Run, latents: PosteriorLatents, name: str, seed: int) -> dict[str, Any]:
    """Train one learner; whether it was rolled back, and whether it gave up."""
    base = [] if "mixture" not in name else ["prior.n_components=[20]"]
    config = learner_config(
        run.config(), name, [*base, f"trainer.energy_only_steps={N_STEPS}", f"seed={seed}"]
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "init"))
        prior = build_prior(config.prior, latents.level_dims)
    learner = build_learner(config, prior, {s: named_generator(seed, s) for s in ("prior", "pool")})
    assert learner is not None
    try:
        history = fit_two_phase(
            learner,
            prior,
            latents,
            n_steps=N_STEPS,
            batch_size=BATCH,
            generator=named_generator(seed, "posterior"),
        )
    except DivergenceError as error:
        return {"seed": seed, "n_rollbacks": 0, "gave_up": True, "largest_gap": None, "reason": str(error)}
    gaps = [
        abs(look["energy_data"] - look["energy_prior"]) for look in history.looks if "energy_data" in look
    ]
    return {
        "seed": seed,
        "n_rollbacks": len(history.rollbacks),
        "gave_up": False,
        "largest_gap": max(gaps, default=None),
        "rollbacks": list(history.rollbacks),
    }


def main() -> None:
    """Train, count, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--learners", nargs="+", choices=STEPWISE, default=list(STEPWISE))
    arguments = parser.parse_args()
    run = Run(arguments.run)
    model, config = run.model(), run.config()
    images = build_images(config, config.data.split)
    latents = infer_posteriors(model, ResidentImages(images, model.device))
    path = Path("benchmarks/results/prior_stability.json")
    learners: dict[str, list[dict[str, Any]]] = (
        json.loads(path.read_text())["learners"] if path.is_file() else {}
    )
    for name in arguments.learners:
        learners[name] = [one_run(run, latents, name, seed) for seed in range(arguments.seeds)]
        bad = sum(r["n_rollbacks"] > 0 or r["gave_up"] for r in learners[name])
        print(f"{name}: {bad} of {arguments.seeds} runs were rolled back or gave up", flush=True)
        record = {
            "benchmark": "prior_stability",
            "data": config.data.name,
            "n_steps": N_STEPS,
            "batch_size": BATCH,
            "hebm_version": package_version(),
            "hardware": hardware_name(),
            "learners": learners,
        }
        path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
