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
    "Config",
    "DataConfig",
    "EvaluationConfig",
    "GuardConfig",
    "LevelConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PriorConfig",
    "RunConfig",
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
    download: bool = True


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


class PriorConfig(Config):
    """The prior over all levels."""

    kind: Literal["gaussian", "joint"] = "joint"
    coupling: Literal["joint", "per_level"] = "joint"
    width: PositiveInt = 128
    depth: NonNegativeInt = 2
    activation: Literal["leaky_relu", "silu", "gelu", "softplus", "tanh"] = "leaky_relu"
    lipschitz: PositiveFloat | None = None
    """Bound on the energy's Lipschitz constant; the released code has 1, null means none."""


class SamplerConfig(Config):
    """Langevin chains on the prior."""

    n_steps: NonNegativeInt = 60
    step_size: PositiveFloat = 0.08
    """eta, squared latent units; the paper's s = 0.4."""
    temperature: NonNegativeFloat = 1.0
    start: Literal["noise", "persistent"] = "noise"
    """Where the chains of *training* start; sampling always starts from noise."""
    n_chains: PositiveInt = 1000
    """Size of the persistent pool."""
    restart_probability: Probability = 0.01
    """Chance per update that a persistent chain starts afresh."""


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
    """Further steps, in which generator and encoder rest at their averages and the energy alone learns."""
    energy_only_lr: PositiveFloat | None = None
    """The energy's learning rate in those steps; `energy.lr` if null."""
    batch_size: PositiveInt = 100
    """Images per step over all processes together."""
    precision: Annotated[Literal["32", "bf16"], BeforeValidator(_precision)] = "32"
    autoencoder: OptimizerConfig = OptimizerConfig()
    """Generator and encoder."""
    energy: EnergyOptimizerConfig = EnergyOptimizerConfig()
    lr_schedule: Literal["constant", "exponential", "cosine"] = "constant"
    lr_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """exponential: factor per epoch; cosine: factor reached at the end."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999
    checkpoint_every_steps: PositiveInt = 1000
    keep_checkpoints: PositiveInt = 2
    log_every_steps: PositiveInt = 50
    num_nodes: PositiveInt = 1
    guard: GuardConfig = GuardConfig()


class EvaluationConfig(Config):
    """How a run is evaluated."""

    n_samples: PositiveInt = 10_000
    extractor: Literal["auto", "classifier", "inception", "random_conv"] = "auto"
    n_kid_subsets: PositiveInt = 100
    nearest_k: PositiveInt = 3


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
