r"""K Langevin steps on one flat state, without autograd and without allocations.

.. math:: z' = (1 - \eta) z - \eta \nabla E(z) + \sqrt{2 \eta \tau}\,\epsilon

which is the step z + η ∇log p(z) + √(2ητ) ε on N(0, I) tilted by E. -η is folded into the first layer's weights once
per call, so that the last matrix product of the backward sweep is the move itself. Rows go through the networks in
tiles that stay in the cache.
"""

import math

import torch
from torch import Tensor

from hebm.randomness import NoiseSource, standard_normal
from hebm.samplers.kernels.target import Network, Target

__all__ = ["run_fused"]

TILE_ROWS = 1024


@torch.no_grad()
def run_fused(
    target: Target,
    start: Tensor,
    *,
    n_steps: int,
    step_size: float,
    temperature: float,
    generator: NoiseSource,
    free: Tensor | None,
) -> tuple[Tensor, Tensor]:
    r"""Run the chains.

    The noise is that of the reference step: the same draws of the same generator in the same order. Positions and
    log-densities are the reference's up to rounding.

    Args:
        target: What the chains move on.
        start: Flat positions, [B, D]; left as they are.
        n_steps: K.
        step_size: η.
        temperature: τ.
        generator: Source of the noise.
        free: [D], 1 where a latent moves and 0 where it is clamped; all move if None.

    Returns:
        Positions after K steps, [B, D], and log-densities of every state stepped from, [K, B] nats.
    """
    state = start.clone(memory_format=torch.contiguous_format)
    minus_energy, norm = state.new_zeros(n_steps, len(state)), state.new_empty(n_steps, len(state))
    noise_scale = math.sqrt(2 * step_size * temperature)
    keep = 1 - step_size if free is None else 1 - step_size * free
    folded = [
        _Folded(network, columns, step_size, free)
        for network, columns in zip(target.networks, target.columns, strict=True)
    ]
    memory = [layers.allocate(min(TILE_ROWS, len(state))) for layers in folded]
    tiles = [
        (z, rows, [_Sweep(layers, z, own) for layers, own in zip(folded, memory, strict=True)])
        for z, rows in ((state[rows], rows) for rows in _slices(len(state)))
    ]
    for step in range(n_steps):
        noise = standard_normal(state, generator)
        for z, rows, sweeps in tiles:
            torch.linalg.vector_norm(z, dim=1, out=norm[step, rows])
            for sweep in sweeps:
                sweep.evaluate(minus_energy[step, rows])
            z.mul_(keep)
            for sweep in sweeps:
                sweep.move()
        if free is not None:
            noise.mul_(free)
        state.add_(noise, alpha=noise_scale)
    constant = target.constant + sum(layers.constant for layers in folded)
    normaliser = 0.5 * state.shape[1] * math.log(2 * math.pi)
    return state, minus_energy - 0.5 * norm.square() - (normaliser + constant)


def _slices(n_rows: int) -> list[slice]:
    return [slice(start, min(start + TILE_ROWS, n_rows)) for start in range(0, n_rows, TILE_ROWS)]


class _Folded:
    """One network's layers as the sweep wants them: both orders of every weight contiguous, -η folded in."""

    def __init__(self, network: Network, columns: slice, step_size: float, free: Tensor | None) -> None:
        first, *hidden, last = network.weights
        self.activation, self.columns = network.activation, columns
        self.biases = network.biases[:-1]
        self.forward = [weight.t().contiguous() for weight in (first, *hidden)]
        self.backward = [weight.contiguous() for weight in hidden]
        self.last, self.constant = last[0].contiguous(), network.biases[-1]
        self.move = -step_size * (first if free is None else first * free[columns])

    def allocate(self, n_rows: int) -> Tensor:
        """Memory of one tile: per hidden layer what is kept and its gradient, and one more for outputs."""
        return self.last.new_empty(2 * len(self.forward) + 1, n_rows, len(self.last))


class _Sweep:
    """One network forwards and backwards on one tile of positions [n, D]."""

    def __init__(self, layers: _Folded, z: Tensor, memory: Tensor) -> None:
        self.layers, self.z = layers, z[:, layers.columns]
        self.output, *rest = (buffer[: len(z)] for buffer in memory)
        self.kept, self.deltas = rest[: len(layers.forward)], rest[len(layers.forward) :]
        self.top_grad = layers.last.expand(len(z), -1)

    def evaluate(self, minus_energy: Tensor) -> None:
        """Subtract the energy, without its constant, from a row [n]; its gradient stays at the first layer."""
        layers, hidden = self.layers, self.z
        activation = layers.activation
        for weight, bias, kept in zip(layers.forward, layers.biases, self.kept, strict=True):
            torch.addmm(bias, hidden, weight, out=kept)
            hidden = kept if activation.keeps_output else self.output
            activation.forward_into(kept, hidden)
        minus_energy.addmv_(hidden, layers.last, alpha=-1)
        grad = self.top_grad
        for layer in reversed(range(len(self.kept))):
            activation.backward_into(grad, self.kept[layer], self.deltas[layer])
            if layer > 0:
                grad = torch.mm(self.deltas[layer], layers.backward[layer - 1], out=self.output)

    def move(self) -> None:
        """Add -η times the energy's gradient to the positions."""
        self.z.addmm_(self.deltas[0], self.layers.move)
