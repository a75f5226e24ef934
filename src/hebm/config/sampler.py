"""How prior samples are drawn."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from hebm.config.base import Config, Probability

__all__ = ["SamplerConfig"]


class SamplerConfig(Config):
    """Chains on the prior."""

    kind: Literal["auto", "langevin", "metropolis", "independence"] = "auto"
    """langevin: unadjusted, in white coordinates where the base has them. metropolis: MALA. independence: proposals
    from a learned base. auto: independence on a mixture or vamp base, langevin on the others."""
    n_steps: NonNegativeInt = 60
    """K; per noise level for a recovery prior."""
    sampling_steps: NonNegativeInt | None = None
    """K when sampling, where it should differ from training; `n_steps` if null."""
    step_size: PositiveFloat = 0.08
    """eta, squared latent units; the paper's s = 0.4."""
    temperature: NonNegativeFloat = 1.0
    path: Literal["auto", "reference", "fused", "triton"] = "auto"
    """Which code runs langevin chains: reference is the definition, fused agrees with it up to rounding, triton (GPU)
    in law. auto: the fastest that can run the chain's target. metropolis chains have no fused form: there it is the
    reference."""
    n_chains: PositiveInt = 1000
    """Size of the pool of persistent chains (prior.kind=persistent); sampling starts from the base all the same."""
    restart_probability: Probability = 0.01
    """Chance per update that a persistent chain starts afresh."""

    @property
    def n_sampling_steps(self) -> int:
        """K when sampling."""
        return self.n_steps if self.sampling_steps is None else self.sampling_steps
