"""``hebm train``."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from hebm.cli.options import DeviceOption
from hebm.cli.output import say
from hebm.cli.progress import TrainingProgress
from hebm.config import RunConfig, load_config
from hebm.training import (
    Run,
    check_run_directory,
    shares_first_phase,
    train,
    twin_config,
)

__all__ = ["train_run"]


def train_run(
    preset: Annotated[str, typer.Argument(help="Preset (see `hebm presets`) or YAML file.")],
    run_dir: Annotated[
        Path | None, typer.Option(help="Where to keep the run; runs/PRESET by default.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a key; may be repeated.")
    ] = None,
    device: DeviceOption = "auto",
    devices: Annotated[int, typer.Option(min=1, help="Processes, one per device.")] = 1,
    precision: Annotated[str | None, typer.Option(help="32 or bf16.")] = None,
    max_steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many steps.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue where the run directory stands.")
    ] = False,
    twin: Annotated[
        bool, typer.Option("--twin", help="Also train the Gaussian twin (energy off) in RUN_DIR/twin.")
    ] = False,
    nets_of: Annotated[
        Path | None,
        typer.Option(
            help="Take the nets of this run, trained with prior.kind=gaussian; learn the prior alone."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")
    ] = False,
) -> None:
    """Train a model."""
    config = load_config(preset, _overrides(settings, precision, max_steps))
    if dry_run:
        say(config.to_yaml().rstrip())
        return
    directory = run_dir or Path("runs") / Path(preset).stem
    run, beside = Run(directory), Run(directory / "twin")
    nets = None if nets_of is None else Run(nets_of)
    check_run_directory(run, config, resume=resume)
    if twin:
        check_run_directory(beside, twin_config(config), resume=resume)
    options = {"resume": resume, "device": device, "devices": devices}
    if twin and nets is None and shares_first_phase(config):
        _train_one(twin_config(config), beside, None, **options)
        _train_one(config, run, beside, **options)
        return
    _train_one(config, run, nets, **options)
    if twin:
        _train_one(twin_config(config), beside, None, **options)


def _train_one(config: RunConfig, run: Run, nets: Run | None, **options: Any) -> None:
    if os.environ.get("LOCAL_RANK", "0") == "0":
        say(f"training {config.data.name}, prior {config.prior.kind}, in {run.directory}")
    with TrainingProgress() as progress:
        train(config, run.directory, nets_of=nets, progress=progress, **options)


def _overrides(settings: list[str] | None, precision: str | None, max_steps: int | None) -> list[str]:
    overrides = list(settings or [])
    if precision is not None:
        overrides.append(f"trainer.precision={precision}")
    if max_steps is not None:
        overrides.append(f"trainer.max_steps={max_steps}")
    return overrides
