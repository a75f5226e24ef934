"""Configuration: frozen pydantic models, presets shipped as YAML, and ``key.path=value`` overrides.

A configuration is read from a preset or a YAML file, changed by overrides, and checked as a whole; an unknown
key names the nearest known one. Only :mod:`hebm.build` and the training loop read configuration objects.
"""

from hebm.config.base import Config
from hebm.config.chains import LikelihoodConfig, McmcConfig
from hebm.config.data import DataConfig
from hebm.config.detection import AttackConfig, DetectionConfig, OodConfig, OodSetConfig
from hebm.config.evaluation import EvaluationConfig
from hebm.config.load import load_config, preset_names, preset_text
from hebm.config.model import LevelConfig, ModelConfig
from hebm.config.prior import PriorConfig
from hebm.config.representation import AggregateConfig, HierarchyConfig, ProbeConfig, SampleEfficiencyConfig
from hebm.config.run import RunConfig
from hebm.config.sampler import SamplerConfig
from hebm.config.trainer import GuardConfig, ObjectiveConfig, OptimizerConfig, TrainerConfig

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
