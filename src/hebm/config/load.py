"""Presets and YAML files to configurations."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import yaml

from hebm.config.explain import nearest, validated
from hebm.config.overrides import overridden
from hebm.config.run import RunConfig
from hebm.errors import ConfigError

__all__ = ["load_config", "preset_names", "preset_text"]


def preset_names() -> list[str]:
    """Names of the presets shipped with the package."""
    return sorted(
        p.name.removesuffix(".yaml") for p in files("hebm.presets").iterdir() if p.name.endswith(".yaml")
    )


def preset_text(name: str) -> str:
    """YAML text of a preset.

    Raises:
        ConfigError: If there is no such preset, naming the nearest.
    """
    if name not in preset_names():
        raise ConfigError(f"{name!r} is neither a preset nor a file.{nearest(name, preset_names())}")
    return (files("hebm.presets") / f"{name}.yaml").read_text(encoding="utf-8")


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a preset or a YAML file and apply overrides.

    Args:
        source: Name of a preset, or path of a YAML file.
        overrides: ``key.path=value`` texts; values are read as YAML; list items by number
            (``model.levels.0.latents=8``).

    Raises:
        ConfigError: If a key is unknown (the nearest known one is named) or a value is wrong.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"the configuration file {path} does not exist; check the path.")
        text = path.read_text(encoding="utf-8")
    else:
        text = preset_text(str(source))
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source} must be a YAML mapping with the keys {', '.join(RunConfig.model_fields)}."
        )
    return validated(RunConfig, overridden(values, overrides), str(source))
