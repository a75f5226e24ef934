"""Training: loop, state, checkpoints and run directories."""

from hebm.training.loop import InterruptedTrainingError, check_run_directory, train
from hebm.training.run import Run, load

__all__ = ["InterruptedTrainingError", "Run", "check_run_directory", "load", "train"]
