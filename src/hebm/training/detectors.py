"""Calibrated detectors beside the weights they belong to: ``detector-SCORE.safetensors`` and ``.json`` in a checkpoint.

The JSON file says everything that the verdicts depend on: the score with its options and what was fitted of it, the
images' way to the model's shape, the chains' settings, which images calibrated, and the SHA-256 of weights and tensors.
A detector that does not belong to the weights or the configuration beside it is refused, never used.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hebm.build import build_images
from hebm.config import RunConfig
from hebm.data import ImageSet, ResidentImages
from hebm.data.given import transform_of
from hebm.data.pixels import Transform
from hebm.detection import Detector, build_score, calibrate
from hebm.detection.calibration import require_rate
from hebm.detection.detector import n_fitted
from hebm.detection.state import pack_detector, unpack_detector
from hebm.errors import CheckpointError, DataError, HebmError
from hebm.files import write_atomically
from hebm.randomness import named_generator
from hebm.training.checkpoint import file_hash, json_hash, read_meta
from hebm.training.environment import package_version
from hebm.training.run import Run

__all__ = [
    "StoredDetector",
    "calibrate_if_needed",
    "calibrate_run",
    "calibration_items",
    "detector_file",
    "load_detector",
]

DETECTOR_SCHEMA_VERSION = 1
CALIBRATE_AGAIN = "calibrate again, where the run's data are: `hebm detect RUN IMAGES --recalibrate`."
TRAINED_ON_TEST = ("test", "all")


class StoredDetector(NamedTuple):
    """A detector, what brings an image to the model's shape, and what else its JSON file says."""

    detector: Detector
    transform: Transform
    about: dict[str, Any]


def detector_file(checkpoint: Path, score: str) -> Path:
    """The JSON file of a score's detector in a checkpoint."""
    return checkpoint / f"detector-{re.sub(r'[^A-Za-z0-9_.]+', '-', score)}.json"


def calibration_items(n_held_out: int, config: RunConfig) -> Tensor:
    """Which held-out images calibrate: a random choice by the run's seed, in the order of the set, int64 [n]."""
    order = torch.randperm(n_held_out, generator=named_generator(config.seed, "calibration"))
    return order[: config.detection.n_calibration].sort().values


def calibrate_run(
    run: Run,
    score: str | None = None,
    *,
    device: torch.device | str = "cpu",
    step: int | None = None,
    rate: float | None = None,
) -> StoredDetector:
    """Calibrate a run's averaged model on its held-out images and store the detector in the checkpoint.

    Args:
        run: The run.
        score: The score with its options; the configuration's if None.
        device: Where to compute.
        step: Step of the checkpoint; the newest if None.
        rate: A false-positive rate that the calibration must allow, if one is known already.

    Raises:
        ConfigError: If the score is unknown, or the rate needs more calibration images than there will be; nothing is
            computed then, or stored.
        DataError: If held-out images are missing, or the model has learned from them.
    """
    config, checkpoint = run.config(), run.checkpoint(step)
    score = score or config.detection.score
    build_score(score)
    images = _held_out_normals(config)
    items = calibration_items(len(images), config)
    n_fit = n_fitted(score, len(items), config.detection.fit_share)
    if rate is not None:
        require_rate(len(items) - n_fit, rate)
    model = run.model(step=step).to(device)
    normals = ResidentImages(images, "cpu").batch(items)
    detector = calibrate(model, normals, score, fit_share=config.detection.fit_share, seed=config.seed)
    transform = transform_of(config.data.name, size=config.data.size, channels=config.data.channels)
    about = {
        **_belongs_to(config, checkpoint),
        "transform": dataclasses.asdict(transform),
        "n_held_out": len(images),
        **_made_of(config, detector),
    }
    _store(detector_file(checkpoint, score), detector, about)
    return StoredDetector(detector, transform, about)


def calibrate_if_needed(run: Run, score: str, *, device: torch.device | str) -> str | None:
    """Calibrate a score unless the checkpoint has a detector of it that fits; why it could not be done, if so."""
    try:
        if load_detector(run, score) is not None:
            return None
    except CheckpointError:
        pass  # damaged, or of other settings: replaced
    try:
        calibrate_run(run, score, device=device)
    except HebmError as error:
        return str(error)
    return None


def load_detector(
    run: Run, score: str | None = None, *, device: torch.device | str = "cpu", step: int | None = None
) -> StoredDetector | None:
    """The detector stored in a run's checkpoint; None if there is none.

    Args:
        run: The run.
        score: The score with its options; the configuration's if None.
        device: Where the model is, for what was fitted.
        step: Step of the checkpoint; the newest if None.

    Raises:
        CheckpointError: If it is damaged, of another version, or belongs to other weights or settings.
    """
    config, checkpoint = run.config(), run.checkpoint(step)
    file = detector_file(checkpoint, score or config.detection.score)
    if not file.is_file():
        return None
    about, tensors = _read(file)
    for key, expected in _belongs_to(config, checkpoint).items():
        if about.get(key) != expected:
            raise CheckpointError(
                f"{file} belongs to other weights or settings ({key} differs); {CALIBRATE_AGAIN}"
            )
    detector = unpack_detector(about, tensors, device=device)
    return StoredDetector(detector, Transform(**about["transform"]), about)


def _held_out_normals(config: RunConfig) -> ImageSet:
    if config.data.split in TRAINED_ON_TEST:
        raise DataError(
            f"the model has learned from the split {config.data.split!r}, so there are no held-out normal images to "
            "calibrate on; train with data.split=train."
        )
    return build_images(config, "test")


def _belongs_to(config: RunConfig, checkpoint: Path) -> dict[str, Any]:
    """What a detector must agree with: the weights, and all settings that decide what the model does with an image."""
    sections = (config.model, config.prior, config.sampler)
    settings = [section.model_dump(mode="json", exclude_defaults=True) for section in sections]
    shape = [config.data.name, config.data.size, config.data.channels]
    return {
        "schema_version": DETECTOR_SCHEMA_VERSION,
        "weights_sha256": read_meta(checkpoint)["sha256"]["ema.safetensors"],
        "settings_sha256": json_hash({"settings": settings, "data": shape}),
    }


def _made_of(config: RunConfig, detector: Detector) -> dict[str, Any]:
    """What else is good to know of a detector."""
    return {
        "n_calibration": len(detector.calibration),
        "calibrated_on": {"name": config.data.name, "split": "test", "seed": config.seed},
        "sampler": config.sampler.model_dump(mode="json"),
        "hebm_version": package_version(),
    }


def _store(file: Path, detector: Detector, about: Mapping[str, Any]) -> None:
    packed, tensors = pack_detector(detector)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    tensor_file = file.with_suffix(".safetensors")
    _write(tensor_file, content)
    body = {**about, **packed, "tensors_sha256": file_hash(tensor_file)}
    text = json.dumps({**body, "sha256": json_hash(body)}, indent=1)
    _write(file, f"{text}\n".encode())


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomically(file, content)
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be written ({error}); make the run directory writable."
        ) from error


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensor_file = file.with_suffix(".safetensors")
    try:
        about: dict[str, Any] = json.loads(file.read_text())
        claimed = about.pop("sha256")
        intact = claimed == json_hash(about) and about["tensors_sha256"] == file_hash(tensor_file)
        tensors = load(tensor_file.read_bytes()) if intact else {}
    except (OSError, ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise CheckpointError(
            f"{file} is missing, truncated or altered ({error}); {CALIBRATE_AGAIN}"
        ) from error
    if not intact:
        raise CheckpointError(f"{file} or its tensors are altered (SHA-256 differs); {CALIBRATE_AGAIN}")
    return about, tensors
