"""The files of a run directory, as far as they are there."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hebm.errors import RunDirectoryError
from hebm.report.history import History, read_history

__all__ = ["Json", "RunFiles", "dig", "read_run"]

Json = dict[str, Any]


WITHOUT_ENERGY = ("gaussian", "full_gaussian", "mixture", "vamp", "flow", "top_down")


@dataclass(frozen=True)
class RunFiles:
    """What a run directory holds.

    Args:
        directory: Its path.
        config: ``config.yaml``.
        config_text: The same as it was written.
        environment: ``environment.json``, empty if missing.
        history: ``metrics.jsonl``.
        suites: ``evaluation/*.json`` by name.
        unreadable: Result files that are not valid.
        twin: The Gaussian twin's files, None if there is none.
    """

    directory: Path
    config: Json
    config_text: str
    environment: Json
    history: History
    suites: dict[str, Json]
    unreadable: tuple[str, ...]
    twin: "RunFiles | None"

    @property
    def shell_path(self) -> str:
        """The directory as a command line takes it."""
        return shlex.quote(str(self.directory))

    @property
    def prior_kind(self) -> str:
        """``gaussian``, ``joint`` or what the configuration says."""
        return str(dig(self.config, "prior", "kind") or "unknown")

    @property
    def has_energy(self) -> bool:
        """Whether the prior has an energy, and so chains."""
        return self.prior_kind not in WITHOUT_ENERGY

    @property
    def levels(self) -> list[Json]:
        """The levels of the configuration, top first."""
        levels = dig(self.config, "model", "levels")
        return [level for level in levels if isinstance(level, dict)] if isinstance(levels, list) else []

    def command(self, text: str) -> str:
        """A command with RUN replaced by this directory."""
        return text.replace("RUN", self.shell_path)

    def results(self, suite: str) -> Json:
        """The results of a suite, empty if it has not been run."""
        results = self.suites.get(suite, {}).get("results")
        return results if isinstance(results, dict) else {}


def read_run(directory: Path) -> RunFiles:
    """Read everything but the pictures.

    Raises:
        RunDirectoryError: If there is no readable ``config.yaml``.
    """
    text, config = _read_config(directory)
    suites, unreadable = _read_suites(directory / "evaluation")
    environment = _read_json(directory / "environment.json")
    has_twin = (directory / "twin" / "config.yaml").is_file()
    return RunFiles(
        directory=directory,
        config=config,
        config_text=text,
        environment=environment or {},
        history=read_history(directory / "metrics.jsonl", **_batch_sizes(config)),
        suites=suites,
        unreadable=tuple(unreadable),
        twin=read_run(directory / "twin") if has_twin else None,
    )


def _batch_sizes(config: Json) -> dict[str, int | None]:
    """Arguments of :func:`~hebm.report.history.read_history`; None for what is no number in a configuration."""
    sizes = {key: dig(config, "trainer", key) for key in ("batch_size", "energy_only_batch_size")}
    return {key: size if isinstance(size, int) else None for key, size in sizes.items()}


def dig(values: object, *keys: str) -> Any:
    """A nested value, None if any key on the way is missing."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _read_config(directory: Path) -> tuple[str, Json]:
    path = directory / "config.yaml"
    if not path.is_file():
        raise RunDirectoryError(
            f"{directory} is not a run directory (it has no config.yaml); give the --run-dir of a training."
        )
    text = path.read_text(encoding="utf-8")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RunDirectoryError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise RunDirectoryError(f"{path} must be a YAML mapping; it holds a {type(config).__name__}.")
    return text, config


def _read_suites(folder: Path) -> tuple[dict[str, Json], list[str]]:
    suites, unreadable = {}, []
    for path in sorted(folder.glob("*.json")):
        content = _read_json(path)
        if content is None or not isinstance(content.get("results"), dict):
            unreadable.append(path.stem)
        else:
            suites[path.stem] = content
    return suites, unreadable


def _read_json(path: Path) -> Json | None:
    """A JSON object; None if the file is missing or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
