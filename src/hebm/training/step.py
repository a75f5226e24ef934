r"""One training step, in the order of the reference: generator and encoder first, then the energy.

.. math::
    \theta, \phi:\quad & \min E_q[-\log p_\theta(x|z)] + \textstyle\sum_l KL(q_\phi(z_l|x) \| p_0) + E_q[E_\alpha(z)] \\
    \alpha:\quad & \min E_q[E_\alpha(z)] - E_{p_\alpha}[E_\alpha(z)]
"""

from typing import cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from hebm.config import OptimizerConfig, RunConfig
from hebm.distributions import standard_normal_log_prob
from hebm.errors import NonFiniteError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.learners import PosteriorLatents
from hebm.models import JointModel
from hebm.objectives import ElboTerms, autoencoder_loss
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

    def forward(
        self, y: Tensor, eps: Tensor, level_weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Images [B, C, H, W] in model coordinates and flat noise [B, D] to a flat posterior sample [B, D],
        its distortion [B], and rates [L, B] (top first). The generator sees latents times their level's weight [L]."""
        with torch.autocast(y.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            posterior = self.encoder(y)
            latents = posterior.at(eps)
            seen = latents if level_weights is None else tuple(map(torch.mul, latents, level_weights))
            likelihood = self.generator(seen)
        distortion = -likelihood.log_prob(y)
        return flatten_latents(latents), distortion, torch.stack(posterior.rate_per_level())


def compiled(module: AutoencoderPass, device: torch.device) -> nn.Module:
    """The module with its forward and backward pass compiled when they first run; on a GPU each is captured as one
    CUDA graph, whose results hold until the next step."""
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return cast(nn.Module, torch.compile(module, mode=mode))


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
        both = AutoencoderPass(state.model, bf16=config.trainer.precision == "bf16")
        self.autoencoder, self.autoencoder_optimizer = fabric.setup(
            compiled(both, fabric.device) if config.trainer.compile else both,
            state.optimizers["autoencoder"],
        )
        bits = config.objective.free_bits
        self.free_bits = (
            bits if isinstance(bits, tuple) else (bits,) * len(config.model.levels) if bits else ()
        )

    def __call__(
        self,
        x: Tensor,
        *,
        kl_weight: float,
        learns_prior: bool,
        level_weights: tuple[float, ...] | None = None,
    ) -> dict[str, Tensor]:
        """Update the nets on one batch of images [B, C, H, W] in [0, 1]; the batch means of this step's terms.

        Args:
            x: The images.
            kl_weight: Weight of rate and energy in the bound.
            learns_prior: Whether the prior is in the bound and learns too; otherwise N(0, I) stands in for it.
            level_weights: Of the levels' latents on their way into the generator, top first; None: all 1.

        Raises:
            NonFiniteError: If the prior's chains left the finite numbers on any process.
        """
        terms, latents = self._autoencoder_step(2 * x - 1, kl_weight, learns_prior, level_weights)
        return terms | self._prior_step(latents) if learns_prior else terms

    def prior_only(self, posterior: PosteriorLatents) -> dict[str, Tensor]:
        """Update the prior alone, on a fresh draw of still posteriors; every process takes the same step.

        Raises:
            NonFiniteError: As above.
        """
        size = self.config.trainer.energy_only_batch_size or self.config.trainer.batch_size
        latents, rows = posterior.batch(size, generator=self.state.streams["posterior"])
        rates = posterior.rates(rows)
        return {"rate": rates.sum(0).mean(), "rate_per_level": rates.mean(1)} | self._learn(latents)

    def _posterior_noise(self, n: int) -> Tensor:
        like = next(self.state.model.parameters())
        return standard_normal(like.new_empty(n, sum(self.state.model.level_dims)), self._shard("posterior"))

    def _autoencoder_step(
        self, y: Tensor, kl_weight: float, learns_prior: bool, level_weights: tuple[float, ...] | None
    ) -> tuple[dict[str, Tensor], Latents]:
        weights = None if level_weights is None else y.new_tensor(level_weights)
        flat, distortion, rates = self.autoencoder(y, self._posterior_noise(len(y)), weights)
        energies = self._tilt(flat) if learns_prior else torch.zeros_like(distortion)
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

    def _tilt(self, flat: Tensor) -> Tensor:
        """log N(z; 0, I) - log p(z) up to log Z, [B]: what the bound has beyond the rate to N(0, I)."""
        return standard_normal_log_prob(flat) - self.state.model.prior.density()((flat,))

    def _prior_step(self, latents: Latents) -> dict[str, Tensor]:
        """One step of the prior on the latents of all processes, which all take it alike."""
        rows = gather_rows(self.fabric, flatten_latents(latents))
        return self._learn(unflatten_latents(rows, self.state.model.level_dims))

    def _learn(self, latents: Latents) -> dict[str, Tensor]:
        assert self.state.learner is not None
        terms = {}
        try:
            terms, failure = self.state.learner.step(latents), None
        except NonFiniteError as error:
            failure = error
        if any_process(self.fabric, failure is not None):
            raise failure or NonFiniteError("the prior's chains are not finite on another process.")
        return terms

    def _shard(self, name: str) -> ShardedGenerator:
        return ShardedGenerator(self.state.streams[name], self.fabric.global_rank, self.fabric.world_size)


def _clip(module: nn.Module, section: OptimizerConfig) -> Tensor:
    """Bound the gradient's norm where a bound is set; the norm before."""
    largest = float("inf") if section.grad_clip is None else section.grad_clip
    return torch.nn.utils.clip_grad_norm_(module.parameters(), largest)
