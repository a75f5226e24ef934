"""Quantities that change with the step: learning rates, the weight of the rate, the averaging constant."""

import math

from hebm.config import TrainerConfig
from hebm.training.guard import energy_lr_factor

__all__ = ["ema_decay_at", "kl_weight_at", "learning_rates", "lr_factor_at"]


def lr_factor_at(step: int, *, kind: str, decay: float, n_steps: int, steps_per_epoch: int) -> float:
    r"""Factor on the learning rates at a step.

    ``constant``: 1. ``exponential``: decay^epoch, epochs counted whole, as in the released code. ``cosine``:
    :math:`d + (1 - d)\tfrac12[1 + \cos(\pi t / T)]`, from 1 to the decay d at the last step.
    """
    match kind:
        case "constant":
            return 1.0
        case "exponential":
            return decay ** (step // steps_per_epoch)
        case "cosine":
            return decay + (1 - decay) * 0.5 * (1 + math.cos(math.pi * min(step / n_steps, 1.0)))
    raise ValueError(f"learning-rate schedule {kind!r} is unknown; choose constant, exponential or cosine.")


def kl_weight_at(step: int, *, warmup_steps: int) -> float:
    """Weight of rate and energy in the bound: rises linearly from 1/warmup to 1; 1 without warm-up."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps > 0 else 1.0


def ema_decay_at(step: int, *, decay: float) -> float:
    """Averaging constant min(decay, (1 + step) / (10 + step)), so that early averages forget the initial weights."""
    return min(decay, (1 + step) / (10 + step))


def learning_rates(
    trainer: TrainerConfig, step: int, *, n_joint_steps: int, steps_per_epoch: int, rollbacks: int
) -> dict[str, float]:
    """Learning rates of ``autoencoder``, ``energy`` and ``base`` at a step.

    Joint steps and energy-only steps run through the schedule once each; every rollback lowers the prior's rates.
    """
    alone = step >= n_joint_steps
    factor = lr_factor_at(
        step - n_joint_steps if alone else step,
        kind=trainer.lr_schedule,
        decay=trainer.lr_decay,
        n_steps=trainer.energy_only_steps if alone else n_joint_steps,
        steps_per_epoch=steps_per_epoch,
    )
    energy = (trainer.energy_only_lr if alone else None) or trainer.energy.lr
    return {
        "autoencoder": 0.0 if alone else trainer.autoencoder.lr * factor,
        "energy": energy * factor * energy_lr_factor(rollbacks, trainer.guard),
        "base": trainer.base.lr * factor * energy_lr_factor(rollbacks, trainer.guard),
    }
