r"""The data side of a prior's learning: q(z|x) of every training image, held still."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.distributions import DiagonalNormal
from hebm.errors import LatentShapeError, NonFiniteError
from hebm.latents import Latents, unflatten_latents
from hebm.randomness import standard_normal

__all__ = ["PosteriorLatents", "held_out_size"]


@dataclass(frozen=True)
class PosteriorLatents:
    """Means and scales of the posteriors of N images over the flat state; any model's, if it can be put so.

    Args:
        mean: [N, D].
        scale: Standard deviations, [N, D]; zeros for a model that infers points.
        level_dims: Number of latents of each level, top first; (D,) for a model without levels.

    Raises:
        LatentShapeError: If the shapes disagree.
        NonFiniteError: If a mean or a scale is not finite.
    """

    mean: Tensor
    scale: Tensor
    level_dims: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.mean.shape != self.scale.shape or self.mean.shape[1:] != (sum(self.level_dims),):
            raise LatentShapeError(
                f"means and scales [N, {sum(self.level_dims)}] are expected (levels {list(self.level_dims)}), but the "
                f"shapes are {list(self.mean.shape)} and {list(self.scale.shape)}."
            )
        if not (torch.isfinite(self.mean).all() and torch.isfinite(self.scale).all()):
            raise NonFiniteError("a posterior mean or scale is not finite; check the encoder.")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.mean)

    def sample(self, rows: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """One fresh draw of z ~ q(z|x) for the given rows (all if None), [n, D]."""
        mean, scale = (self.mean, self.scale) if rows is None else (self.mean[rows], self.scale[rows])
        return mean + scale * standard_normal(mean, generator)

    def batch(self, n: int, *, generator: torch.Generator) -> tuple[Latents, Tensor]:
        """A fresh draw for n random images, by level (top first), and which they were."""
        rows = torch.randint(len(self), (n,), generator=generator, device=self.mean.device)
        return unflatten_latents(self.sample(rows, generator=generator), self.level_dims), rows

    def rates(self, rows: Tensor) -> Tensor:
        """KL(q(z_l|x) || N(0, I)) of the given images, [L, n] nats."""
        parts = zip(
            torch.split(self.mean[rows], list(self.level_dims), 1),
            torch.split(self.scale[rows], list(self.level_dims), 1),
            strict=True,
        )
        return torch.stack([DiagonalNormal(mean, scale).kl_to_standard() for mean, scale in parts])

    def split(
        self, share: float, *, generator: torch.Generator
    ) -> tuple["PosteriorLatents", "PosteriorLatents"]:
        """Two disjoint random parts; the second has the given share of the images, and at least one."""
        order = torch.randperm(len(self), generator=generator, device=self.mean.device)
        n_second = held_out_size(share, len(self))
        first, second = order[n_second:], order[:n_second]
        return (
            PosteriorLatents(self.mean[first], self.scale[first], self.level_dims),
            PosteriorLatents(self.mean[second], self.scale[second], self.level_dims),
        )


def held_out_size(share: float, n: int) -> int:
    """A share of n images, at least one of them."""
    return max(1, round(share * n))
