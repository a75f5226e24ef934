"""When training counts as diverged: a non-finite number, or an energy gap that explodes."""

import math
from collections.abc import Mapping

from hebm.config import GuardConfig
from hebm.errors import DivergenceError

__all__ = ["check_divergence", "energy_lr_factor", "require_another_try"]


def check_divergence(means: Mapping[str, float | list[float]], guard: GuardConfig) -> str | None:
    """Say what is wrong with the means of a log interval, or None if nothing is."""
    for name, value in means.items():
        values = value if isinstance(value, list) else [value]
        if not all(math.isfinite(v) for v in values):
            return f"{name} is not finite"
    if "energy_data" in means:
        data, prior = means["energy_data"], means["energy_prior"]
        assert isinstance(data, float)
        assert isinstance(prior, float)
        if abs(data - prior) > guard.max_energy_gap:
            return f"the energy gap {data - prior:.4g} exceeds trainer.guard.max_energy_gap = {guard.max_energy_gap:g}"
    return None


def energy_lr_factor(rollbacks: int, guard: GuardConfig) -> float:
    """What the energy's learning rate is multiplied by after so many rollbacks."""
    return guard.energy_lr_factor**rollbacks


def require_another_try(rollbacks: int, reason: str, step: int, guard: GuardConfig) -> None:
    """Give up if all tries are spent.

    Raises:
        DivergenceError: Naming the step, the quantity, and what to change.
    """
    if rollbacks >= guard.max_rollbacks:
        raise DivergenceError(
            f"training diverged at step {step} ({reason}) and {rollbacks} rollbacks with a lower energy learning rate "
            "did not help; lower trainer.energy.lr or sampler.step_size, raise sampler.n_steps, bound the energy "
            "(prior.lipschitz=1), or add objective.energy_l2=0.01."
        )
