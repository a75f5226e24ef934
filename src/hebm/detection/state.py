"""Fitted scores and calibrated detectors as tensors and JSON, and back; nothing that is read back can run code.

A score is a dataclass of this room whose fields are tensors, numbers, texts, priors, or tuples, dictionaries and
dataclasses of those. Tensors go into a flat dictionary under their path; the rest into JSON, a dataclass as its class's
name and fields, a prior as its class's name and level sizes.
"""

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hebm.detection.detector import Detector
from hebm.distributions import DiagonalNormal
from hebm.errors import CheckpointError, UnsupportedError
from hebm.priors import EnergyNetwork, FullGaussianPrior, JointPrior, MixturePrior, VampPrior

__all__ = ["pack", "pack_detector", "unpack", "unpack_detector"]

ROOM = "hebm.detection."
SCORE = "score"
PRIORS: dict[str, Callable[[Sequence[int], Mapping[str, Tensor]], nn.Module]] = {
    "FullGaussianPrior": lambda dims, state: FullGaussianPrior(dims),
    "MixturePrior": lambda dims, state: MixturePrior(dims, len(state["logits"])),
    "VampPrior": lambda dims, state: VampPrior(dims, DiagonalNormal(state["means"], state["scales"])),
    "JointPrior": lambda dims, state: JointPrior(
        MixturePrior(dims, len(state["base.logits"])), EnergyNetwork(dims)
    ),
}
"""What a score may have fitted: the prior's class to an empty one of the shape of its tensors."""


def pack_detector(detector: Detector) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take a detector apart: what is JSON-able, and its tensors.

    Raises:
        UnsupportedError: If its fitted score holds what cannot be kept.
    """
    fitted, tensors = pack(detector.score)
    tensors |= {"calibration": detector.calibration, "residual": detector.residual}
    tensors |= {f"part.{name}": values for name, values in detector.part_calibration.items()}
    return {"score": detector.name, "fitted": fitted, "parts": list(detector.part_calibration)}, tensors


def unpack_detector(
    about: Mapping[str, Any], tensors: Mapping[str, Tensor], *, device: torch.device | str = "cpu"
) -> Detector:
    """Put a detector together again; what was fitted of its score goes to the model's device.

    Raises:
        CheckpointError: If it is of a version with other scores.
    """
    on_device = {name: tensor.to(device) for name, tensor in tensors.items() if name.startswith(SCORE)}
    return Detector(
        about["score"],
        unpack(about["fitted"], on_device),
        tensors["calibration"],
        {name: tensors[f"part.{name}"] for name in about["parts"]},
        tensors["residual"],
    )


def pack(value: object, *, path: str = SCORE) -> tuple[Any, dict[str, Tensor]]:
    """Take a fitted score apart.

    Returns:
        What is JSON-able, and the tensors by path.

    Raises:
        UnsupportedError: If a field is of another type.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value, {}
    if isinstance(value, Tensor):
        return {"tensor": path}, {path: value}
    if isinstance(value, tuple | list):
        items, tensors = _pack_all({str(i): item for i, item in enumerate(value)}, path)
        return {type(value).__name__: list(items.values())}, tensors
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        items, tensors = _pack_all(value, path)
        return {"dict": items}, tensors
    kind = type(value)
    if isinstance(value, nn.Module) and kind.__name__ in PRIORS:
        tensors = {f"{path}.{key}": tensor for key, tensor in value.state_dict().items()}
        return {"prior": kind.__name__, "level_dims": list(_level_dims(value)), "path": path}, tensors
    if dataclasses.is_dataclass(value) and kind.__module__.startswith(ROOM):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        items, tensors = _pack_all(fields, path)
        return {"class": f"{kind.__module__.removeprefix(ROOM)}.{kind.__name__}", "fields": items}, tensors
    raise UnsupportedError(
        f"{path} of a fitted score is of type {kind.__name__}, which a checkpoint cannot hold; use `hebm.detect` with "
        "`normals`, which keeps nothing."
    )


def unpack(packed: Any, tensors: dict[str, Tensor]) -> Any:
    """Put a fitted score together again.

    Raises:
        CheckpointError: If it is of a version with other scores.
    """
    if not isinstance(packed, dict):
        return packed
    try:
        if "tensor" in packed:
            return tensors[packed["tensor"]]
        if "tuple" in packed:
            return tuple(unpack(item, tensors) for item in packed["tuple"])
        if "list" in packed:
            return [unpack(item, tensors) for item in packed["list"]]
        if "dict" in packed:
            return {key: unpack(item, tensors) for key, item in packed["dict"].items()}
        if "prior" in packed:
            return _prior(packed, tensors)
        fields = {key: unpack(item, tensors) for key, item in packed["fields"].items()}
        return _score_class(packed["class"])(**fields)
    except (KeyError, TypeError, ImportError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            f"a stored score cannot be put together ({error}); it is of another version of hebm: calibrate again."
        ) from error


def _pack_all(values: dict[str, Any], path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    items: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for key, value in values.items():
        items[key], more = pack(value, path=f"{path}.{key}")
        tensors |= more
    return items, tensors


def _prior(packed: dict[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    start = packed["path"] + "."
    state = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and overwritten at once
        prior = PRIORS[packed["prior"]](packed["level_dims"], state)
    prior = prior.to(next(iter(state.values())))
    prior.load_state_dict(state)
    return prior.eval().requires_grad_(False)


def _level_dims(prior: nn.Module) -> tuple[int, ...]:
    dims: Any = prior.level_dims
    return tuple(dims)


def _score_class(name: str) -> type:
    module, _, class_name = name.rpartition(".")
    found = getattr(importlib.import_module(ROOM + module), class_name)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise TypeError(f"{name} is not a score")
    return found
