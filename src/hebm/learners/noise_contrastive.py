r"""Staged noise-contrastive estimation: each stage is a classifier between data side and the stage before.

.. math:: p_m(z) = e^{-E_m(z) + c_m} p_{m-1}(z), \qquad -E_m + c_m = \log q - \log p_{m-1} \text{ at the optimum}

No chain runs in the first stage: the noise is exact draws of the base. Every stage is normalised by itself at its
optimum; how far it is from that, importance weights tell.
"""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.learners.posterior import PosteriorLatents
from hebm.learners.updates import descend
from hebm.objectives import noise_contrastive_loss
from hebm.priors import FrozenJointDensity, JointPrior, StagedEnergy
from hebm.samplers import MALA, MALA_ACCEPTANCE, PersistentPool, adapt_step_size, evaluate_state

__all__ = ["NoiseContrastiveLearner"]

EQUILIBRATION_STEPS = 30
REFRESH_STEPS = 2
FIRST_STEP_SIZE = 0.02  # squared latent units; tuned while a pool equilibrates


class NoiseContrastiveLearner:
    """Learns the stages of an energy in turn; a stage's noise is a pool of draws of the stages before it.

    The pool starts from the pool (or base draws) of the stage before, resampled by the weights of the stage just
    learned and moved by Metropolis-adjusted steps; what a batch takes from it is moved further first.

    Args:
        prior: A base tilted by a staged energy.
        optimizer: Over the energy's parameters.
        stream: Source of the noise.
        steps_per_stage: After so many steps the next stage begins.
        max_norm: Bound on the gradient's norm.
        n_pool: Size of the pool.

    Source: Xiao and Han (2022), arXiv:2209.08739, for the stages; Del Moral et al. (2006) for resampling and moving.
    """

    def __init__(
        self,
        prior: JointPrior,
        optimizer: Optimizer,
        stream: torch.Generator,
        *,
        steps_per_stage: int,
        max_norm: float | None = None,
        n_pool: int = 20_000,
    ) -> None:
        assert isinstance(prior.energy, StagedEnergy)
        self.prior, self.staged, self.stream = prior, prior.energy, stream
        self.optimizers: dict[str, Optimizer] = {"energy": optimizer}
        self.steps_per_stage, self.max_norm, self.n_pool = steps_per_stage, max_norm, n_pool
        self.n_taken = 0
        self.pool: PersistentPool | None = None
        self.step_size = FIRST_STEP_SIZE

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Give every stage that has not learned yet the units of the latents."""
        flat = posterior.sample(generator=generator)
        for stage in self.staged.stages[int(self.staged.n_active) :]:
            stage.standardise_(flat)  # type: ignore[operator]
        self.n_taken = 0
        return {}

    def step(self, latents: Latents) -> dict[str, Tensor]:
        """One step of the current stage."""
        stage = min(self.n_taken // self.steps_per_stage, len(self.staged.stages) - 1)
        if int(self.staged.n_active) < stage + 1:
            self._begin(stage, latents)
        noise = self._noise(stage, latents)
        both = tuple(torch.cat(pair) for pair in zip(latents, noise, strict=True))
        energy_data, energy_noise = self.staged.stage(stage, both).chunk(2)
        loss = noise_contrastive_loss(energy_data, energy_noise).mean()
        norm = descend(loss, self.optimizers["energy"], max_norm=self.max_norm)
        self.n_taken += 1
        return {
            "energy_data": energy_data.mean(),
            "energy_prior": energy_noise.mean(),
            "loss_nce": loss.detach(),
            "grad_norm_energy": norm,
        }

    @torch.no_grad()
    def _begin(self, stage: int, like: Latents) -> None:
        if stage > 0:
            self.pool = PersistentPool(self._levels(self._pool_of(stage, like)))
        self.staged.n_active.fill_(stage + 1)

    def _levels(self, flat: Tensor) -> Latents:
        return unflatten_latents(flat, self.prior.level_dims)

    def _pool_of(self, stage: int, like: Latents) -> Tensor:
        """Draws of the density after the first `stage` stages, [n_pool, D]."""
        if self.pool is None:
            start = self.prior.sample_base(self.n_pool, like=like[0], generator=self.stream)
            flat = flatten_latents(start)
        else:
            flat = self.pool.state
        last = self.staged.frozen(stage)(flat) - self.staged.frozen(stage - 1)(flat)
        rows = torch.multinomial((-last).softmax(0), len(flat), replacement=True, generator=self.stream)
        density = self._stage_density(stage)
        adapted = adapt_step_size(
            MALA(FIRST_STEP_SIZE),
            density,
            evaluate_state(density, (flat[rows],)),
            n_steps=EQUILIBRATION_STEPS,
            initial_step_size=FIRST_STEP_SIZE,
            target_acceptance=MALA_ACCEPTANCE,
            generator=self.stream,
        )
        self.step_size = adapted.step_size
        return flatten_latents(adapted.state.latents)

    def _stage_density(self, stage: int) -> FrozenJointDensity:
        """The density after the first `stage` stages."""
        density = self.prior.density()
        return FrozenJointDensity(density.base, self.staged.frozen(stage), density.proposals)

    @torch.no_grad()
    def _noise(self, stage: int, latents: Latents) -> Latents:
        n, like = len(latents[0]), latents[0]
        if stage == 0:
            return self.prior.sample_base(n, like=like, generator=self.stream)
        assert self.pool is not None
        chosen = self.pool.choose(n, self.stream)
        density, kernel = self._stage_density(stage), MALA(self.step_size)
        state = evaluate_state(density, (flatten_latents(self.pool.read(chosen)),))
        for _ in range(REFRESH_STEPS):
            state, _ = kernel.step(density, state, generator=self.stream)
        self.pool.write(chosen, state.latents)
        return self._levels(state.latents[0])

    def tensors(self) -> dict[str, Tensor]:
        """The pool, and how many steps were taken."""
        taken = {"nce_steps": torch.tensor(self.n_taken)}
        if self.pool is None:
            return taken
        return taken | {
            "nce_pool": self.pool.state,
            "nce_step_size": torch.tensor(self.step_size, dtype=torch.float64),
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put them back."""
        self.n_taken = int(tensors["nce_steps"])
        pool = tensors.get("nce_pool")
        self.step_size = float(tensors.get("nce_step_size", FIRST_STEP_SIZE))
        device = next(self.prior.parameters()).device
        self.pool = None if pool is None else PersistentPool(self._levels(pool.to(device)))
