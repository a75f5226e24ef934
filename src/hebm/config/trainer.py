"""Objective, optimisers, lengths and the guard."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from hebm.config.base import Config, Probability

__all__ = ["EnergyOptimizerConfig", "GuardConfig", "ObjectiveConfig", "OptimizerConfig", "TrainerConfig"]


class ObjectiveConfig(Config):
    """The joint objective."""

    kl_warmup_steps: NonNegativeInt = 0
    free_bits: tuple[NonNegativeFloat, ...] | NonNegativeFloat = 0.0
    """Nats per level, top first, that cost nothing; one number stands for all levels."""
    energy_l2: NonNegativeFloat = 0.0
    level_start_steps: tuple[NonNegativeInt, ...] = ()
    """Progressive learning: the step at which each level begins to enter the generator, top first, one of them 0;
    empty: all from the first step. Levels that enter late leave what is learned first to the others."""
    level_fade_steps: PositiveInt = 300
    """Steps over which the weight of such a level's latents rises from 0 to 1."""


class OptimizerConfig(Config):
    """One Adam."""

    lr: PositiveFloat = 1e-3
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    grad_clip: PositiveFloat | None = None
    """Largest norm of the gradient; null: no clipping."""


class EnergyOptimizerConfig(OptimizerConfig):
    """The energy's Adam: the same keys, a lower default rate."""

    lr: PositiveFloat = 1e-4


class GuardConfig(Config):
    """When training counts as diverged, and what is tried."""

    max_energy_gap: PositiveFloat = 100.0
    """Largest |mean energy of data-side latents - of prior samples| over a log interval, nats."""
    max_rollbacks: NonNegativeInt = 5
    energy_lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The energy's learning rate is multiplied by this at each rollback."""


def _precision(value: object) -> object:
    return str(value) if isinstance(value, int) else value


class TrainerConfig(Config):
    """The training loop."""

    max_epochs: PositiveInt = 10
    max_steps: PositiveInt | None = None
    """Stops earlier than `max_epochs` if set."""
    energy_only_steps: NonNegativeInt = 0
    """Further steps, in which generator and encoder rest at their averages and the prior alone learns."""
    energy_only_lr: PositiveFloat | None = None
    """The energy's learning rate in those steps; `energy.lr` if null."""
    energy_only_batch_size: PositiveInt | None = None
    """Latents per such step; `batch_size` if null."""
    finetune_steps: NonNegativeInt = 0
    """Steps after those in which generator, encoder and energy learn together; a fitted base stays as it is."""
    finetune_lr: PositiveFloat = 1e-4
    """Learning rate of generator and encoder in them; the energy's is `energy.lr`."""
    batch_size: PositiveInt = 100
    """Images per step over all processes together."""
    precision: Annotated[Literal["32", "bf16"], BeforeValidator(_precision)] = "32"
    """bf16: matrix products and convolutions of the nets in bfloat16; latents, energies and the bound in float32."""
    compile: bool = False
    """Compile generator and encoder (torch.compile; on a GPU captured in CUDA graphs). Needs a C++ compiler or Triton,
    and rounds differently."""
    autoencoder: OptimizerConfig = OptimizerConfig()
    """Generator and encoder."""
    energy: EnergyOptimizerConfig = EnergyOptimizerConfig()
    base: OptimizerConfig = OptimizerConfig(grad_clip=10.0)
    """A base, or a prior without energy, that learns by gradient."""
    lr_schedule: Literal["constant", "exponential", "cosine"] = "constant"
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """exponential: factor per epoch; cosine: factor reached at the end."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    checkpoint_every_steps: PositiveInt = 1000
    keep_checkpoints: PositiveInt = 2
    log_every_steps: PositiveInt = 50
    num_nodes: PositiveInt = 1
    guard: GuardConfig = GuardConfig()
