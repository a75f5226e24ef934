"""Quantities that change with the step: learning rates, the weight of the rate, the averaging constant."""

import math
from dataclasses import dataclass
from typing import Literal

from hebm.config import TrainerConfig
from hebm.training.guard import energy_lr_factor

__all__ = [
    "Phases",
    "ema_decay_at",
    "kl_weight_at",
    "learning_rates",
    "level_weights_at",
    "lr_factor_at",
]


Phase = Literal["joint", "energy", "finetune"]


@dataclass(frozen=True)
class Phases:
    """How a run's steps are divided.

    Args:
        joint: Steps of generator and encoder, with the prior if it learns with them.
        energy: Steps of the prior alone.
        finetune: Steps of all together, after those.
    """

    joint: int
    energy: int = 0
    finetune: int = 0

    @property
    def n_steps(self) -> int:
        """All steps."""
        return self.joint + self.energy + self.finetune

    def at(self, step: int) -> tuple[Phase, int]:
        """Which phase the step with this number (from 0) belongs to, and its number within the phase."""
        if step < self.joint:
            return "joint", step
        if step < self.joint + self.energy:
            return "energy", step - self.joint
        return "finetune", step - self.joint - self.energy

    def length(self, phase: Phase) -> int:
        """Steps of one phase."""
        return {"joint": self.joint, "energy": self.energy, "finetune": self.finetune}[phase]


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


def level_weights_at(step: int, *, starts: tuple[int, ...], fade_steps: int) -> tuple[float, ...] | None:
    """Weights in [0, 1] of the levels' latents on their way into the generator, top first: rising linearly from 0
    at a level's start to 1 after `fade_steps`; 1 for a level that starts at 0. None once all are 1.

    Source: the fading-in of Li et al. (2020), arXiv:2002.10549.
    """
    weights = tuple(min(1.0, max(0.0, (step - start) / fade_steps)) if start > 0 else 1.0 for start in starts)
    return weights if weights and min(weights) < 1 else None


def ema_decay_at(step: int, *, decay: float) -> float:
    """Averaging constant min(decay, (1 + step) / (10 + step)), so that early averages forget the initial weights."""
    return min(decay, (1 + step) / (10 + step))


def learning_rates(
    trainer: TrainerConfig, step: int, *, phases: Phases, steps_per_epoch: int, rollbacks: int
) -> dict[str, float]:
    """Learning rates of ``autoencoder``, ``energy`` and ``base`` at a step.

    Every phase runs through the schedule once; every rollback lowers the prior's rates.
    """
    phase, step_in_phase = phases.at(step)
    factor = lr_factor_at(
        step_in_phase,
        kind=trainer.lr_schedule,
        decay=trainer.lr_decay,
        n_steps=phases.length(phase),
        steps_per_epoch=steps_per_epoch,
    )
    nets = {"joint": trainer.autoencoder.lr, "energy": 0.0, "finetune": trainer.finetune_lr}[phase]
    energy = (trainer.energy_only_lr if phase == "energy" else None) or trainer.energy.lr
    return {
        "autoencoder": nets * factor,
        "energy": energy * factor * energy_lr_factor(rollbacks, trainer.guard),
        "base": trainer.base.lr * factor * energy_lr_factor(rollbacks, trainer.guard),
    }
