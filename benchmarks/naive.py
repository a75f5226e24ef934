"""The training step written naively, in the order of the paper: what ours is compared with.

Separate trunk and ladder convolutions, latents as a list of one tensor per level, gradients of the energy through
autograd, and its spectral normalisation recomputed at every call. The networks are those of ``svhn_sampling``.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["NaiveEncoder", "NaiveEnergy", "NaiveTrainer"]

LATENTS = (2, 2, 2, 10)  # bottom first, as in the paper
CHANNELS = (3, 32, 64, 64)
TOP = 256


def _block(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.01),
        nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False),
        nn.LeakyReLU(0.01),
    )


class NaiveEncoder(nn.Module):
    """Trunk and ladder blocks side by side, each with convolutions of its own."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(CHANNELS))
        self.trunk = nn.ModuleList(_block(a, b) for a, b in pairs)
        self.ladder = nn.ModuleList(_block(a, b) for a, b in pairs)
        flat = [32 * 16 * 16, 64 * 8 * 8, 64 * 4 * 4, TOP]
        self.top = nn.Sequential(
            nn.Linear(1024, TOP), nn.LeakyReLU(0.01), nn.Linear(TOP, TOP), nn.LeakyReLU(0.01)
        )
        self.mean = nn.ModuleList(nn.Linear(n, d) for n, d in zip(flat, LATENTS, strict=True))
        self.log_variance = nn.ModuleList(nn.Linear(n, d) for n, d in zip(flat, LATENTS, strict=True))

    def forward(self, y: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Means and log-variances, bottom first."""
        features, h = [], y
        for trunk, ladder in zip(self.trunk, self.ladder, strict=True):
            features.append(ladder(h).flatten(1))
            h = trunk(h)
        features.append(self.top(h.flatten(1)))
        means = [head(f) for head, f in zip(self.mean, features, strict=True)]
        return means, [head(f) for head, f in zip(self.log_variance, features, strict=True)]


class NaiveEnergy(nn.Module):
    """f = -E: four spectrally normalised layers of 50, one power iteration at every call."""

    def __init__(self) -> None:
        super().__init__()
        widths = [sum(LATENTS), 50, 50, 50, 50]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [spectral_norm(nn.Linear(a, b)), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, spectral_norm(nn.Linear(50, 1)))

    def forward(self, latents: list[Tensor]) -> Tensor:
        """f of each item, [B]."""
        return self.net(torch.cat(latents, 1)).squeeze(1)


class NaiveTrainer:
    """One step of all three nets, written out.

    Args:
        generator: Latents (top first) to the image distribution's mean; the same module as ours.
        n_steps: K.
        s: The paper's step; its square is twice our step size.
    """

    def __init__(
        self, generator: nn.Module, *, n_steps: int = 60, s: float = 0.4, weight: float = 3.0
    ) -> None:
        self.generator, self.encoder, self.energy = generator, NaiveEncoder(), NaiveEnergy()
        self.n_steps, self.s, self.weight = n_steps, s, weight
        nets = [*generator.parameters(), *self.encoder.parameters()]
        self.optimizer = torch.optim.Adam(nets, 3e-4, betas=(0.0, 0.9), weight_decay=5e-4, foreach=False)
        self.energy_optimizer = torch.optim.Adam(
            self.energy.parameters(), 2e-6, betas=(0.0, 0.9), foreach=False
        )

    def langevin(self, n: int) -> list[Tensor]:
        """K steps from noise, on a list of levels."""
        z = [torch.randn(n, d) for d in LATENTS]
        for _ in range(self.n_steps):
            z = [level.detach().requires_grad_() for level in z]
            log_density = self.energy(z).sum() - sum(0.5 * level.square().sum() for level in z)
            grads = torch.autograd.grad(log_density, z)
            noise = [self.s * torch.randn_like(level) for level in z]
            z = [a + 0.5 * self.s**2 * g + e for a, g, e in zip(z, grads, noise, strict=True)]
        return [level.detach() for level in z]

    def step(self, y: Tensor) -> Tensor:
        """Update generator and encoder, then the energy, on images in [-1, 1]."""
        means, log_variances = self.encoder(y)
        z = [m + torch.exp(0.5 * v) * torch.randn_like(m) for m, v in zip(means, log_variances, strict=True)]
        error = (self.generator(tuple(reversed(z))).mean - y).square().sum() / len(y)
        kl = sum(
            0.5 * (m.square() + v.exp() - 1 - v).sum(1) for m, v in zip(means, log_variances, strict=True)
        )
        loss = self.weight * error + kl.mean() - self.energy(z).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        data = [level.detach() for level in z]
        energy_loss = self.energy(self.langevin(len(y))).mean() - self.energy(data).mean()
        self.energy_optimizer.zero_grad()
        energy_loss.backward()
        self.energy_optimizer.step()
        return loss.detach()
