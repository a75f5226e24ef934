"""Where the latents of each label lie, and whether a prior puts any mass there.

The region of a label is the union of the balls around posterior draws of its images, each reaching to the k-th nearest
draw of the same label. Of two samples, the share within each region is compared: draws of a prior, and posterior draws
of *other* images, which say what a prior equal to the aggregate posterior would have. A label is without prior mass
where the prior has less than a tenth of that share. The share in no region is mass where no image is.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["LabelRegions"]

LEAST_SHARE = 0.1


@dataclass(frozen=True)
class LabelRegions:
    """Regions of labels in a space of few dimensions.

    Args:
        labels: The labels that have a region.
        centres: Posterior draws of each label, [n_c, D].
        radii: How far each reaches, [n_c].
    """

    labels: tuple[int, ...]
    centres: tuple[Tensor, ...]
    radii: tuple[Tensor, ...]

    @classmethod
    def of(cls, draws: Tensor, labels: Tensor, *, k: int) -> "LabelRegions":
        """Regions of all labels with more than k draws.

        Args:
            draws: One per image, [N, D].
            labels: Of the images, int64 [N].
            k: Which neighbour sets the radius.
        """
        names, counts = np.unique(labels.numpy(), return_counts=True)
        kept = [int(name) for name, n in zip(names, counts, strict=True) if n > k]
        centres = tuple(draws[labels == name] for name in kept)
        # the nearest of all is the draw itself
        radii = tuple(_distances(points, points).kthvalue(k + 1, dim=1).values for points in centres)
        return cls(tuple(kept), centres, radii)

    def compare(self, prior: Tensor, others: Tensor) -> dict[str, Any]:
        """Shares of two samples in the regions.

        Args:
            prior: Draws of a prior, [n, D].
            others: Posterior draws of images that made no region, [m, D].

        Returns:
            ``share`` and ``posterior_share`` by label, ``outside`` (of the prior's draws in no region, with a binomial
            standard error) and ``posterior_outside``, and the number of labels ``without_mass``.
        """
        inside, expected = self._inside(prior), self._inside(others)
        share, wanted = (found.double().mean(1).tolist() for found in (inside, expected))
        outside = 1 - inside.any(0).double().mean().item()
        return {
            "share": share,
            "posterior_share": wanted,
            "outside": outside,
            "outside_se": (outside * (1 - outside) / len(prior)) ** 0.5,
            "posterior_outside": 1 - expected.any(0).double().mean().item(),
            "without_mass": sum(a < LEAST_SHARE * b for a, b in zip(share, wanted, strict=True)),
        }

    def _inside(self, points: Tensor) -> Tensor:
        """Whether each point is in the region of each label, [labels, n]."""
        return torch.stack(
            [
                (_distances(points, centres) <= radii).any(1)
                for centres, radii in zip(self.centres, self.radii, strict=True)
            ]
        )


def _distances(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
