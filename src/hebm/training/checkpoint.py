"""Checkpoints: plain tensors and JSON, written atomically, checked by hash before anything is used.

A checkpoint is a folder ``step-00001000/`` with ``*.safetensors`` and ``meta.json``. The folder appears under its
name only when it is complete; ``meta.json`` carries the schema version and the SHA-256 of every file, itself
included.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Module

from hebm.errors import CheckpointError
from hebm.files import write_atomically

__all__ = [
    "SCHEMA_VERSION",
    "checkpoint_step",
    "file_hash",
    "json_hash",
    "list_checkpoints",
    "load_weights",
    "newest_intact",
    "prune_checkpoints",
    "read_meta",
    "read_tensors",
    "remove_leftovers",
    "verify_checkpoint",
    "write_checkpoint",
]

SCHEMA_VERSION = 1
LATEST = "latest"


def write_checkpoint(
    directory: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], meta: Mapping[str, Any]
) -> Path:
    """Write one checkpoint atomically and name it in ``latest``.

    Args:
        directory: The run's ``checkpoints`` folder.
        step: Training step; names the folder.
        tensors: File stem to its tensors.
        meta: JSON-able values to keep beside them.

    Returns:
        The checkpoint's folder.
    """
    directory.mkdir(parents=True, exist_ok=True)
    final = directory / f"step-{step:08d}"
    partial = directory / f".partial-{step:08d}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for stem, content in tensors.items():
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in content.items()}
        save_file(contiguous, partial / f"{stem}.safetensors")
    hashes = {path.name: file_hash(path) for path in sorted(partial.iterdir())}
    body = {**meta, "schema_version": SCHEMA_VERSION, "step": step, "sha256": hashes}
    (partial / "meta.json").write_text(json.dumps({**body, "meta_sha256": json_hash(body)}, indent=1))
    for path in partial.iterdir():
        _sync(path)
    _replace_folder(partial, final)
    write_atomically(directory / LATEST, f"{final.name}\n".encode())
    return final


def list_checkpoints(directory: Path) -> list[Path]:
    """All checkpoints of a run, oldest first, intact or not."""
    return sorted(path for path in directory.glob("step-*") if path.is_dir())


def checkpoint_step(path: Path) -> int:
    """The step that a checkpoint's folder is named after."""
    return int(path.name.removeprefix("step-"))


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """Check a checkpoint as a whole and return its ``meta.json``.

    Raises:
        CheckpointError: If it is incomplete, altered or of another schema version; names the file, and the
            newest intact checkpoint before it.
    """
    meta = read_meta(path)
    for name, expected in meta["sha256"].items():
        file = path / name
        if not file.is_file():
            raise CheckpointError(f"the checkpoint file {file} is missing.{_offer(path)}")
        if file_hash(file) != expected:
            raise CheckpointError(
                f"the checkpoint file {file} is truncated or altered (SHA-256 differs).{_offer(path)}"
            )
    return meta


def read_meta(path: Path) -> dict[str, Any]:
    """Read and check ``meta.json`` alone.

    Raises:
        CheckpointError: If it is missing, altered or of another schema version.
    """
    file = path / "meta.json"
    try:
        meta: dict[str, Any] = json.loads(file.read_text())
        claimed = meta.pop("meta_sha256")
        version = meta["schema_version"]
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"the checkpoint file {file} is missing, truncated or altered.{_offer(path)}"
        ) from error
    if claimed != json_hash(meta):
        raise CheckpointError(f"the checkpoint file {file} is altered (SHA-256 differs).{_offer(path)}")
    if version != SCHEMA_VERSION:
        raise CheckpointError(
            f"{file} has schema version {version}, but this hebm reads version {SCHEMA_VERSION}; use the hebm "
            f"that wrote it ({meta.get('hebm_version', 'unknown')})."
        )
    return meta


def read_tensors(path: Path, stem: str) -> dict[str, Tensor]:
    """Read one file of a checkpoint onto the CPU, checking its hash first.

    Raises:
        CheckpointError: If the file is missing, truncated or altered.
    """
    meta, file = read_meta(path), path / f"{stem}.safetensors"
    if not file.is_file() or file_hash(file) != meta["sha256"].get(file.name):
        raise CheckpointError(f"the checkpoint file {file} is missing, truncated or altered.{_offer(path)}")
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"the checkpoint file {file} cannot be read: {error}.{_offer(path)}") from error


def load_weights(model: Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Put a checkpoint's weights into a model, in place; all of them, and no others.

    Args:
        model: The model of the run's configuration.
        weights: What :func:`read_tensors` gave.
        path: The checkpoint, for the message.

    Raises:
        CheckpointError: If the model of this version has other weights than that of the version that wrote them.
    """
    own = {name: tensor.shape for name, tensor in model.state_dict().items()}
    theirs = {name: tensor.shape for name, tensor in weights.items()}
    if odd := sorted(name for name in own.keys() | theirs.keys() if own.get(name) != theirs.get(name)):
        writer = read_meta(path).get("hebm_version", "unknown")
        raise CheckpointError(
            f"the checkpoint {path} does not fit its configuration's model in this hebm: {len(odd)} weights are "
            f"missing, unknown or of another shape, such as {odd[0]}; use the hebm that wrote it ({writer}), "
            "or train it again."
        )
    model.load_state_dict(weights)


def newest_intact(directory: Path, *, every: int = 1, first: int = 0) -> tuple[Path | None, list[str]]:
    """Find the newest intact checkpoint among those at multiples of `every` steps after the step `first`.

    Returns:
        Its folder, or None; and what is wrong with each newer one that was passed over.
    """
    refused: list[str] = []
    for path in reversed(list_checkpoints(directory)):
        if (checkpoint_step(path) - first) % every:
            continue
        try:
            verify_checkpoint(path)
        except CheckpointError as error:
            refused.append(str(error))
            continue
        return path, refused
    return None, refused


def prune_checkpoints(directory: Path, *, keep: int, every: int, first: int = 0) -> None:
    """Delete all but the newest `keep` scheduled checkpoints (at multiples of `every` after the step `first`) and the
    newest of all."""
    paths = list_checkpoints(directory)
    scheduled = [path for path in paths if (checkpoint_step(path) - first) % every == 0]
    kept = {*scheduled[-keep:], *paths[-1:]}
    for path in paths:
        if path not in kept:
            shutil.rmtree(path)


def remove_leftovers(directory: Path) -> None:
    """Delete what an interrupted write left behind."""
    for path in [*directory.glob(".partial-*"), *directory.glob(".replaced-*")]:
        shutil.rmtree(path)


def _offer(path: Path) -> str:
    older = [p for p in list_checkpoints(path.parent) if p.name < path.name]
    for candidate in reversed(older):
        try:
            verify_checkpoint(candidate)
        except CheckpointError:
            continue
        return f" The previous one, {candidate.name}, is intact: use step {checkpoint_step(candidate)}."
    return " No older intact checkpoint is there."


def _replace_folder(partial: Path, final: Path) -> None:
    replaced = final.parent / f".replaced-{final.name}"
    shutil.rmtree(replaced, ignore_errors=True)
    if final.exists():
        final.rename(replaced)
    partial.rename(final)
    _sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_hash(value: Mapping[str, Any]) -> str:
    """SHA-256 of JSON-able values with sorted keys, hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
