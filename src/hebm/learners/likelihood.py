r"""Maximum likelihood of a normalised prior by gradient: raise E_q[log p(z)]; no chain, no energy."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.errors import NonFiniteError
from hebm.latents import Latents
from hebm.learners.posterior import PosteriorLatents
from hebm.learners.updates import descend, looks_at_once
from hebm.priors import BasePrior, FlowPrior, MixturePrior

__all__ = ["LikelihoodLearner", "spread_components_"]


class LikelihoodLearner:
    """A flow, a chained Gaussian, or any normalised prior with parameters.

    Args:
        prior: What learns.
        optimizer: Over its parameters.
        max_norm: Bound on the gradient's norm.
    """

    def __init__(self, prior: BasePrior, optimizer: Optimizer, *, max_norm: float | None = None) -> None:
        self.prior, self.max_norm = prior, max_norm
        self.optimizers: dict[str, Optimizer] = {"base": optimizer}

    def prepare(self, posterior: PosteriorLatents, *, generator: torch.Generator) -> dict[str, Any]:
        """Set a flow's units to those of the latents: its splines act near zero only."""
        if isinstance(self.prior, FlowPrior):
            self.prior.standardise_(posterior.sample(generator=generator))
        return {}

    def step(self, latents: Latents) -> dict[str, Tensor]:
        """One step."""
        log_prob = self.prior.log_prob(latents).mean()
        if looks_at_once(log_prob) and not torch.isfinite(log_prob):
            raise NonFiniteError("the log-density of the prior is not finite; lower `trainer.base.lr`.")
        norm = descend(-log_prob, self.optimizers["base"], max_norm=self.max_norm)
        return {"log_prob_base": log_prob.detach(), "grad_norm_base": norm}

    def tensors(self) -> dict[str, Tensor]:
        """No state besides prior and optimiser."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """No state."""


@torch.no_grad()
def spread_components_(prior: MixturePrior, generator: torch.Generator) -> None:
    """Tell the components of a mixture apart, so that a gradient can: means drawn from N(0, I / 4)."""
    noise = torch.randn(prior.means.shape, generator=generator, device=generator.device)
    prior.means.copy_(0.5 * noise)
