"""Fit a normalised prior to a posterior by gradient: raise the mean log-density of fresh posterior samples."""

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from hebm.distributions import DiagonalNormal
from hebm.errors import NonFiniteError
from hebm.latents import Latents, unflatten_latents

__all__ = ["LikelihoodFit", "fit_by_gradient"]


class LikelihoodFit(NamedTuple):
    """Mean log-densities in nats per item at the steps where they were taken; the prior has those of `best_step`."""

    steps: tuple[int, ...]
    train_log_prob: tuple[float, ...]
    held_out_log_prob: tuple[float, ...]
    best_step: int
    best_held_out_log_prob: float


class _LearnedPrior(Protocol):
    level_dims: tuple[int, ...]

    def log_prob(self, latents: Latents) -> Tensor: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...


def fit_by_gradient(
    prior: _LearnedPrior,
    train: DiagonalNormal,
    valid: DiagonalNormal,
    *,
    n_steps: int,
    batch_size: int = 512,
    lr: float = 1e-3,
    max_grad_norm: float = 10.0,
    evaluate_every: int = 100,
    generator: torch.Generator | None = None,
) -> LikelihoodFit:
    r"""Maximise E_x E_{q(z|x)} log p₀(z) by Adam, and keep the parameters that are best on held-out items.

    Posterior samples are redrawn in each step; those of the held-out items are drawn once. The rate falls from
    `lr` to zero along half a cosine, and the gradient is clipped to `max_grad_norm`.

    Args:
        prior: Its parameters that require gradients are changed in place; their ``.grad`` is None afterwards.
        train: q(z|x) over the flat state of N items, means and scales [N, D]; scales may be zero.
        valid: The same for held-out items.
        n_steps: Steps of Adam.
        batch_size: Items per step, drawn with replacement.
        lr: Rate of the first step.
        max_grad_norm: Bound on the Euclidean norm of the gradient, in nats per unit of a parameter.
        evaluate_every: Steps between two looks at the held-out items; there is one before the first step and
            one after the last.
        generator: Source of the batches and the noise, on the posteriors' device; the global stream if None.

    Returns:
        The history; `train_log_prob` is the mean over the batches since the look before, the first one's batch alone.

    Raises:
        NonFiniteError: If a log-density or a gradient is not finite; it names the step and the quantity.
    """
    parameters = [p for p in prior.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(n_steps, 1))
    held_out = valid.sample(generator)
    steps, train_log_prob, held_out_log_prob = [], [], []
    best: list[Tensor] = []
    recent: list[float] = []
    for step in range(n_steps + 1):
        rows = torch.randint(len(train.mean), (batch_size,), generator=generator, device=train.mean.device)
        flat = DiagonalNormal(train.mean[rows], train.scale[rows]).sample(generator)
        mean_log_prob = prior.log_prob(unflatten_latents(flat, prior.level_dims)).mean()
        recent.append(_finite(mean_log_prob, "log-density of a training batch", step))
        if step % evaluate_every == 0 or step == n_steps:
            steps.append(step)
            train_log_prob.append(sum(recent) / len(recent))
            held_out_log_prob.append(_held_out(prior, held_out, batch_size, step))
            recent.clear()
            if held_out_log_prob[-1] >= max(held_out_log_prob):
                best = [p.detach().clone() for p in parameters]
        if step < n_steps:
            optimiser.zero_grad(set_to_none=True)
            (-mean_log_prob).backward()  # type: ignore[no-untyped-call]
            _finite(nn.utils.clip_grad_norm_(parameters, max_grad_norm), "norm of the gradient", step)
            optimiser.step()
            schedule.step()
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        for parameter, value in zip(parameters, best, strict=True):
            parameter.copy_(value)
    best_log_prob = max(held_out_log_prob)
    best_step = max(s for s, v in zip(steps, held_out_log_prob, strict=True) if v == best_log_prob)
    return LikelihoodFit(
        tuple(steps), tuple(train_log_prob), tuple(held_out_log_prob), best_step, best_log_prob
    )


@torch.no_grad()
def _held_out(prior: _LearnedPrior, flat: Tensor, batch_size: int, step: int) -> float:
    parts = [
        prior.log_prob(unflatten_latents(part, prior.level_dims)) for part in torch.split(flat, batch_size)
    ]
    return _finite(torch.cat(parts).mean(), "log-density of the held-out samples", step)


def _finite(value: Tensor, quantity: str, step: int) -> float:
    number = value.item()
    if not math.isfinite(number):
        raise NonFiniteError(
            f"the {quantity} is not finite at step {step}; lower `lr`, or check the posterior's means and scales."
        )
    return number
