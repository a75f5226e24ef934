"""Reading released checkpoint files: tensors and plain numbers only, never pickled code.

A file holds ``netG`` (generator), ``netI`` (encoder) and ``netE`` (energy), beside optimiser states and the epoch,
or one network's weights alone; several files may make up one checkpoint.
"""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hebm.errors import CheckpointError, NonFiniteError

__all__ = ["ReleasedWeights", "read_released"]

_NETWORKS = {"netG": "generator", "netI": "encoder", "netE": "energy"}
_FIRST_WORDS = {"gen": "netG", "latent": "netG", "ladder": "netI", "inference": "netI", "energy": "netE"}


class ReleasedWeights(NamedTuple):
    """The three networks' weights by released name, and the epoch, None where the files do not say."""

    generator: dict[str, Tensor]
    encoder: dict[str, Tensor]
    energy: dict[str, Tensor]
    epoch: int | None


def read_released(files: Sequence[Path]) -> ReleasedWeights:
    """Read the networks from one file or several.

    Raises:
        CheckpointError: If a file is missing, damaged or holds more than tensors and plain values; if a network is
            missing, or there twice.
        NonFiniteError: If a weight is not finite.
    """
    networks: dict[str, dict[str, Tensor]] = {}
    epoch = None
    for path in files:
        content = _load(path)
        for name, weights in _networks(content, path).items():
            if name in networks:
                raise CheckpointError(f"{path} holds {name} once more; give each network once.")
            networks[name] = _checked(weights, name, path)
        epoch = content.get("epoch", epoch)
    if missing := [f"{name} ({what})" for name, what in _NETWORKS.items() if name not in networks]:
        raise CheckpointError(
            f"{' and '.join(missing)} are in none of the files; give those that hold them, too."
        )
    number = epoch if isinstance(epoch, int) else None
    return ReleasedWeights(networks["netG"], networks["netI"], networks["netE"], number)


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}; check the path.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is no PyTorch file, or holds more than tensors and plain values; nothing in it was executed. "
            "Save the networks' state_dicts instead."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path} is truncated or no PyTorch file ({type(error).__name__}).") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, but a dict of networks is expected.")
    return content


def _networks(content: Mapping[str, Any], path: Path) -> dict[str, Mapping[str, Any]]:
    """The networks in one file: under their own names, or the weights of one network as they are."""
    found = {name: content[name] for name in _NETWORKS if isinstance(content.get(name), Mapping)}
    if found:
        return found
    names = {
        network
        for key in content
        for word, network in _FIRST_WORDS.items()
        if str(key).removeprefix("module.").startswith(word)
    }
    if len(names) != 1:
        raise CheckpointError(
            f"{path} holds neither {', '.join(_NETWORKS)} nor the weights of one of them; its keys are "
            f"{', '.join(map(str, list(content)[:5])) or 'none'}."
        )
    return {names.pop(): content}


def _checked(weights: Mapping[str, Any], name: str, path: Path) -> dict[str, Tensor]:
    """Weights under their plain names, all of them finite tensors."""
    checked: dict[str, Tensor] = {}
    for key, value in weights.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path}: {name}.{key} is a {type(value).__name__}, but a tensor is expected."
            )
        if not torch.isfinite(value).all():
            raise NonFiniteError(f"{path}: {name}.{key} is not finite; its training had diverged.")
        checked[str(key).removeprefix("module.")] = value
    return checked
