"""Everything a run depends on, in one object."""

import hashlib
import json
from collections.abc import Iterable
from typing import Self

import yaml
from pydantic import NonNegativeInt, model_validator

from hebm.config.base import Config
from hebm.config.data import DataConfig
from hebm.config.detection import DetectionConfig
from hebm.config.evaluation import EvaluationConfig
from hebm.config.explain import validated
from hebm.config.model import ModelConfig
from hebm.config.overrides import overridden
from hebm.config.prior import PriorConfig
from hebm.config.sampler import SamplerConfig
from hebm.config.trainer import ObjectiveConfig, TrainerConfig

__all__ = ["RunConfig"]


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
    def _level_starts_fit_the_levels(self) -> Self:
        starts = self.objective.level_start_steps
        if starts and (len(starts) != len(self.model.levels) or min(starts) > 0):
            raise ValueError(
                f"objective.level_start_steps={list(starts)} for {len(self.model.levels)} levels; give one step per "
                "level, top first, of which one at least is 0, or none at all."
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
        return self._hash_without(set())

    def training_hash(self) -> str:
        """The same of what training depends on: without ``evaluation`` and ``description``.

        Runs with equal training hashes have equal weights on one machine, however they are evaluated afterwards.
        """
        return self._hash_without({"evaluation", "description"})

    def hashes(self) -> set[str]:
        """Its hash, and the one that versions gave it which had not yet some key that is off here.

        What is stored under any of them is of this configuration.
        """
        if self.objective.level_start_steps:
            return {self.hash()}
        return {self.hash(), self._hash_without({"objective": {"level_start_steps", "level_fade_steps"}})}

    def _hash_without(self, left_out: set[str] | dict[str, set[str]]) -> str:
        text = json.dumps(self.model_dump(mode="json", exclude=left_out), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def with_overrides(self, overrides: Iterable[str]) -> "RunConfig":
        """A copy with ``key.path=value`` overrides applied."""
        return validated(RunConfig, overridden(self.model_dump(mode="json"), overrides), "the configuration")
