"""Training, from a configuration to a run directory, resumable to the same bits."""

from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from hebm.allocator import keep_freed_memory
from hebm.build import build_images
from hebm.build_prior import images_needed
from hebm.config import RunConfig
from hebm.data import ResidentImages
from hebm.detection import build_score
from hebm.errors import DataError
from hebm.training.devices import deterministic_kernels, make_fabric
from hebm.training.first_phase import check_first_phase
from hebm.training.run import Run
from hebm.training.run_directory import check_run_directory
from hebm.training.session import InterruptedTrainingError, Progress, Session

__all__ = ["InterruptedTrainingError", "Progress", "train"]


def train(
    config: RunConfig,
    run_dir: str | Path,
    *,
    resume: bool = False,
    nets_of: Run | None = None,
    device: str = "auto",
    devices: int = 1,
    progress: Progress | None = None,
) -> Run:
    """Train a model and keep everything in a run directory.

    On a CPU the process keeps the memory that it frees from then on (:func:`~hebm.allocator.keep_freed_memory`).

    Args:
        config: What to train.
        run_dir: Where; must be empty or new, unless `resume` is set.
        resume: Continue the newest intact checkpoint there; start the run where there is none.
        nets_of: A finished run with ``prior.kind=gaussian`` and otherwise the same data, nets, steps and seed, such as
            the Gaussian twin. A run that learns its prior in a second phase takes over its nets and ends in the same
            bits as if it had trained them. Where there is a checkpoint to continue, that one goes on.
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
        devices: Processes, one per device, sharing each batch. Under ``torchrun`` or SLURM their numbers count.
        progress: Called with every log record and with events, on the first process.

    Returns:
        The run.

    Raises:
        RunDirectoryError: If the directory holds something else, or `nets_of` are not this run's; nothing is written.
        ConfigError: If the configured anomaly score is unknown, a prior that learns with its nets was to take
            others, or the run ends before all levels have entered the generator; nothing is written.
        DataError: If the images are missing or unreadable; nothing is written.
        DivergenceError: If training diverged in spite of all rollbacks.
        InterruptedTrainingError: If a signal stopped it; a checkpoint has been written.
    """
    run = Run(Path(run_dir))
    build_score(config.detection.score)
    if nets_of is not None:
        check_first_phase(nets_of, config)
    fabric = make_fabric(config, device=device, devices=devices)
    if fabric.is_global_zero:
        check_run_directory(run, config, resume=resume)
    if fabric.device.type == "cpu":
        keep_freed_memory()
    images = _load_images(config, fabric)
    with deterministic_kernels(fabric.device):
        session = Session(config, run, fabric, ResidentImages(images, fabric.device), progress)
        session.begin(resume=resume, nets_of=nets_of)
        session.advance()
        if config.detection.calibrate_after_training and fabric.is_global_zero:
            session.calibrate()
    fabric.barrier()
    return run


def _load_images(config: RunConfig, fabric: Fabric) -> Any:
    """The training images; the first process of a machine loads first, so that one alone downloads."""
    with fabric.rank_zero_first(local=True):
        images = build_images(config, config.data.split)
    if len(images) < config.trainer.batch_size:
        raise DataError(
            f"{config.data.name} has {len(images)} training images, fewer than one batch of "
            f"{config.trainer.batch_size}; lower trainer.batch_size."
        )
    if len(images) < (needed := images_needed(config.prior)):
        raise DataError(
            f"{config.data.name} has {len(images)} training images, but {needed} are needed to fit a prior with "
            f"prior.n_components={list(config.prior.n_components)}; lower it, or take more images."
        )
    return images
