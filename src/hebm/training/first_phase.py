"""Nets that another run has trained: the first phase of a two-phase run, taken instead of repeated."""

from hebm.config import RunConfig
from hebm.errors import ConfigError, RunDirectoryError
from hebm.training.run import Run, changed_keys

__all__ = ["check_first_phase", "shares_first_phase"]

OF_THE_PRIOR = ("prior.", "sampler.", "trainer.energy", "trainer.base.", "trainer.finetune_")


def shares_first_phase(config: RunConfig) -> bool:
    """Whether the nets of a run are those of its Gaussian twin: they learn under N(0, I), its prior afterwards."""
    return config.prior.is_two_phase and config.prior.kind != "gaussian"


def check_first_phase(first: Run, config: RunConfig) -> None:
    """Refuse nets that are not those this configuration would train in its first phase.

    Raises:
        ConfigError: If the prior learns with the nets, so that there is no first phase.
        RunDirectoryError: If `first` is not a run with N(0, I) as its prior, or had other data, nets, steps or seed.
    """
    if not shares_first_phase(config):
        raise ConfigError(
            f"prior.kind={config.prior.kind} here learns with the nets from the first step, so the nets of another run "
            "cannot be taken; set prior.training=two_phase, or train it whole."
        )
    theirs = first.config()
    if theirs.prior.kind != "gaussian":
        raise RunDirectoryError(
            f"{first.directory} has the prior {theirs.prior.kind}; take the nets of a run with prior.kind=gaussian, "
            "such as the twin of a run trained with --twin."
        )
    if keys := [key for key in changed_keys(theirs, config) if not key.startswith(OF_THE_PRIOR)]:
        raise RunDirectoryError(
            f"the nets of {first.directory} were trained with other values of {', '.join(keys)}; give the same ones, "
            "or train the run whole."
        )
