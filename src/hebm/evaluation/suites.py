"""Suites by name, and the result files they write."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hebm.allocator import keep_freed_memory
from hebm.config import RunConfig
from hebm.errors import ConfigError
from hebm.evaluation.aggregate import evaluate_aggregate
from hebm.evaluation.anomaly import evaluate_anomaly
from hebm.evaluation.attack import evaluate_attack
from hebm.evaluation.disentangle import evaluate_disentangle
from hebm.evaluation.hierarchy_tests import evaluate_hierarchy
from hebm.evaluation.likelihood import evaluate_likelihood
from hebm.evaluation.mcmc import evaluate_mcmc
from hebm.evaluation.ood import evaluate_ood
from hebm.evaluation.probe import evaluate_probe
from hebm.evaluation.sample_efficiency import evaluate_sample_efficiency
from hebm.evaluation.samples import evaluate_samples
from hebm.evaluation.suite_pictures import write_suite_pictures
from hebm.files import write_atomically
from hebm.models import JointModel
from hebm.training.checkpoint import checkpoint_step
from hebm.training.environment import hardware_name, package_version
from hebm.training.run import Run

__all__ = ["SUITES", "evaluate", "suite_names", "write_suite"]

Suite = Callable[..., dict[str, Any]]

SUITES: dict[str, Suite] = {
    "samples": evaluate_samples,
    "likelihood": evaluate_likelihood,
    "mcmc": evaluate_mcmc,
    "ood": evaluate_ood,
    "anomaly": evaluate_anomaly,
    "attack": evaluate_attack,
    "hierarchy": evaluate_hierarchy,
    "probe": evaluate_probe,
    "disentangle": evaluate_disentangle,
    "sample_efficiency": evaluate_sample_efficiency,
    "aggregate": evaluate_aggregate,
}
READ_CHECKPOINT = {"mcmc"}  # suites that look at more than the model, such as persistent chains
# not in `all`: special data, or few latents
BY_NAME_ONLY = {"anomaly", "probe", "disentangle", "sample_efficiency", "aggregate"}


def suite_names(names: list[str]) -> list[str]:
    """Resolve ``all`` (every suite that asks nothing special of the data) and refuse unknown names.

    Raises:
        ConfigError: If a suite is unknown.
    """
    if unknown := sorted(set(names) - {*SUITES, "all"}):
        raise ConfigError(f"suite {unknown[0]!r} is unknown; choose from {', '.join([*SUITES, 'all'])}.")
    everything = [name for name in SUITES if name not in BY_NAME_ONLY] if "all" in names else []
    return list(dict.fromkeys([*everything, *(name for name in names if name != "all")]))


def evaluate(
    run: Run,
    suite: str,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    step: int | None = None,
    overrides: Sequence[str] = (),
) -> Path:
    """Run one suite on a run's averaged weights and write ``evaluation/SUITE.json``, and its pictures if it has any.

    Args:
        run: The run.
        suite: Name of the suite.
        seed: Of everything that is drawn.
        device: Where to compute.
        step: Step of the checkpoint; the newest if None.
        overrides: ``evaluation.key=value`` texts that change how this run is evaluated, for this time only; the
            result file's configuration hash is that with the changes.

    Returns:
        The result file.

    Raises:
        ConfigError: If the suite is unknown, or an override is of another section.
        RunDirectoryError: If there is no checkpoint.
    """
    (name,) = suite_names([suite])
    if other := [text for text in overrides if not text.startswith("evaluation.")]:
        raise ConfigError(f"{other[0]!r} would make it another run; only evaluation.* can be set here.")
    config, checkpoint = run.config().with_overrides(overrides), run.checkpoint(step)
    model = run.model(step=checkpoint_step(checkpoint)).to(device)
    return write_suite(run.evaluation, name, model, config, checkpoint, seed=seed)


def write_suite(
    folder: Path, suite: str, model: JointModel, config: RunConfig, checkpoint: Path, *, seed: int
) -> Path:
    """Run one suite on a model that is not as its run has it, such as one with another prior or sampler.

    On a CPU the process keeps the memory that it frees from then on (:func:`~hebm.allocator.keep_freed_memory`).

    Args:
        folder: Where ``SUITE.json`` and the suite's pictures go.
        suite: Name of the suite.
        model: The model, on its device.
        config: What it is evaluated under; the result file has its hash.
        checkpoint: What its weights were read from.
        seed: Of everything that is drawn.

    Returns:
        The result file.
    """
    if model.device.type == "cpu":
        keep_freed_memory()
    started = time.perf_counter()
    more = {"checkpoint": checkpoint} if suite in READ_CHECKPOINT else {}
    results = SUITES[suite](model, config, seed=seed, **more)
    record = _header(suite, config, checkpoint, seed, model.device, time.perf_counter() - started)
    path = folder / f"{suite}.json"
    text = json.dumps({**record, "results": results}, indent=1, allow_nan=False) + "\n"
    write_suite_pictures(folder, suite, model, seed=seed)
    write_atomically(path, text.encode())
    return path


def _header(
    suite: str, config: RunConfig, checkpoint: Path, seed: int, device: torch.device | str, duration_s: float
) -> dict[str, Any]:
    return {
        "suite": suite,
        "hebm_version": package_version(),
        "config_hash": config.hash(),
        "checkpoint_step": checkpoint_step(checkpoint),
        "seed": seed,
        "hardware": hardware_name(device),
        "duration_s": duration_s,
    }
