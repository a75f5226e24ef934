r"""Langevin chains against the loops that people run instead: K = 60 steps on one batch.

All peers run z ← z + η ∇log p(z) + √(2η) ε with η = 0.08 on an energy tilting N(0, I): the loop in the order of the
paper (a list of latents, autograd), with the spectral normalisation recomputed at each call as in the released code,
and with it folded; and ``torchebm``'s ``LangevinDynamics``. What is asserted first: one step of every peer has the law
of the reference step. Beside them, what nobody can save: the matrix products alone, and the noise alone.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.timing import Floor, Limits, Row, compare
from hebm.priors import EnergyNetwork, GaussianPrior, JointPrior
from hebm.samplers import ShortRunLangevin

__all__ = ["NOISE", "PRODUCTS", "langevin_floor", "langevin_prior", "langevin_rows"]

K, ETA = 60, 0.08
PRODUCTS, NOISE = "products alone", "noise alone"
LEVELS = {16: (10, 2, 2, 2), 50: (10,) * 5}
ENERGIES = ((50, 4), (100, 2))
BATCHES = (100, 1000, 10_000)


class PaperEnergy(nn.Module):
    """f = -E of a list of latents, as the released code writes it."""

    def __init__(self, n_latents: int, width: int, depth: int, *, normalised: bool) -> None:
        super().__init__()
        bound = spectral_norm if normalised else (lambda layer: layer)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise([n_latents, *[width] * depth]):
            layers += [bound(nn.Linear(a, b)), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, bound(nn.Linear(width, 1)))

    def forward(self, latents: list[Tensor]) -> Tensor:
        """f of each item, [B]."""
        return self.net(torch.cat(latents, 1)).squeeze(1)


def paper_loop(
    energy: PaperEnergy, start: Tensor, dims: tuple[int, ...], *, n_steps: int, s: float
) -> Tensor:
    """The loop in the order of the paper: z ← z + s²/2 ∇[f + log p₀] + s ε, level by level."""
    z = list(start.split(dims, 1))
    for _ in range(n_steps):
        z = [level.detach().requires_grad_() for level in z]
        log_density = energy(z).sum() - sum(0.5 * level.square().sum() for level in z)
        grads = torch.autograd.grad(log_density, z)
        noise = [s * torch.randn_like(level) for level in z]
        z = [a + 0.5 * s**2 * g + e for a, g, e in zip(z, grads, noise, strict=True)]
    return torch.cat([level.detach() for level in z], 1)


def torchebm_chain(energy: PaperEnergy, device: torch.device) -> Callable[..., Tensor] | None:
    """``torchebm``'s sampler on U(z) = E(z) + |z|²/2; None where it is not installed."""
    try:
        from torchebm.core import BaseModel
        from torchebm.samplers import LangevinDynamics
    except ImportError:
        return None

    class Potential(BaseModel):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            return 0.5 * x.square().sum(1) - energy.net(x).squeeze(1)

    sampler = LangevinDynamics(Potential().to(device), step_size=ETA, noise_scale=1.0, device=device)
    return lambda start, n_steps: sampler.sample(x=start, n_steps=n_steps)


def langevin_prior(dims: tuple[int, ...], width: int, depth: int, device: torch.device) -> JointPrior:
    """N(0, I) tilted by an energy whose layers are spectrally normalised, as released."""
    torch.manual_seed(0)
    energy = EnergyNetwork(dims, width=width, depth=depth, lipschitz=1.0)
    return JointPrior(GaussianPrior(dims), energy).to(device).eval()


def langevin_floor(n_latents: int, width: int, depth: int, batch: int, n_steps: int = K) -> Floor:
    """Multiplications and additions of a forward and a backward sweep per step; state and noise read, state written."""
    per_chain = 4 * (n_latents * width + (depth - 1) * width**2) + 4 * width
    return Floor(n_steps * batch * per_chain / 1e9, n_steps * batch * 3 * 4 * n_latents / 1e9)


def _chains(n_latents: int, width: int, depth: int, device: torch.device) -> dict[str, Callable[..., Tensor]]:
    """Every way to run the chains, as functions of (start, n_steps, noise or not)."""
    dims = LEVELS[n_latents]
    prior = langevin_prior(dims, width, depth, device)
    folded = PaperEnergy(n_latents, width, depth, normalised=False).to(device)
    linear = [layer for layer in folded.net if isinstance(layer, nn.Linear)]
    network = prior.energy.frozen().networks[0]
    with torch.no_grad():
        for layer, weight, bias in zip(linear, network.weights, network.biases, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        linear[-1].weight.neg_()
        linear[-1].bias.neg_()
    recomputed = PaperEnergy(n_latents, width, depth, normalised=True).to(device)
    s = math.sqrt(2 * ETA)

    def ours(path: str) -> Callable[..., Tensor]:
        sampler = ShortRunLangevin(K, ETA, path=path)  # type: ignore[arg-type]
        return lambda start, n: torch.cat(
            sampler(prior.density(), start.split(dims, 1), n_steps=n).latents, 1
        )

    chains = {
        "hebm": ours("auto"),
        "hebm reference": ours("reference"),
        "naive, normalised each call": lambda start, n: paper_loop(recomputed, start, dims, n_steps=n, s=s),
        "naive, folded": lambda start, n: paper_loop(folded, start, dims, n_steps=n, s=s),
    }
    peer = torchebm_chain(folded, device)
    return chains if peer is None else chains | {"torchebm": peer}


def _parts(
    n_latents: int, width: int, depth: int, batch: int, device: torch.device
) -> dict[str, Callable[[], None]]:
    """The products of K steps, without activations, and their noise; both into memory that is there already."""
    z, hidden, other = (torch.zeros(batch, n, device=device) for n in (n_latents, width, width))
    first, square, bias = (torch.zeros(n, width, device=device) for n in (n_latents, width, 1))
    out = first.t().contiguous()

    def products() -> None:
        for _ in range(K):
            torch.addmm(bias, z, first, out=hidden)
            for _ in range(depth - 1):
                torch.addmm(bias, hidden, square, out=other)
                torch.mm(other, square, out=hidden)
            torch.addmm(z, hidden, out, out=z)

    def noise() -> None:
        for _ in range(K):
            torch.randn(batch, n_latents, out=z)

    return {PRODUCTS: products, NOISE: noise}


def assert_same_dynamics(
    chains: dict[str, Callable[..., Tensor]], n_latents: int, device: torch.device
) -> None:
    """One step of 20,000 copies of one point: means agree in five standard errors and have the law's variance."""
    point = torch.linspace(-1.5, 1.5, n_latents, device=device).expand(20_000, -1).contiguous()
    error = 5 * math.sqrt(2 * ETA / len(point)) * math.sqrt(2)
    expected = chains["hebm reference"](point, 1).mean(0)
    for name, chain in chains.items():
        if name == "naive, normalised each call":
            continue  # the same loop with another energy
        end = chain(point, 1)
        assert (end.mean(0) - expected).abs().max() < error, name
        assert abs(end.var(0).mean().item() / (2 * ETA) - 1) < 0.02, name


def langevin_rows(
    limits: Limits, device: torch.device, *, budget_s: float = 3.0, least: int = 5
) -> list[Row]:
    """All sizes of the issue: 16 and 50 latents, 4×50 and 2×100, 100 to 10,000 chains."""
    rows = []
    for n_latents, (width, depth) in itertools.product(LEVELS, ENERGIES):
        chains = _chains(n_latents, width, depth, device)
        assert_same_dynamics(chains, n_latents, device)
        for batch in BATCHES:
            start = torch.randn(batch, n_latents, device=device)
            candidates: dict[str, Any] = {
                name: (lambda chain=chain, start=start: chain(start, K)) for name, chain in chains.items()
            } | _parts(n_latents, width, depth, batch, device)
            rows.append(
                compare(
                    "langevin",
                    f"{n_latents} latents, {depth}×{width}, batch {batch}",
                    candidates,
                    limits=limits,
                    floor=langevin_floor(n_latents, width, depth, batch),
                    budget_s=budget_s,
                    least=least if batch < 10_000 else min(least, 3),
                )
            )
    return rows
