"""The prior over all levels, and how it learns."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hebm.config.base import Config

__all__ = ["ENERGY_KINDS", "PriorConfig", "PriorKind"]

PriorKind = Literal[
    "gaussian",
    "full_gaussian",
    "mixture",
    "vamp",
    "flow",
    "top_down",
    "joint",
    "persistent",
    "importance",
    "nce",
    "recovery",
]


ENERGY_KINDS = ("joint", "persistent", "importance", "nce", "recovery")


class PriorConfig(Config):
    """The prior over all levels, and how it learns (docs/prior.md compares the kinds)."""

    kind: PriorKind = "joint"
    """Without energy: gaussian (N(0, I)), full_gaussian, mixture, vamp, flow, top_down. A base tilted by an energy:
    joint (short-run chains, the method), persistent, importance (weighted draws of a learned base), nce (staged
    noise-contrastive estimation), recovery (diffused)."""
    base: Literal["standard", "top_down", "mixture", "vamp"] = "standard"
    """What the energy of joint, persistent, importance or nce tilts; standard is N(0, I). With kind=gaussian it is not
    looked at, so that a twin is one key away."""
    training: Literal["auto", "joint", "two_phase"] = "auto"
    """joint: the prior learns with the nets from the first step. two_phase: the nets learn under N(0, I), the prior
    on their still latents in the energy-only steps. auto: joint for joint and persistent on a base that learns by
    gradient or not at all, and for top_down; two_phase for the rest."""
    coupling: Literal["joint", "per_level"] = "joint"
    width: PositiveInt = 128
    depth: NonNegativeInt = 2
    activation: Literal["leaky_relu", "silu", "gelu", "softplus", "tanh"] = "leaky_relu"
    lipschitz: PositiveFloat | None = None
    """Bound on the energy's Lipschitz constant; the released code has 1, null means none."""
    n_components: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (60,)
    """Components of a mixture: sizes to try, chosen on held-out latents. vamp takes the largest."""
    n_stages: PositiveInt = 1
    """Stages of nce."""
    noise_levels: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (
        0.4,
        0.6,
        0.8,
        0.95,
    )
    """Standard deviation that each step of a recovery prior's diffusion adds."""
    flow_transforms: PositiveInt = 4
    flow_bins: PositiveInt = 8

    @model_validator(mode="after")
    def _base_is_tilted(self) -> Self:
        if self.base != "standard" and self.kind not in (
            "gaussian",
            "joint",
            "persistent",
            "importance",
            "nce",
        ):
            raise ValueError(
                f"prior.base={self.base} needs an energy that tilts it: set prior.kind to joint, persistent, "
                f"importance or nce, or prior.kind={self.base} for the base alone."
            )
        if self.kind == "importance" and self.base == "standard":
            raise ValueError(
                "prior.kind=importance weighs draws of a learned base: set prior.base to mixture, vamp or top_down."
            )
        if self.training == "joint" and self.n_stages > 1:
            raise ValueError(
                "the stages of nce need latents that no longer move: set prior.training=two_phase, or n_stages=1."
            )
        if self.training == "joint" and (self.kind in ("full_gaussian", "vamp") or self.base == "vamp"):
            raise ValueError(
                "a prior of kind or base full_gaussian or vamp is fitted to still latents: set "
                "prior.training=two_phase."
            )
        return self

    @property
    def has_energy(self) -> bool:
        """Whether there is an energy."""
        return self.kind in ENERGY_KINDS

    @property
    def is_two_phase(self) -> bool:
        """Whether the nets learn under N(0, I) first."""
        if self.training != "auto":
            return self.training == "two_phase"
        by_gradient = self.kind in ("gaussian", "top_down", "joint", "persistent")
        return not by_gradient or self.base in ("mixture", "vamp")

    @property
    def learns_by_steps(self) -> bool:
        """Whether anything of the prior learns by steps."""
        return self.has_energy or self.kind in ("flow", "top_down")
