r"""Upper tail probabilities of a score among normal images: empirical ones, with an exponential tail.

.. math:: P(S \ge s) = \begin{cases} (1 + \#\{i : s_i \ge s\}) / (N + 1) & s \le u \\
    P(S \ge u)\, e^{-(s - u) / \beta} & s > u \end{cases}

with u the threshold that a tenth of the normal images reach, and β their mean excess over it. Ranks alone would call
all images beyond the most extreme normal one equally anomalous.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["UpperTail", "fit_tail"]

TAIL_SHARE = 0.1


@dataclass(frozen=True)
class UpperTail:
    """What normal images have fixed.

    Args:
        ordered: Their scores, ascending, [N] in float64.
        threshold: u.
        mean_excess: β, positive.
    """

    ordered: Tensor
    threshold: float
    mean_excess: float

    def surprise(self, values: Tensor) -> Tensor:
        """-log P(S ≥ s) of scores [B]: [B] nats, not negative, and rising beyond all normal images."""
        inner = self._empirical(values.clamp(max=self.threshold))
        return inner + (values - self.threshold).clamp(min=0) / self.mean_excess

    def _empirical(self, values: Tensor) -> Tensor:
        n = len(self.ordered)
        at_least = n - torch.searchsorted(self.ordered.to(values.device), values.contiguous())
        return -((at_least + 1).double() / (n + 1)).log()


def fit_tail(scores: Tensor) -> UpperTail:
    """The tail of normal images' scores [N], at least ten of them.

    Source: exceedances over a high threshold, Pickands (1975), Annals of Statistics 3(1), with the shape set to zero.
    """
    ordered = scores.double().sort().values
    n_tail = max(1, round(TAIL_SHARE * len(ordered)))
    threshold = ordered[-n_tail]
    excess = (ordered[-n_tail:] - threshold).mean().item()
    smallest = torch.finfo(torch.float64).eps * max(1.0, threshold.abs().item())
    return UpperTail(ordered, threshold.item(), max(excess, smallest))
