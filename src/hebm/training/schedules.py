"""Quantities that change with the step: learning rates, the weight of the rate, the averaging constant."""

import math

__all__ = ["ema_decay_at", "kl_weight_at", "lr_factor_at"]


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
