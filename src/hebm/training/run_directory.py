"""What a training may write into: nothing that is there is lost."""

from hebm.config import RunConfig
from hebm.errors import RunDirectoryError
from hebm.training.run import Run, changed_keys

__all__ = ["check_run_directory", "twin_config"]


def twin_config(config: RunConfig) -> RunConfig:
    """The Gaussian twin's configuration: the energy off."""
    return config.with_overrides(["prior.kind=gaussian"])


def check_run_directory(run: Run, config: RunConfig, *, resume: bool) -> None:
    """Refuse a directory that training would damage, before any work is done; its own twin may be there.

    Raises:
        RunDirectoryError: If the directory is not empty and `resume` is not set, or if it holds a run, or a twin,
            with another configuration.
    """
    if run.directory.exists() and not run.directory.is_dir():
        raise RunDirectoryError(f"{run.directory} is a file; choose another --run-dir.")
    if run.twin is not None:
        _check_keys(run.twin, twin_config(config))
    if not run.directory.exists() or not any(path.name != "twin" for path in run.directory.iterdir()):
        return
    if not resume:
        raise RunDirectoryError(
            f"the run directory {run.directory} is not empty; choose another --run-dir, or continue it with --resume."
        )
    if run.exists():
        _check_keys(run, config)


def _check_keys(run: Run, config: RunConfig) -> None:
    if keys := changed_keys(run.config(), config):
        raise RunDirectoryError(
            f"{run.directory} was started with other values of {', '.join(keys)}; resume it with its own "
            f"configuration, {run.directory / 'config.yaml'}, or choose another --run-dir."
        )
