r"""The Triton kernel's host side: what it can run, how networks are packed, where its noise comes from.

The kernel's matrix products have float32's accuracy (three tf32 products each; plain float32 on AMD) unless PyTorch's
own switch ``torch.set_float32_matmul_precision`` allows one tf32 product. Against the reference step with the same
noise, positions after 60 steps are to agree to 1e-4, and to 1e-2 in tf32. It has been checked in Triton's interpreter
and compiled for compute capabilities 8.0 and 9.0; on a GPU it has not run yet.
"""

import importlib.util
import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hebm.errors import UnsupportedError
from hebm.randomness import CommonGenerator, NoiseSource, ShardedGenerator
from hebm.samplers.kernels.target import Network, Target

__all__ = ["reason_against_triton", "run_triton", "run_triton_mala"]

ACTIVATIONS = ("leaky_relu", "silu", "gelu", "softplus", "tanh")
DEEPEST, WIDEST, MOST_LATENTS = 4, 128, 128
SMALLEST_SIDE = 16  # of a matrix product
TILE_ROWS = 16
NARROW = 64  # up to this width four warps hold a tile without spilling


def reason_against_triton(target: Target, state: Tensor) -> str | None:
    """Why the kernel cannot run a target on a state, in words; None if it can."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if state.device.type != "cuda" and not interpreted:
        return f"Triton needs a GPU, and the chains are on {state.device}"
    if importlib.util.find_spec("triton") is None:
        return (
            "Triton is not installed (PyTorch for CUDA brings it on Linux; else pip install 'hebm[triton]')"
        )
    if state.dtype != torch.float32:
        return f"the kernel computes in float32, and the chains are in {state.dtype}"
    shapes = {(len(network.weights) - 1, len(network.weights[0])) for network in target.networks}
    if len(shapes) != 1:
        return "the energy's networks differ in depth or width"
    (depth, width), names = shapes.pop(), {network.activation.name for network in target.networks}
    if depth > DEEPEST or width > WIDEST or state.shape[1] > MOST_LATENTS:
        return (
            f"the kernel holds {DEEPEST} hidden layers of {WIDEST} on {MOST_LATENTS} latents at most, and the "
            f"energy has {depth} of {width} on {state.shape[1]}"
        )
    return None if names <= set(ACTIVATIONS) else f"the kernel has no activation {sorted(names)}"


@torch.no_grad()
def run_triton(
    target: Target,
    start: Tensor,
    *,
    n_steps: int,
    step_size: float,
    temperature: float,
    generator: NoiseSource,
    free: Tensor | None,
    noise: Tensor | None = None,
    traced: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Run the chains in one launch.

    The noise of chain i at step k is a function of (seed, i, k) and the seed one draw of the generator: it has the
    reference's law and other values.

    Args:
        target: What the chains move on; :func:`reason_against_triton` says whether it fits.
        start: Flat positions, float32 [B, D]; left as they are.
        n_steps: K.
        step_size: η.
        temperature: τ.
        generator: Source of the seed.
        free: [D], 1 where a latent moves and 0 where it is clamped; all move if None.
        noise: Use these ε instead, [K, B, D].
        traced: Whether log-densities are wanted.

    Returns:
        Positions after K steps, [B, D], and log-densities of every state stepped from, [K, B] nats ([0, B] if not
        wanted).

    Raises:
        UnsupportedError: If the networks do not fit on this GPU's chip.
    """
    call = _prepared(target, start, n_steps, step_size, temperature, generator, free, noise, traced)
    call.launch("langevin_chain")
    return call.end, call.log_densities


@torch.no_grad()
def run_triton_mala(
    target: Target,
    start: Tensor,
    *,
    n_steps: int,
    step_size: float,
    generator: NoiseSource,
    free: Tensor | None,
    noise: Tensor | None = None,
    uniforms: Tensor | None = None,
    traced: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Run chains of MALA in one launch: :class:`~hebm.samplers.MALA` on every chain, K times.

    Args:
        target: As of :func:`run_triton`, and so the other arguments that have the same name.
        start: Flat positions, float32 [B, D].
        n_steps: K.
        step_size: η.
        generator: Source of the seed.
        free: [D], 1 where a latent moves and 0 where it is clamped; all move if None.
        noise: Use these ε instead, [K, B, D]; with `uniforms` alone.
        uniforms: Accept where these are below the Metropolis ratio instead, [K, B].
        traced: Whether log-densities are wanted.

    Returns:
        Positions, and log-densities of every state stepped from, as of :func:`run_triton`; the share of accepted moves
        of every chain, [B].

    Raises:
        UnsupportedError: If the networks do not fit on this GPU's chip.
    """
    call = _prepared(target, start, n_steps, step_size, 1.0, generator, free, noise, traced)
    accepted = call.end.new_zeros(len(start))
    call.launch("mala_chain", start if uniforms is None else uniforms.contiguous(), accepted)
    return call.end, call.log_densities, accepted / max(n_steps, 1)


@dataclass(frozen=True)
class _Call:
    """What both kernels are given, in their order, and what they write."""

    end: Tensor
    trace: Tensor
    biases: Tensor
    arguments: tuple[Any, ...]
    constants: dict[str, Any]

    @property
    def log_densities(self) -> Tensor:
        """The trace with the networks' last biases, which the kernel does not see: they move no chain."""
        return self.trace - self.biases

    def launch(self, name: str, *more: Tensor) -> None:
        """Run the kernel of that name, with further arguments if it has any."""
        from triton.runtime.errors import OutOfResources

        from hebm.samplers.kernels import triton_chain

        n_warps = 4 if self.constants["WIDTH"] <= NARROW else 8
        grid = (-(-len(self.end) // TILE_ROWS),)
        try:
            getattr(triton_chain, name)[grid](
                *self.arguments, *more, **self.constants, num_warps=n_warps, num_stages=1
            )
        except OutOfResources as error:
            raise UnsupportedError(f"the energy does not fit on this GPU's chip ({error})") from error


def _prepared(
    target: Target,
    start: Tensor,
    n_steps: int,
    step_size: float,
    temperature: float,
    generator: NoiseSource,
    free: Tensor | None,
    noise: Tensor | None,
    traced: bool,
) -> _Call:
    start = start.contiguous()
    n_chains, n_latents = start.shape
    latents, width = _padded(n_latents), _padded(len(target.networks[0].weights[0]))
    networks = torch.stack(
        [_packed(n, c, latents, width) for n, c in zip(target.networks, target.columns, strict=True)]
    )
    moves = start.new_zeros(latents)
    moves[:n_latents] = 1 if free is None else free
    end, trace = torch.empty_like(start), start.new_empty(n_steps if traced else 0, n_chains)
    seed, first_chain, n_streams = _streams(generator, n_chains, start.device)
    first = target.networks[0]
    arguments = (
        *(start, end, trace, start if noise is None else noise.contiguous(), seed, networks, moves),
        *(n_chains, n_steps, n_latents, first_chain, n_streams, networks.shape[1]),
        *(step_size, math.sqrt(2 * step_size * temperature)),
        -0.5 * n_latents * math.log(2 * math.pi) - target.constant,
        first.activation.slope,
    )
    constants = {
        "N_NETWORKS": len(target.networks),
        "DEPTH": len(first.weights) - 1,
        "LATENTS": latents,
        "WIDTH": width,
        "KIND": first.activation.name,
        "ROWS": TILE_ROWS,
        "TRACED": traced,
        "INJECTED": noise is not None,
        "PRECISION": _precision(),
    }
    biases = torch.stack([network.biases[-1] for network in target.networks]).sum(0)
    return _Call(end, trace, biases, arguments, constants)


def _precision() -> str:
    if torch.get_float32_matmul_precision() != "highest":
        return "tf32"
    return "tf32x3" if torch.version.hip is None else "ieee"


def _padded(n: int) -> int:
    return max(SMALLEST_SIDE, 1 << (n - 1).bit_length())


def _packed(network: Network, columns: slice, latents: int, width: int) -> Tensor:
    """Weights [in, out] and biases one after the other, padded with zeros; the output's weight last, without bias."""
    first, *hidden, last = network.weights
    n = len(first)
    whole = first.new_zeros(latents, width)
    whole[columns, :n] = first.t()
    parts = [whole]
    for weight in hidden:
        parts.append(torch.nn.functional.pad(weight.t(), (0, width - n, 0, width - n)))
    biases = [torch.nn.functional.pad(bias, (0, width - n)) for bias in network.biases[:-1]]
    flat = [part for pair in zip(parts, biases, strict=True) for part in (pair[0].reshape(-1), pair[1])]
    return torch.cat([*flat, torch.nn.functional.pad(last[0], (0, width - n))])


def _streams(generator: NoiseSource, n_rows: int, device: torch.device) -> tuple[Tensor, int, int]:
    """Seed [1], number of the first row's stream, and how many streams there are before they repeat."""
    first, n_streams = 0, n_rows
    if isinstance(generator, ShardedGenerator):
        source: torch.Generator | None = generator.generator
        first = generator.rank * n_rows
    elif isinstance(generator, CommonGenerator):
        source, n_streams = generator.generator, generator.n_copies
    else:
        source = generator
    place = device if source is None else source.device
    seed = torch.randint(2**63 - 1, (1,), generator=source, device=place)
    return seed.to(device), first, n_streams
