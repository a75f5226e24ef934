"""From released files to a run directory that every command accepts."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from hebm.build import build_model
from hebm.config import RunConfig
from hebm.errors import CheckpointError
from hebm.files import write_atomically
from hebm.models import JointModel
from hebm.released.files import ReleasedWeights, read_released
from hebm.released.layout import ReleasedLayout, released_config
from hebm.released.names import encoder_state, energy_state, generator_state
from hebm.training import Run, check_run_directory
from hebm.training.checkpoint import write_checkpoint
from hebm.training.environment import describe_environment, package_version
from hebm.training.state import TrainingState

__all__ = ["import_official", "load_weights"]


def import_official(files: Sequence[Path], run_dir: Path, overrides: Sequence[str] = ()) -> Run:
    """Write released weights as a run directory.

    Its checkpoint stands at step 0: optimisers and schedules start anew if the run is continued, and no moving
    average was released, so the averaged weights are the weights.

    Args:
        files: The released files.
        run_dir: Where; must be empty or new.
        overrides: ``key.path=value`` texts for what no weight tells, such as ``sampler.n_steps``.

    Raises:
        CheckpointError: If the files are not the released networks; nothing is written.
        ConfigError: If an override is wrong; nothing is written.
        RunDirectoryError: If the directory holds something; nothing is written.
    """
    weights = read_released(files)
    layout = ReleasedLayout.of(weights)
    config = released_config(layout, list(overrides))
    run = Run(run_dir)
    check_run_directory(run, config, resume=False)
    model = build_model(config)
    load_weights(model, weights, layout)
    state = TrainingState(config, model)
    meta = {
        **state.counters(),
        "hebm_version": package_version(),
        "config_hash": config.hash(),
        "metrics_bytes": 0,
    }
    write_checkpoint(run.checkpoints, 0, state.tensors(), meta)
    _describe(run, config, files, weights.epoch)
    return run


def load_weights(model: JointModel, weights: ReleasedWeights, layout: ReleasedLayout) -> None:
    """Put released weights into a model of ours.

    Raises:
        CheckpointError: If a weight is missing or unknown, or has another shape than the configuration says.
    """
    energy = model.prior.energy
    if energy is None:
        raise CheckpointError("the released networks have an energy; leave prior.kind as it is.")
    parts: list[tuple[str, nn.Module, dict[str, Tensor]]] = [
        ("netG", model.generator, generator_state(weights.generator, layout)),
        ("netI", model.encoder, encoder_state(weights.encoder, layout)),
        ("netE", energy, energy_state(weights.energy, layout)),
    ]
    for name, module, state in parts:
        shapes = {key: value.shape for key, value in module.state_dict().items()}
        for key in shapes.keys() | state.keys():
            if key not in shapes or key not in state or shapes[key] != state[key].shape:
                raise CheckpointError(
                    f"{name}: {key} has the shape {_shape(state, key)} in the files, but {_shape(shapes, key)} in the "
                    "configuration; only the released 4- and 5-level forms can be imported."
                )
        module.load_state_dict(state)


def _shape(values: dict[str, Tensor] | dict[str, torch.Size], key: str) -> str:
    value = values.get(key)
    if value is None:
        return "(missing)"
    return str(list(value.shape if isinstance(value, Tensor) else value))


def _describe(run: Run, config: RunConfig, files: Sequence[Path], epoch: int | None) -> None:
    """What the directory says of itself; the configuration, by which it is known as a run, comes last."""
    environment = {
        **describe_environment(torch.device("cpu"), 1),
        "imported_from": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
        "imported_epoch": epoch,
    }
    write_atomically(run.directory / "environment.json", f"{json.dumps(environment, indent=1)}\n".encode())
    write_atomically(run.directory / "config.yaml", config.to_yaml().encode())
