"""Training: loop, state, checkpoints and run directories."""

from hebm.training.detectors import StoredDetector, calibrate_run, load_detector
from hebm.training.first_phase import shares_first_phase
from hebm.training.loop import InterruptedTrainingError, train
from hebm.training.run import Run, load
from hebm.training.run_directory import check_run_directory, twin_config

__all__ = [
    "InterruptedTrainingError",
    "Run",
    "StoredDetector",
    "calibrate_run",
    "check_run_directory",
    "load",
    "load_detector",
    "shares_first_phase",
    "train",
    "twin_config",
]
