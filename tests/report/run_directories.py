"""Run directories as training and evaluation leave them, in miniature."""

import json
from pathlib import Path
from typing import Any

import torch

from hebm.report import image_grid, save_png

CONFIG = """\
description: "a small <b>test</b> & nothing else"
data: {name: "digits<script>alert(1)</script>", size: 8, channels: 1}
model: {levels: [{latents: 5, channels: 8}, {latents: 2, channels: 4}]}
prior: {kind: KIND, coupling: joint, width: 16, depth: 1}
sampler: {n_steps: 20, step_size: 0.08}
trainer: {batch_size: 100}
seed: 7
"""
PICTURES = (
    "real",
    "reconstruction",
    "prior",
    "base",
    "hierarchy-level-0",
    "hierarchy-level-1",
    "traverse-level-0",
)


def make_run(folder: Path, *, kind: str = "joint") -> Path:
    """A directory with nothing but its configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG.replace("KIND", kind), encoding="utf-8")
    return folder


def make_full_run(folder: Path, *, kind: str = "joint", **results: Any) -> Path:
    """A directory with metrics, pictures and the samples suite, whose results may be overridden."""
    make_run(folder, kind=kind)
    (folder / "environment.json").write_text(json.dumps({"hardware": "a machine", "hebm_version": "9.8.7"}))
    write_metrics(folder, [log_record(step) for step in (50, 100, 150)])
    for name in PICTURES:
        save_png(image_grid(torch.rand(4, 1, 8, 8), n_columns=2), folder / "samples" / f"{name}.png")
    write_suite(folder, "samples", {**sample_results(), **results})
    return folder


def log_record(step: int, **values: Any) -> dict[str, Any]:
    """A line as the training loop logs it."""
    rates = {"images_per_s": 1000.0, "rate": 3.0, "rate_per_level": [2.0, 1.0]}
    energies = {"energy_data": -1.0, "energy_prior": -0.5}
    losses = {"loss": 100.0 - step / 10, "distortion": 90.0 - step / 10}
    return {"step": step, "epoch": step / 50, **rates, **losses, **energies, **values}


def sample_results() -> dict[str, Any]:
    """Results of the samples suite."""
    chain = {"step": [0, 1, 2], "mean": [0.0, -1.0, -1.5], "sd": [1.0, 0.9, 0.8]}
    return {
        "extractor": "digits-classifier@1234abcd",
        "is_standard_inception": False,
        "n_samples": 1000,
        "n_reference": 180,
        "fd_prior": 6.25,
        "fd_base": 8.5,
        "fd_reconstruction": 2.5,
        "prior_gap": 2.5,
        "kid_prior": 0.0125,
        "kid_prior_sd": 0.0025,
        "energy_along_chain": {**chain, "posterior_mean": -1.4, "posterior_sd": 0.5},
    }


def write_metrics(folder: Path, records: list[dict[str, Any]]) -> None:
    """Write ``metrics.jsonl``."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def write_suite(folder: Path, suite: str, results: dict[str, Any]) -> None:
    """Write a result file."""
    (folder / "evaluation").mkdir(exist_ok=True)
    content = {"suite": suite, "config_hash": "feedc0ffee" * 6, "checkpoint_step": 150, "seed": 7}
    (folder / "evaluation" / f"{suite}.json").write_text(json.dumps({**content, "results": results}))


ROLLED_BACK = [
    log_record(50),
    log_record(100),
    log_record(150, loss=9e9),
    {"event": "diverged", "step": 170, "reason": "loss is not finite"},
    {"event": "rollback", "step": 100, "energy_lr": 5e-5},
    log_record(150, loss=1.5),
    log_record(200),
]
