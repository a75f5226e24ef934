r"""One training step, in the order of the reference: generator and encoder first, then the energy.

.. math::
    \theta, \phi:\quad & \min E_q[-\log p_\theta(x|z)] + \textstyle\sum_l KL(q_\phi(z_l|x) \| p_0) + E_q[E_\alpha(z)] \\
    \alpha:\quad & \min E_q[E_\alpha(z)] - E_{p_\alpha}[E_\alpha(z)]
"""

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from hebm.config import OptimizerConfig, RunConfig
from hebm.errors import NonFiniteError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.models import JointModel
from hebm.objectives import ElboTerms, autoencoder_loss, contrastive_loss
from hebm.randomness import ShardedGenerator, standard_normal
from hebm.training.collectives import any_process, gather_rows
from hebm.training.state import TrainingState

__all__ = ["TrainingStep"]


class AutoencoderPass(nn.Module):
    """Images to a posterior sample, its distortion and rates: what generator and encoder learn from, in one
    module so that one wrapper synchronises both nets.

    Under bf16 the nets' matrix products and convolutions run in bfloat16; images, latents and every term of the
    bound stay in float32.
    """

    def __init__(self, model: JointModel, *, bf16: bool) -> None:
        super().__init__()
        self.generator = model.generator
        self.encoder = model.encoder
        self.bf16 = bf16

    def forward(self, y: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, C, H, W] in model coordinates and flat noise [B, D] to a flat posterior sample [B, D],
        its distortion [B], and rates [L, B] (top first)."""
        with torch.autocast(y.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            posterior = self.encoder(y)
            latents = posterior.at(eps)
            likelihood = self.generator(latents)
        distortion = -likelihood.log_prob(y)
        return flatten_latents(latents), distortion, torch.stack(posterior.rate_per_level())


class TrainingStep:
    """Performs single steps on a state; every random draw is that of the whole batch, of which this process
    keeps its rows.

    Args:
        config: The run's configuration.
        state: What the steps change.
        fabric: Devices, precision and gradient synchronisation.
    """

    def __init__(self, config: RunConfig, state: TrainingState, fabric: Fabric) -> None:
        self.config, self.state, self.fabric = config, state, fabric
        self.autoencoder, self.autoencoder_optimizer = fabric.setup(
            AutoencoderPass(state.model, bf16=config.trainer.precision == "bf16"),
            state.optimizers["autoencoder"],
        )
        if state.model.prior.energy is not None:
            self.energy, self.energy_optimizer = fabric.setup(
                state.model.prior.energy, state.optimizers["energy"]
            )
        bits = config.objective.free_bits
        self.free_bits = (
            bits if isinstance(bits, tuple) else (bits,) * len(config.model.levels) if bits else ()
        )

    def __call__(self, x: Tensor, *, kl_weight: float) -> dict[str, Tensor]:
        """Update all nets on one batch of images [B, C, H, W] in [0, 1]; the batch means of this step's terms.

        Raises:
            NonFiniteError: If the prior's chains left the finite numbers on any process.
        """
        terms, latents = self._autoencoder_step(2 * x - 1, kl_weight)
        return terms if self.state.model.prior.energy is None else terms | self._energy_step(latents)

    def energy_only(self, x: Tensor) -> dict[str, Tensor]:
        """Update the energy alone; generator and encoder stay as they are.

        Raises:
            NonFiniteError: As above.
        """
        y = 2 * x - 1
        with torch.no_grad():
            posterior = self.state.model.encoder(y)
            rates = torch.stack(posterior.rate_per_level())
            latents = posterior.at(self._posterior_noise(len(y)))
        return {"rate": rates.sum(0).mean(), "rate_per_level": rates.mean(1)} | self._energy_step(latents)

    def _posterior_noise(self, n: int) -> Tensor:
        like = next(self.state.model.parameters())
        return standard_normal(like.new_empty(n, sum(self.state.model.level_dims)), self._shard("posterior"))

    def _autoencoder_step(self, y: Tensor, kl_weight: float) -> tuple[dict[str, Tensor], Latents]:
        flat, distortion, rates = self.autoencoder(y, self._posterior_noise(len(y)))
        energy = self.state.model.prior.energy
        energies = energy.frozen()(flat) if energy is not None else torch.zeros_like(distortion)
        losses = autoencoder_loss(
            ElboTerms(distortion, tuple(rates), energies), kl_weight=kl_weight, free_bits=self.free_bits
        )
        loss = losses.mean()
        self.autoencoder_optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = _clip(self.autoencoder, self.config.trainer.autoencoder)
        self.autoencoder_optimizer.step()
        terms = {
            "loss": loss,
            "distortion": distortion.mean(),
            "rate": rates.sum(0).mean(),
            "rate_per_level": rates.mean(1),
            "grad_norm": norm,
        }
        return terms, unflatten_latents(flat.detach(), self.state.model.level_dims)

    def _energy_step(self, data_latents: Latents) -> dict[str, Tensor]:
        prior_latents = self._prior_latents(len(data_latents[0]))
        both = tuple(torch.cat(pair) for pair in zip(data_latents, prior_latents, strict=True))
        energy_data, energy_prior = self.energy(both).chunk(2)
        loss = contrastive_loss(energy_data, energy_prior, l2=self.config.objective.energy_l2).mean()
        self.energy_optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = _clip(self.energy, self.config.trainer.energy)
        self.energy_optimizer.step()
        return {
            "energy_data": energy_data.mean(),
            "energy_prior": energy_prior.mean(),
            "grad_norm_energy": norm,
        }

    def _prior_latents(self, n: int) -> Latents:
        pool = self.state.pool
        try:
            latents = self._short_run(n) if pool is None else self._persistent(n)
            failure = None
        except NonFiniteError as error:
            latents, failure = (), error
        if any_process(self.fabric, failure is not None):
            raise failure or NonFiniteError("the prior's chains are not finite on another process.")
        if pool is not None:
            self._store(latents)
        return latents

    def _short_run(self, n: int) -> Latents:
        return self.state.model.sample_prior(n, generator=self._shard("prior"))

    def _persistent(self, n: int) -> Latents:
        pool, model = self.state.pool, self.state.model
        density = model.prior.frozen()
        assert pool is not None
        assert density is not None
        stream, section = self.state.streams["pool"], self.config.sampler
        fresh = model.prior.sample_base(len(pool.state), like=pool.state, generator=stream)
        pool.restart(fresh, section.restart_probability, stream)
        self.chosen = pool.choose(n * self.fabric.world_size, stream)
        mine = self.chosen[self.fabric.global_rank * n : (self.fabric.global_rank + 1) * n]
        return model.sampler(density, pool.read(mine), generator=self._shard("prior")).latents

    def _store(self, latents: Latents) -> None:
        assert self.state.pool is not None
        flat = gather_rows(self.fabric, flatten_latents(latents))
        self.state.pool.write(self.chosen, unflatten_latents(flat, self.state.model.level_dims))

    def _shard(self, name: str) -> ShardedGenerator:
        return ShardedGenerator(self.state.streams[name], self.fabric.global_rank, self.fabric.world_size)


def _clip(module: nn.Module, section: OptimizerConfig) -> Tensor:
    """Bound the gradient's norm where a bound is set; the norm before."""
    largest = float("inf") if section.grad_clip is None else section.grad_clip
    return torch.nn.utils.clip_grad_norm_(module.parameters(), largest)
