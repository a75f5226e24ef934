"""All suites."""

from typing import Literal

from pydantic import PositiveInt

from hebm.config.base import Config
from hebm.config.chains import LikelihoodConfig, McmcConfig
from hebm.config.detection import AnomalyConfig, AttackConfig, OodConfig
from hebm.config.representation import AggregateConfig, HierarchyConfig, ProbeConfig, SampleEfficiencyConfig

__all__ = ["EvaluationConfig"]


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
