"""Training: loop, state, checkpoints and run directories."""

from hebm.training.detectors import StoredDetector, calibrate_run, load_detector
from hebm.training.loop import InterruptedTrainingError, check_run_directory, train
from hebm.training.run import Run, load

__all__ = [
    "InterruptedTrainingError",
    "Run",
    "StoredDetector",
    "calibrate_run",
    "check_run_directory",
    "load",
    "load_detector",
    "train",
]
