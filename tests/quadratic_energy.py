"""A quadratic energy, whose tilt of a Gaussian is a Gaussian: shared by the tests against closed forms."""

from dataclasses import dataclass

from torch import Tensor, nn

from hebm.latents import Latents, flatten_latents


@dataclass(frozen=True)
class Quadratic:
    """½ zᵀ A z - bᵀz over the flat state."""

    a: Tensor
    b: Tensor

    def __call__(self, flat: Tensor) -> Tensor:
        return 0.5 * ((flat @ self.a) * flat).sum(1) - flat @ self.b

    def value_and_grad(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        return self(flat), flat @ self.a - self.b


class QuadraticEnergy(nn.Module):
    """E(z) = ½ zᵀ A z - bᵀz, which couples the levels; a tilted N(m, P⁻¹) has precision P + A.

    Args:
        a: A, [D, D], symmetric.
        b: [D].
    """

    def __init__(self, a: Tensor, b: Tensor) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(a), nn.Parameter(b)

    def forward(self, latents: Latents) -> Tensor:
        return Quadratic(self.a, self.b)(flatten_latents(latents))

    def frozen(self) -> Quadratic:
        return Quadratic(self.a.detach(), self.b.detach())
