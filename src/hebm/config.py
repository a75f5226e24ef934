"""Configuration: frozen pydantic models, presets shipped as YAML, and ``key.path=value`` overrides.

A configuration is read from a preset or a YAML file, changed by overrides, and checked as a whole; an unknown
key names the nearest known one. Only :mod:`hebm.build` and the training loop read configuration objects.
"""

import difflib
import hashlib
import json
import typing
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from hebm.errors import ConfigError

__all__ = [
    "AggregateConfig",
    "AttackConfig",
    "Config",
    "DataConfig",
    "DetectionConfig",
    "EvaluationConfig",
    "GuardConfig",
    "HierarchyConfig",
    "LevelConfig",
    "LikelihoodConfig",
    "McmcConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OodConfig",
    "OodSetConfig",
    "OptimizerConfig",
    "PriorConfig",
    "ProbeConfig",
    "RunConfig",
    "SampleEfficiencyConfig",
    "SamplerConfig",
    "TrainerConfig",
    "load_config",
    "preset_names",
    "preset_text",
]

Probability = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Base of all sections: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Config):
    """Which images, and how they are read."""

    name: str = "digits"
    path: Path | None = None
    """Folder or file, for the sources that need one; otherwise `HEBM_DATA`/name."""
    size: PositiveInt = 8
    """Width and height in pixels, 8 to 128."""
    channels: Literal[1, 3] = 1
    split: str = "train"
    """Split to train on (`extra` for the released SVHN protocol)."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """What to do with an image that cannot be read."""
    limit: PositiveInt | None = None
    """Use only the first so many images."""
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share held out for testing where the source has no test split."""
    held_out_labels: tuple[NonNegativeInt, ...] = ()
    """Anomaly protocol: train without this label, on 80 % of the pooled other images (docs/reproduction.md)."""
    labels: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    """Use only the images of these labels; all if null."""
    download: bool = True

    @model_validator(mode="after")
    def _labels_are_chosen_once(self) -> Self:
        if self.labels is not None and self.held_out_labels:
            raise ValueError(
                "data.labels chooses images within the official splits and data.held_out_labels makes other splits: "
                "set one of them, data.labels=null or data.held_out_labels=[]."
            )
        return self


class LevelConfig(Config):
    """One level of the hierarchy."""

    latents: PositiveInt
    channels: PositiveInt


class ModelConfig(Config):
    """Generator and encoder."""

    levels: Annotated[tuple[LevelConfig, ...], Field(min_length=1)]
    """Top first."""
    merge: Literal["add", "concat"] = "concat"
    likelihood: Literal["gaussian", "gaussian_learned", "bernoulli", "discretized_logistic"] = "gaussian"
    likelihood_scale: PositiveFloat = 0.3
    """Standard deviation on the [-1, 1] scale; the paper's weight G is 1 / (2 scale²)."""
    top_width: PositiveInt | None = None
    """Hidden width of the generator's top dense layers; the top level's channels if null."""


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


class SamplerConfig(Config):
    """Chains on the prior."""

    kind: Literal["auto", "langevin", "metropolis", "independence"] = "auto"
    """langevin: unadjusted, in white coordinates where the base has them. metropolis: MALA. independence: proposals
    from a learned base. auto: independence on a mixture or vamp base, langevin on the others."""
    n_steps: NonNegativeInt = 60
    """K; per noise level for a recovery prior."""
    sampling_steps: NonNegativeInt | None = None
    """K when sampling, where it should differ from training; `n_steps` if null."""
    step_size: PositiveFloat = 0.08
    """eta, squared latent units; the paper's s = 0.4."""
    temperature: NonNegativeFloat = 1.0
    path: Literal["auto", "reference", "fused", "triton"] = "auto"
    """Which code runs langevin chains: reference is the definition, fused agrees with it up to rounding, triton (GPU)
    in law. auto: the fastest that can run the chain's target. metropolis chains have no fused form: there it is the
    reference."""
    n_chains: PositiveInt = 1000
    """Size of the pool of persistent chains (prior.kind=persistent); sampling starts from the base all the same."""
    restart_probability: Probability = 0.01
    """Chance per update that a persistent chain starts afresh."""

    @property
    def n_sampling_steps(self) -> int:
        """K when sampling."""
        return self.n_steps if self.sampling_steps is None else self.sampling_steps


class ObjectiveConfig(Config):
    """The joint objective."""

    kl_warmup_steps: NonNegativeInt = 0
    free_bits: tuple[NonNegativeFloat, ...] | NonNegativeFloat = 0.0
    """Nats per level, top first, that cost nothing; one number stands for all levels."""
    energy_l2: NonNegativeFloat = 0.0


class OptimizerConfig(Config):
    """One Adam."""

    lr: PositiveFloat = 1e-3
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    grad_clip: PositiveFloat | None = None
    """Largest norm of the gradient; null: no clipping."""


class EnergyOptimizerConfig(OptimizerConfig):
    """The energy's Adam: the same keys, a lower default rate."""

    lr: PositiveFloat = 1e-4


class GuardConfig(Config):
    """When training counts as diverged, and what is tried."""

    max_energy_gap: PositiveFloat = 100.0
    """Largest |mean energy of data-side latents - of prior samples| over a log interval, nats."""
    max_rollbacks: NonNegativeInt = 5
    energy_lr_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The energy's learning rate is multiplied by this at each rollback."""


def _precision(value: object) -> object:
    return str(value) if isinstance(value, int) else value


class TrainerConfig(Config):
    """The training loop."""

    max_epochs: PositiveInt = 10
    max_steps: PositiveInt | None = None
    """Stops earlier than `max_epochs` if set."""
    energy_only_steps: NonNegativeInt = 0
    """Further steps, in which generator and encoder rest at their averages and the prior alone learns."""
    energy_only_lr: PositiveFloat | None = None
    """The energy's learning rate in those steps; `energy.lr` if null."""
    energy_only_batch_size: PositiveInt | None = None
    """Latents per such step; `batch_size` if null."""
    finetune_steps: NonNegativeInt = 0
    """Steps after those in which generator, encoder and energy learn together; a fitted base stays as it is."""
    finetune_lr: PositiveFloat = 1e-4
    """Learning rate of generator and encoder in them; the energy's is `energy.lr`."""
    batch_size: PositiveInt = 100
    """Images per step over all processes together."""
    precision: Annotated[Literal["32", "bf16"], BeforeValidator(_precision)] = "32"
    """bf16: matrix products and convolutions of the nets in bfloat16; latents, energies and the bound in float32."""
    compile: bool = False
    """Compile generator and encoder (torch.compile; on a GPU captured in CUDA graphs). Needs a C++ compiler or Triton,
    and rounds differently."""
    autoencoder: OptimizerConfig = OptimizerConfig()
    """Generator and encoder."""
    energy: EnergyOptimizerConfig = EnergyOptimizerConfig()
    base: OptimizerConfig = OptimizerConfig(grad_clip=10.0)
    """A base, or a prior without energy, that learns by gradient."""
    lr_schedule: Literal["constant", "exponential", "cosine"] = "constant"
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """exponential: factor per epoch; cosine: factor reached at the end."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    checkpoint_every_steps: PositiveInt = 1000
    keep_checkpoints: PositiveInt = 2
    log_every_steps: PositiveInt = 50
    num_nodes: PositiveInt = 1
    guard: GuardConfig = GuardConfig()


class McmcConfig(Config):
    """Whether the prior's chains converge (suite `mcmc`). Lengths are gradient evaluations per chain."""

    steps: Annotated[tuple[NonNegativeInt, ...], Field(min_length=2)] = (
        0,
        15,
        30,
        60,
        150,
        300,
        600,
        1000,
        2500,
        10_000,
    )
    """Where the chains are looked at; the greatest is their length."""
    max_steps: dict[Literal["langevin", "mala", "hmc", "tempering", "independence"], PositiveInt] = {}
    """Shorter chains of a sampler, by its name."""
    what_k_buys: tuple[PositiveInt, ...] = (15, 30, 60, 150, 300)
    """Numbers of steps at which samples of the run's own chains are compared with images."""
    long_chain_steps: PositiveInt = 2500
    n_chains: PositiveInt = 1000
    n_samples_fd: PositiveInt = 2000
    """Samples per Fréchet distance, which depends on their number."""
    n_warmup: PositiveInt = 300
    """Moves that tune a step size before the chains start."""
    n_leapfrog: PositiveInt = 10
    n_replicas: Annotated[int, Field(ge=2)] = 10


class LikelihoodConfig(Config):
    """Bounds on log p(x) and log Z, and what each level's share of the energy is worth (`--suite likelihood`)."""

    n_images: Annotated[int, Field(ge=2)] = 10_000
    """Held-out images, and as many of training; all there are, if there are fewer."""
    n_importance: PositiveInt = 100
    """Posterior draws per image."""
    n_images_1000: Annotated[int, Field(ge=2)] = 200
    """Of these, images with 1000 importance samples each."""
    n_images_conditional: Annotated[int, Field(ge=2)] = 200
    """Of these, images on which each level's gain is measured."""
    n_prior_samples: Annotated[int, Field(ge=2)] = 2000
    n_base_draws: Annotated[int, Field(ge=2)] = 100_000
    """Draws from the base whose plain weights give log Z."""
    n_conditional_draws: Annotated[int, Field(ge=2)] = 2000
    """The same for each image and level."""
    min_ess_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Effective share of plain weights below which log Z is annealed instead."""
    min_conditional_ess: PositiveFloat = 200.0
    """Effective number of plain weights below which an image's log Z is annealed."""
    n_particles: Annotated[int, Field(ge=2)] = 2048
    n_conditional_particles: Annotated[int, Field(ge=4)] = 64
    """Per image."""
    n_pilot: Annotated[int, Field(ge=2)] = 512
    """Particles that choose the temperatures and step sizes."""
    ess_share: Annotated[float, Field(gt=0, lt=1)] = 0.98
    """Effective share that a change of temperature keeps."""
    conditional_ess_share: Annotated[float, Field(gt=0, lt=1)] = 0.95
    n_leapfrog: PositiveInt = 3
    n_equilibrate: NonNegativeInt = 50
    """Moves on the prior before the annealing back to the base."""


class ProbeConfig(Config):
    """Classifiers of each level's codes (suites `probe` and `disentangle`)."""

    n_seeds: Annotated[int, Field(ge=2)] = 3
    n_epochs: PositiveInt = 10
    """Passes over the training codes."""
    min_steps: PositiveInt = 500
    """Steps there are at least, where the training codes are few."""
    batch_size: PositiveInt = 250
    lr: PositiveFloat = 0.02
    """Falls linearly to zero."""


class HierarchyConfig(Config):
    """What each level holds (suite `hierarchy`)."""

    n_images: Annotated[int, Field(ge=2)] = 5000
    """Held-out images whose latents are told apart; I(x; z) can be at most the logarithm of their number."""
    n_swaps: Annotated[int, Field(ge=2)] = 5000
    """Pairs of held-out images that exchange a level."""
    n_redrawn: Annotated[int, Field(ge=2)] = 5000
    """Samples whose levels are redrawn."""
    attributes: tuple[str, ...] | None = None
    """Factors that swaps are judged by, where the images have several; all if null. Each needs a classifier."""


class AggregateConfig(Config):
    """Prior against aggregate posterior, where latents are few (suite `aggregate`)."""

    n_samples: Annotated[int, Field(ge=2)] = 2000
    """Draws of each; posteriors are those of twice as many held-out images, or of all there are."""
    n_long_steps: PositiveInt = 1000
    """Steps of the longer chains that stand beside the model's own."""
    n_resamples: PositiveInt = 200
    """Of the intervals, and of the levels that samples of one law reach."""
    n_points: PositiveInt = 600
    """Draws that are written out, to be plotted."""


class OodSetConfig(Config):
    """Images that do not belong: a set by name, or one that is made."""

    data: str
    """A data set's name; or constant (one colour per image), noise (uniform pixels), inverted (1 - x of training
    images), shuffled (their pixels in random places)."""
    split: str | None = None
    """test, or all where a share would be held out, if null."""
    path: Path | None = None
    """As data.path."""
    name: str | None = None
    """What results call it; data, and split and path if given, if null."""

    @property
    def label(self) -> str:
        """What results call it."""
        parts = (self.data, self.split, self.path.stem if self.path else None)
        return self.name or ":".join(part for part in parts if part)


def _ood_set(value: object) -> object:
    return {"data": value} if isinstance(value, str) else value


class OodConfig(Config):
    """Which images do not belong, and which scores are to find them (suite `ood`)."""

    pairs: tuple[Annotated[OodSetConfig, BeforeValidator(_ood_set)], ...] | None = None
    """Sets to tell from the test images; a name alone will do. Those usual for the data set if null, of which missing
    ones are left out."""
    scores: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "distortion",
        "energy",
        "log_joint",
        "elbo",
        "iwae",
        "prior_density",
        "rate",
        "rate:level=0",
        "l_above",
        "llr",
        "llr:n_lowest=2",
        "typicality",
        "latent_density",
        "combined",
    )
    """Names of scores, with options behind a colon; one that a model cannot give is left out with the reason."""
    declared: str = "combined"
    """The score that counts, chosen beforehand."""
    n_in: Annotated[int, Field(ge=2)] = 2000
    """Test images that are scored. Each pair has as many on both sides."""
    n_out: Annotated[int, Field(ge=2)] = 2000
    n_calibration: Annotated[int, Field(ge=2)] = 5000
    """Other test images, at most half of them, to which recipes are fitted."""
    n_train: Annotated[int, Field(ge=2)] = 10_000
    """Training images to which the pixel controls are fitted."""
    n_bootstrap: PositiveInt = 500

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        labels = [pair.label for pair in self.pairs or ()]
        for name, values in (("pairs", labels), ("scores", list(self.scores))):
            if twice := [value for value in values if values.count(value) > 1]:
                raise ValueError(
                    f"evaluation.ood.{name} has {twice[0]!r} twice; leave one out, or give it a name."
                )
        return self


class AttackConfig(Config):
    """Attacks on the encoder, and the defence by posterior chains (suite `attack`)."""

    n_pairs: Annotated[int, Field(ge=2)] = 10
    """Pairs of an image and a target for the latent attack."""
    penalties: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1024.0,
        4096.0,
        16384.0,
    )
    """C, nats per squared distance of the pixels in [0, 1]: the larger, the smaller the change of the image."""
    n_steps: PositiveInt = 200
    step_size: PositiveFloat = 0.1
    """Adam's first, in units of the pixels' range."""
    n_images: Annotated[int, Field(ge=2)] = 20
    """Images for the attack within an L∞ ball."""
    radii: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.1, 0.2)
    n_linf_steps: PositiveInt = 50
    n_restarts: PositiveInt = 5
    n_warmup: PositiveInt = 100
    """Moves of the defence that tune its step size."""
    n_draws: Annotated[int, Field(ge=2)] = 100
    """Moves of the defence after those, whose mean is decoded."""
    n_leapfrog: PositiveInt = 5
    target_acceptance: Annotated[float, Field(gt=0, lt=1)] = 0.9
    n_probe_images: Annotated[int, Field(ge=2)] = 5000
    """Training images whose latents and labels teach the classifier that is attacked, and whose posteriors' scales are
    the units in which the defence moves."""


class AnomalyConfig(Config):
    """Which scores are to find a label that training has not seen (suite `anomaly`)."""

    scores: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "log_joint",
        "distortion",
        "energy",
        "prior_density",
        "rate:level=0",
        "elbo",
        "latent_density",
        "combined",
    )
    """Names of scores; one that a model cannot give is left out with the reason."""
    declared: str = "prior_density"
    """The score that counts, chosen beforehand."""
    controls: bool = True
    """Whether the pixel controls are fitted too."""
    n_calibration: Annotated[int, Field(ge=2)] = 5000
    """Training images to which recipes are fitted."""
    n_train: Annotated[int, Field(ge=2)] = 10_000
    """Training images to which the pixel controls are fitted."""
    n_bootstrap: PositiveInt = 200


class SampleEfficiencyConfig(Config):
    """How few labels a linear probe of the codes needs (suite `sample_efficiency`)."""

    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (
        0.01,
        0.03,
        0.1,
        0.3,
        1.0,
    )
    """Shares of the training images that keep their labels, rising."""
    n_subsets: PositiveInt = 3
    """Subsets per share; one at 1.0, where there is only one."""
    weight_variances: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        0.001,
        0.01,
        0.1,
        1.0,
        10.0,
    )
    """Variances of the probe's weights to choose from, within each subset (scikit-learn's C)."""
    controls: tuple[Literal["simclr", "bigan", "untrained", "pca", "pixels"], ...] = (
        "simclr",
        "bigan",
        "untrained",
        "pca",
        "pixels",
    )
    """What is probed beside the run; simclr and bigan train its architecture from scratch."""
    batch_size: Annotated[int, Field(ge=2)] = 128
    """Images per step of simclr and bigan."""
    simclr_steps: PositiveInt = 400
    simclr_lr: PositiveFloat = 1e-3
    temperature: PositiveFloat = 0.5
    bigan_steps: PositiveInt = 400
    bigan_lr: PositiveFloat = 2e-4
    """Of generator and encoder; the discriminator's is four times that."""

    @model_validator(mode="after")
    def _shares_rise(self) -> Self:
        if list(self.shares) != sorted(set(self.shares)):
            raise ValueError("evaluation.sample_efficiency.shares must rise, each named once.")
        return self


class EvaluationConfig(Config):
    """How a run is evaluated."""

    n_samples: PositiveInt = 10_000
    extractor: Literal["auto", "classifier", "inception", "random_conv"] = "auto"
    n_kid_subsets: PositiveInt = 100
    nearest_k: PositiveInt = 3
    likelihood: LikelihoodConfig = LikelihoodConfig()
    mcmc: McmcConfig = McmcConfig()
    probe: ProbeConfig = ProbeConfig()
    hierarchy: HierarchyConfig = HierarchyConfig()
    aggregate: AggregateConfig = AggregateConfig()
    ood: OodConfig = OodConfig()
    anomaly: AnomalyConfig = AnomalyConfig()
    attack: AttackConfig = AttackConfig()
    sample_efficiency: SampleEfficiencyConfig = SampleEfficiencyConfig()


class DetectionConfig(Config):
    """What new images are judged by (`hebm detect`). Nothing of it changes the model."""

    score: str = "log_joint"
    """A score with its options (docs/detection.md), e.g. llr:n_lowest=2."""
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of normal images that may be called anomalous."""
    calibrate_after_training: bool = True
    """Whether training ends by calibrating the score on the test split and storing that in the checkpoint."""
    n_calibration: PositiveInt = 2000
    """Held-out images taken for it, at random; all if there are fewer."""
    fit_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of these that a score is fitted to first, where it needs normal images; the others calibrate."""


class RunConfig(Config):
    """Everything a run depends on."""

    description: str = ""
    data: DataConfig = DataConfig()
    model: ModelConfig
    prior: PriorConfig = PriorConfig()
    sampler: SamplerConfig = SamplerConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    detection: DetectionConfig = DetectionConfig()
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _free_bits_fit_the_levels(self) -> Self:
        bits = self.objective.free_bits
        if isinstance(bits, tuple) and len(bits) != len(self.model.levels):
            raise ValueError(
                f"objective.free_bits has {len(bits)} values for {len(self.model.levels)} levels; "
                "give one number, or one per level, top first."
            )
        return self

    @model_validator(mode="after")
    def _finetuning_follows_a_prior(self) -> Self:
        prior = self.prior
        goes_on = prior.kind == "gaussian" or (prior.is_two_phase and prior.n_stages == 1)
        if self.trainer.finetune_steps > 0 and not goes_on:
            raise ValueError(
                "trainer.finetune_steps go on from a prior that was learned in a second phase, in one stage: set "
                "prior.training=two_phase and prior.n_stages=1, or trainer.finetune_steps=0."
            )
        return self

    @model_validator(mode="after")
    def _prior_gets_its_steps(self) -> Self:
        prior, steps = self.prior, self.trainer.energy_only_steps
        if prior.is_two_phase and prior.learns_by_steps and steps == 0:
            raise ValueError(
                f"prior.kind={prior.kind} learns in two phases, but there are no steps for the second; set "
                "trainer.energy_only_steps, e.g. to 2000."
            )
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, as it is stored in a run directory."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    def hash(self) -> str:
        """SHA-256 of the resolved configuration, hexadecimal."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def with_overrides(self, overrides: Iterable[str]) -> "RunConfig":
        """A copy with ``key.path=value`` overrides applied."""
        return _validated(_overridden(self.model_dump(mode="json"), overrides), "the configuration")


def preset_names() -> list[str]:
    """Names of the presets shipped with the package."""
    return sorted(
        p.name.removesuffix(".yaml") for p in files("hebm.presets").iterdir() if p.name.endswith(".yaml")
    )


def preset_text(name: str) -> str:
    """YAML text of a preset.

    Raises:
        ConfigError: If there is no such preset, naming the nearest.
    """
    if name not in preset_names():
        raise ConfigError(f"{name!r} is neither a preset nor a file.{_nearest(name, preset_names())}")
    return (files("hebm.presets") / f"{name}.yaml").read_text(encoding="utf-8")


def load_config(source: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a preset or a YAML file and apply overrides.

    Args:
        source: Name of a preset, or path of a YAML file.
        overrides: ``key.path=value`` texts; values are read as YAML; list items by number
            (``model.levels.0.latents=8``).

    Raises:
        ConfigError: If a key is unknown (the nearest known one is named) or a value is wrong.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ConfigError(f"the configuration file {path} does not exist; check the path.")
        text = path.read_text(encoding="utf-8")
    else:
        text = preset_text(str(source))
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{source} must be a YAML mapping with the keys {', '.join(RunConfig.model_fields)}."
        )
    return _validated(_overridden(values, overrides), str(source))


def _overridden(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(values, default=str))
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"the override {text!r} has no value; write {text}=VALUE.")
        try:
            _assign(result, key.strip().split("."), yaml.safe_load(value))
        except yaml.YAMLError as error:
            raise ConfigError(f"the value of the override {text!r} is not valid YAML; quote it.") from error
    return result


def _assign(values: dict[str, Any], parts: list[str], value: object) -> None:
    target: Any = values
    for part in parts[:-1]:
        if isinstance(target, list):
            target = target[_list_index(target, part, parts)]
        else:
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
        if not isinstance(target, dict | list):
            raise ConfigError(f"{'.'.join(parts)} does not exist: {part} is a single value; set it directly.")
    if isinstance(target, list):
        target[_list_index(target, parts[-1], parts)] = value
    else:
        target[parts[-1]] = value


def _list_index(target: list[Any], part: str, parts: list[str]) -> int:
    if not part.isdecimal() or int(part) >= len(target):
        raise ConfigError(
            f"{'.'.join(parts)} does not exist: choose an item from 0 to {len(target) - 1}, not {part}."
        )
    return int(part)


def _validated(values: Mapping[str, Any], source: str) -> RunConfig:
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        lines = [_explain(dict(detail)) for detail in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def _explain(detail: dict[str, Any]) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location)
    if detail["type"] == "extra_forbidden":
        return (
            f"the key {key!r} is unknown.{_nearest(key, sorted(_known_keys(RunConfig)), last=location[-1])}"
        )
    if detail["type"] == "missing":
        return f"the key {key!r} is missing; add it."
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{key} = {detail['input']!r}: {message}" if key else message


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterable[str]:
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for inner in _sections(field.annotation):
            yield from _known_keys(inner, f"{prefix}{name}.")


def _sections(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (tuple, list, typing.Union, Annotated):
        for inner in get_args(annotation):
            yield from _sections(inner)


def _nearest(name: str, known: list[str], *, last: str | None = None) -> str:
    same_leaf = [
        key for key in known if last is not None and key.rsplit(".", 1)[-1] == last
    ]  # in a wrong section
    close = difflib.get_close_matches(name, same_leaf or known, n=1, cutoff=0 if same_leaf else 0.5)
    if not close and last is not None:
        by_leaf = {key.rsplit(".", 1)[-1]: key for key in known}
        close = [by_leaf[leaf] for leaf in difflib.get_close_matches(last, list(by_leaf), n=1, cutoff=0.6)]
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known[:40])}."
