"""A run small enough for tests: 1,437 digits of 8×8, two levels, a few chain steps."""

from hebm.config import RunConfig, load_config

__all__ = ["OVERRIDES", "tiny_config"]

OVERRIDES = [
    "model.levels=[{latents: 3, channels: 16}, {latents: 2, channels: 8}]",
    "prior.kind=joint",
    "prior.base=standard",
    "prior.width=16",
    "sampler.n_steps=5",
    "objective.kl_warmup_steps=0",
    "trainer.energy_only_steps=0",
    "trainer.energy.lr=1e-4",
    "trainer.lr_schedule=constant",
    "trainer.ema_decay=0.999",
    "trainer.batch_size=20",
    "trainer.max_steps=30",
    "trainer.checkpoint_every_steps=10",
    "trainer.log_every_steps=5",
    "data.limit=200",
]


def tiny_config(*overrides: str) -> RunConfig:
    """The tiny run's configuration, with further overrides."""
    return load_config("digits", [*OVERRIDES, *overrides])
