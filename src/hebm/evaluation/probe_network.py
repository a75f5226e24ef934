r"""Probes: small classifiers of codes that no longer move.

.. math:: p(y|z) = \mathrm{softmax}(W_2\, \mathrm{ReLU}(W_1 z + b_1) + b_2), \quad 256 \text{ hidden units}

No dropout, no normalisation; Adam on the cross-entropy in large batches, the rate falling linearly to zero.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from hebm.config import ProbeConfig
from hebm.errors import NonFiniteError
from hebm.features.initialisation import build_empty, initialise_

__all__ = [
    "HIDDEN",
    "LabelledCodes",
    "ProbeScore",
    "linear_accuracy",
    "probe_score",
    "standardised",
    "train_probe",
]

HIDDEN = 256
SMALLEST_SPREAD = 1e-8


class LabelledCodes(NamedTuple):
    """Codes [N, d] with their classes, int64 [N] from 0 up."""

    codes: Tensor
    labels: Tensor


class ProbeScore(NamedTuple):
    """Share of items classified rightly, and the mean of -log p(y|z) in nats."""

    accuracy: float
    cross_entropy: float


def standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Codes in units of the training codes' mean and spread, column by column: [N, d] and [M, d].

    A probe can tell the same codes apart before and after, and gets there in fewer steps.
    """
    spread, mean = torch.std_mean(train, dim=0)
    spread = spread.clamp_min(SMALLEST_SPREAD)
    return (train - mean) / spread, (test - mean) / spread


def train_probe(
    train: LabelledCodes, n_classes: int, settings: ProbeConfig, *, generator: torch.Generator
) -> nn.Module:
    """Train one probe.

    Args:
        train: What it learns from.
        n_classes: Number of classes.
        settings: Length and rate of its training.
        generator: Of its first weights and the order of the items, on the CPU.

    Returns:
        The network: codes [B, d] to logits [B, n_classes].

    Raises:
        NonFiniteError: If the loss is not finite.

    Source: the layers as in arXiv:2310.09604; its text leaves the optimiser open.
    """
    n, d = train.codes.shape
    network = build_empty(
        lambda: nn.Sequential(nn.Linear(d, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, n_classes))
    )
    initialise_(network, generator)
    network = network.to(train.codes.device)
    batch_size = min(settings.batch_size, n)
    steps_per_epoch = n // batch_size
    n_epochs = max(settings.n_epochs, -(-settings.min_steps // steps_per_epoch))
    n_steps = n_epochs * steps_per_epoch
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.lr, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1 / n_steps, total_iters=n_steps)
    for _ in range(n_epochs):
        order = torch.randperm(n, generator=generator).to(train.codes.device)
        codes, labels = train.codes[order], train.labels[order]
        for step in range(steps_per_epoch):
            rows = slice(step * batch_size, (step + 1) * batch_size)
            loss = F.cross_entropy(network(codes[rows]), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    if not torch.isfinite(loss):
        raise NonFiniteError(
            "the probe's loss is not finite; lower evaluation.probe.lr, or look at the codes."
        )
    return network


@torch.no_grad()
def probe_score(network: nn.Module, test: LabelledCodes) -> ProbeScore:
    """Accuracy and cross-entropy of a probe on items it has not seen."""
    logits = network(test.codes)
    right = (logits.argmax(1) == test.labels).double().mean()
    return ProbeScore(right.item(), F.cross_entropy(logits.double(), test.labels).item())


def linear_accuracy(train: LabelledCodes, test: LabelledCodes) -> float:
    """Accuracy of a logistic regression, lightly regularised; nothing of it is random."""
    model = LogisticRegression(max_iter=1000)
    model.fit(train.codes.double().cpu().numpy(), train.labels.cpu().numpy())
    return float(model.score(test.codes.double().cpu().numpy(), test.labels.cpu().numpy()))
