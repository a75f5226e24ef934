r"""Draws from the base with their weights under the joint prior: importance sampling of some levels given the others.

.. math:: z_{free}^{(j)} \sim p_0(z_{free} | z_{held}), \quad \log w_j = -E(z_{free}^{(j)}, z_{held}), \quad
    \mathbb E[w_j] = Z(z_{held})
"""

from collections.abc import Collection

from torch import Tensor

from hebm.latents import Latents
from hebm.priors.base import Prior, base_of
from hebm.randomness import NoiseSource

__all__ = ["weighted_draws_given"]


def weighted_draws_given(
    prior: Prior, latents: Latents, levels: Collection[int], n: int, *, generator: NoiseSource = None
) -> tuple[Latents, Tensor]:
    """n draws of some levels from the base for each of B items, the others held, and their log-weights.

    Args:
        prior: The prior; without an energy all weights are one.
        latents: All levels of the items, top first, [B, d_l] each.
        levels: The levels to draw (0 is the top).
        n: Draws per item.
        generator: Source of the noise; the global stream if None.

    Returns:
        Latents [B * n, d_l] per level, the draws of one item together, and log-weights [B, n] nats.

    Raises:
        UnsupportedError: If the base cannot draw these levels given the others.
    """
    given = tuple(z.repeat_interleave(n, 0) for z in latents)
    draws = base_of(prior).sample_base_given(given, levels, generator=generator)
    n_items = len(latents[0])
    if prior.energy is None:
        return draws, latents[0].new_zeros(n_items, n)
    return draws, -prior.energy(draws).view(n_items, n)
