"""The released SVHN networks, written down plainly: shapes by released key, and their forward passes.

Levels are numbered as released: 0 stands next to the data. `k` divides every width, so that the large network
can be evaluated in a test.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]


def linear_shapes(name: str, n_in: int, n_out: int) -> Shapes:
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def head_shapes(level: int, n_in: int, n_latents: int) -> Shapes:
    return linear_shapes(f"ladder{level}_mean", n_in, n_latents) | linear_shapes(
        f"ladder{level}_logvar", n_in, n_latents
    )


SAMPLING_GENERATOR: Shapes = {
    **linear_shapes("gen3.0", 10, 256),
    **linear_shapes("gen3.2", 256, 256),
    **linear_shapes("gen3.4", 256, 64),
    **linear_shapes("latent2_act.0", 2, 64),
    **linear_shapes("gen2.0", 64, 1024),
    "gen2.3.weight": (64, 64, 4, 4),
    "gen2.5.weight": (64, 64, 3, 3),
    **linear_shapes("latent1_act.0", 2, 4096),
    "gen1.0.weight": (64, 64, 4, 4),
    "gen1.2.weight": (64, 32, 3, 3),
    **linear_shapes("latent0_act.0", 2, 8192),
    "gen0.0.weight": (32, 32, 4, 4),
    "gen0.2.weight": (32, 3, 3, 3),
}


def encoder_shapes(channels: list[int], n_latents: list[int], sizes: list[int], width: int) -> Shapes:
    """Channels from the image up, latents and map sizes from level 0 up, width of the top's dense layers."""
    shapes: Shapes = {}
    top = len(n_latents) - 1
    for level in range(top):
        n_in, n_out = channels[level], channels[level + 1]
        for kind in ("ladder", "inference"):
            shapes[f"{kind}{level}.0.convT.weight"] = (n_out, n_in, 4, 4)
            shapes[f"{kind}{level}.1.convT.weight"] = (n_out, n_out, 3, 3)
        shapes |= head_shapes(level, n_out * sizes[level] ** 2, n_latents[level])
    shapes |= linear_shapes(f"ladder{top}.1.lin", channels[top] * sizes[top - 1] ** 2, width)
    shapes |= linear_shapes(f"ladder{top}.2.lin", width, width)
    return shapes | head_shapes(top, width, n_latents[top])


SAMPLING_ENCODER = encoder_shapes([3, 32, 64, 64], [2, 2, 2, 10], [16, 8, 4], 256)


def fid_generator_shapes(k: int = 1) -> Shapes:
    c = {level: n // k for level, n in {4: 1024, 3: 512, 2: 256, 1: 256, 0: 128}.items()}
    width = 2048 // k
    return {
        **linear_shapes("gen4.0", 10, width),
        **linear_shapes("gen4.2", width, width),
        **linear_shapes("gen4.4", width, c[4] * 2 * 2),
        **linear_shapes("latent3_act.0", 10, c[4] * 2 * 2),
        "gen3.0.weight": (2 * c[4], c[4], 3, 3),
        "gen3.2.weight": (c[4], c[3], 4, 4),
        "gen3.4.weight": (c[3], c[3], 3, 3),
        **linear_shapes("latent2_act.0", 10, c[3] * 4 * 4),
        "gen2.0.weight": (2 * c[3], c[3], 3, 3),
        "gen2.2.weight": (c[3], c[2], 4, 4),
        "gen2.4.weight": (c[2], c[2], 3, 3),
        **linear_shapes("latent1_act.0", 10, c[2] * 8 * 8),
        "gen1.0.weight": (2 * c[2], c[2], 3, 3),
        "gen1.2.weight": (c[2], c[1], 4, 4),
        "gen1.4.weight": (c[1], c[1], 3, 3),
        **linear_shapes("latent0_act.0", 10, c[1] * 16 * 16),
        "gen0.0.weight": (2 * c[1], c[1], 3, 3),
        "gen0.2.weight": (c[1], c[0], 4, 4),
        "gen0.4.weight": (c[0], c[0], 3, 3),
        "gen0.6.weight": (c[0], 3, 3, 3),
    }


def fid_encoder_shapes(k: int = 1) -> Shapes:
    channels = [3, 128 // k, 256 // k, 256 // k, 512 // k]
    return encoder_shapes(channels, [10] * 5, [16, 8, 4, 2], 1024 // k)


def energy_shapes(n_latents: int, width: int, depth: int) -> Shapes:
    shapes: Shapes = {}
    widths = [n_latents, *[width] * depth, 1]
    for i, (n_in, n_out) in enumerate(pairwise(widths)):
        name = "energy.out" if i == depth else f"energy.fc{i + 1}"
        shapes |= {f"{name}.bias": (n_out,), f"{name}.weight_orig": (n_out, n_in)}
        shapes |= {f"{name}.weight_u": (n_out,), f"{name}.weight_v": (n_in,)}
    return shapes


def random_weights(shapes: Shapes, seed: int) -> Weights:
    """Weights of the size that keeps activations of order one."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        fan = max(1, int(torch.tensor(shape[1:]).prod())) if len(shape) > 1 else 4
        weights[name] = torch.randn(shape, generator=generator, dtype=torch.float64) / fan**0.5
    return weights


def _linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _up4(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, w[f"{name}.weight"], stride=2, padding=1)


def _up3(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.conv_transpose2d(x, w[f"{name}.weight"], stride=1, padding=1)


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def sampling_generator(w: Weights, z0: Tensor, z1: Tensor, z2: Tensor, z3: Tensor) -> Tensor:
    n = len(z0)
    h3 = _linear(w, "gen3.4", _act(_linear(w, "gen3.2", _act(_linear(w, "gen3.0", z3)))))
    h = h3 + _linear(w, "latent2_act.0", z2)
    h = _act(_linear(w, "gen2.0", h)).view(n, 64, 4, 4)
    h = _up3(w, "gen2.5", _act(_up4(w, "gen2.3", h)))
    h = h + _linear(w, "latent1_act.0", z1).view(n, 64, 8, 8)
    h = _up3(w, "gen1.2", _act(_up4(w, "gen1.0", h)))
    h = h + _linear(w, "latent0_act.0", z0).view(n, 32, 16, 16)
    return torch.tanh(_up3(w, "gen0.2", _act(_up4(w, "gen0.0", h))))


def fid_generator(w: Weights, z0: Tensor, z1: Tensor, z2: Tensor, z3: Tensor, z4: Tensor) -> Tensor:
    n = len(z0)
    h = z4
    for name in ("gen4.0", "gen4.2", "gen4.4"):
        h = _act(_linear(w, name, h))
    h = h.view(n, -1, 2, 2)
    for level, z, size in ((3, z3, 2), (2, z2, 4), (1, z1, 8), (0, z0, 16)):
        joined = _act(_linear(w, f"latent{level}_act.0", z)).view(n, -1, size, size)
        h = torch.cat([h, joined], dim=1)
        h = _act(_up3(w, f"gen{level}.0", h))
        h = _act(_up4(w, f"gen{level}.2", h))
        h = _act(_up3(w, f"gen{level}.4", h))
    return torch.tanh(_up3(w, "gen0.6", h))


def encoder(w: Weights, y: Tensor, top: int) -> list[tuple[Tensor, Tensor]]:
    """Mean and log-variance of every level, level 0 first."""

    def block(kind: str, level: int, x: Tensor) -> Tensor:
        x = F.leaky_relu(F.conv2d(x, w[f"{kind}{level}.0.convT.weight"], stride=2, padding=1), 0.01)
        return F.leaky_relu(F.conv2d(x, w[f"{kind}{level}.1.convT.weight"], stride=1, padding=1), 0.01)

    def head(level: int, features: Tensor) -> tuple[Tensor, Tensor]:
        return _linear(w, f"ladder{level}_mean", features), _linear(w, f"ladder{level}_logvar", features)

    levels, trunk = [], y
    for level in range(top):
        levels.append(head(level, block("ladder", level, trunk).reshape(len(y), -1)))
        trunk = block("inference", level, trunk)
    features = trunk.reshape(len(y), -1)
    for name in (f"ladder{top}.1.lin", f"ladder{top}.2.lin"):
        features = F.leaky_relu(_linear(w, name, features), 0.01)
    return [*levels, head(top, features)]


def negative_energy(w: Weights, latents: list[Tensor], depth: int) -> Tensor:
    """f of the latents, level 0 first: spectrally normalised with the stored u and v."""
    h = torch.cat(latents, dim=1)
    for name in [*(f"energy.fc{i + 1}" for i in range(depth)), "energy.out"]:
        weight = w[f"{name}.weight_orig"]
        sigma = torch.dot(w[f"{name}.weight_u"], weight @ w[f"{name}.weight_v"])
        h = F.linear(h, weight / sigma, w[f"{name}.bias"])
        if name != "energy.out":
            h = _act(h)
    return h.squeeze(1)
