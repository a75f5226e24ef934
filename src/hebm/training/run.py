"""A run directory: where a run's configuration, metrics, checkpoints and results are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hebm.build import build_model
from hebm.config import RunConfig
from hebm.errors import CheckpointError, RunDirectoryError
from hebm.models import JointModel
from hebm.training.checkpoint import (
    list_checkpoints,
    load_weights,
    read_tensors,
    verify_checkpoint,
)

__all__ = ["Run", "changed_keys", "load"]

FREE_TO_CHANGE = {"description", "trainer.keep_checkpoints", "data.path", "data.download"}
LENGTH = {"trainer.max_epochs", "trainer.max_steps"}


@dataclass(frozen=True)
class Run:
    """One run directory; nothing is read before it is asked for.

    Args:
        directory: Its path.
    """

    directory: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.directory / "checkpoints"

    @property
    def metrics_file(self) -> Path:
        """Lines of JSON, one per log step."""
        return self.directory / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Folder of the pictures."""
        return self.directory / "samples"

    @property
    def evaluation(self) -> Path:
        """Folder of the result files."""
        return self.directory / "evaluation"

    @property
    def report_file(self) -> Path:
        """The report, one self-contained page."""
        return self.directory / "report.html"

    @property
    def twin(self) -> "Run | None":
        """The run of the Gaussian twin, trained beside this one with ``--twin``; None if there is none."""
        run = Run(self.directory / "twin")
        return run if run.exists() else None

    def exists(self) -> bool:
        """Whether a run has been started here."""
        return (self.directory / "config.yaml").is_file()

    def config(self) -> RunConfig:
        """The resolved configuration.

        Raises:
            RunDirectoryError: If this is not a run directory.
        """
        if not self.exists():
            raise RunDirectoryError(
                f"{self.directory} is not a run directory (it has no config.yaml); give the --run-dir of a training."
            )
        values = yaml.safe_load((self.directory / "config.yaml").read_text(encoding="utf-8"))
        return RunConfig.model_validate(values)

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of ``metrics.jsonl``."""
        if not self.metrics_file.is_file():
            return []
        return [json.loads(line) for line in self.metrics_file.read_text().splitlines() if line.endswith("}")]

    def checkpoint(self, step: int | None = None) -> Path:
        """The checkpoint of a step, the newest by default, checked by hash.

        Raises:
            RunDirectoryError: If there is none.
            CheckpointError: If it is damaged; the newest intact one is named.
        """
        self.config()
        paths = list_checkpoints(self.checkpoints)
        if step is not None:
            paths = [path for path in paths if path.name == f"step-{step:08d}"]
        if not paths:
            there = ", ".join(p.name for p in list_checkpoints(self.checkpoints)) or "none"
            which = "" if step is None else f" of step {step}"
            raise RunDirectoryError(
                f"{self.directory} has no checkpoint{which} (there: {there}); train it first."
            )
        verify_checkpoint(paths[-1])
        return paths[-1]

    def model(self, *, step: int | None = None, weights: str = "ema") -> JointModel:
        """The trained model in eval mode.

        Args:
            step: Step of the checkpoint; the newest if None.
            weights: ``ema`` for the averaged weights, ``model`` for the last ones.
        """
        path = self.checkpoint(step)
        model = build_model(self.config())
        load_weights(model, read_tensors(path, weights), path)
        return model.eval().requires_grad_(False)


def load(run_dir: str | Path, *, step: int | None = None, weights: str = "ema") -> JointModel:
    """Load the trained model of a run directory: averaged weights, eval mode, on the CPU.

    Args:
        run_dir: The run directory.
        step: Step of the checkpoint; the newest if None.
        weights: ``ema`` or ``model`` (the weights as last updated).

    Raises:
        RunDirectoryError: If this is not a run directory, or it has no such checkpoint.
        CheckpointError: If the checkpoint is damaged; the newest intact one is named.
    """
    if weights not in ("ema", "model"):
        raise CheckpointError(f"weights {weights!r} are unknown; choose 'ema' or 'model'.")
    return Run(Path(run_dir)).model(step=step, weights=weights)


def changed_keys(old: RunConfig, new: RunConfig) -> list[str]:
    """Keys whose change would make a resumed run another run.

    The length may change where nothing before the end depends on it: no cosine schedule, no second phase.
    """
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    differing = {key for key in differing if not key.startswith(("detection.", "evaluation."))}
    second_phase = new.trainer.energy_only_steps > 0 or new.prior.is_two_phase
    open_ended = new.trainer.lr_schedule != "cosine" and not second_phase
    return sorted(differing - FREE_TO_CHANGE - (LENGTH if open_ended else set()))


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
