"""``key.path=value`` texts applied to nested values."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from hebm.errors import ConfigError

__all__ = ["overridden"]


def overridden(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A copy of nested values with overrides applied; values are read as YAML, list items by number.

    Raises:
        ConfigError: If an override has no value or does not fit.
    """
    result: dict[str, Any] = json.loads(json.dumps(values, default=str))
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"the override {text!r} has no value; write {text}=VALUE.")
        try:
            _assign(result, key.strip().split("."), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of the override {text!r} is not valid YAML; quote it.") from error
    return result


def _assign(values: dict[str, Any], parts: list[str], value: object) -> None:
    target: Any = values
    for part in parts[:-1]:
        if isinstance(target, list):
            target = target[_list_index(target, part, parts)]
        else:
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
        if not isinstance(target, dict | list):
            raise ConfigError(f"{'.'.join(parts)} does not exist: {part} is a single value; set it directly.")
    if isinstance(target, list):
        target[_list_index(target, parts[-1], parts)] = value
    else:
        target[parts[-1]] = value


def _list_index(target: list[Any], part: str, parts: list[str]) -> int:
    if not part.isdecimal() or int(part) >= len(target):
        raise ConfigError(
            f"{'.'.join(parts)} does not exist: choose an item from 0 to {len(target) - 1}, not {part}."
        )
    return int(part)
