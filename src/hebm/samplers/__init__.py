"""Samplers that move latents; the target is a callable."""

from hebm.samplers.adaptation import HMC_ACCEPTANCE, MALA_ACCEPTANCE, Adaptation, adapt_step_size
from hebm.samplers.annealing import (
    AnnealingResult,
    ImportanceEstimate,
    annealed_importance,
    importance_log_normalizer,
    reverse_annealing,
)
from hebm.samplers.annealing_schedule import AnnealingSchedule, adaptive_temperatures
from hebm.samplers.base import ChainState, Kernel, MoveInfo, evaluate_state
from hebm.samplers.chains import ChainResult, PersistentPool, ShortRunLangevin
from hebm.samplers.diagnostics import (
    autocorrelation,
    bulk_effective_sample_size,
    effective_sample_size,
    integrated_autocorrelation_time,
    mcse_mean,
    rank_r_hat,
    split_r_hat,
)
from hebm.samplers.hmc import DIVERGENT_ENERGY_ERROR, HMC, diverged, leapfrog
from hebm.samplers.independence import IndependenceChains
from hebm.samplers.langevin import LangevinInfo, LogDensity, langevin_step, value_and_grad
from hebm.samplers.langevin_kernel import UnadjustedLangevin
from hebm.samplers.log_normalizer import (
    LogNormalizer,
    bracket_conditional_log_normalizer,
    bracket_log_normalizer,
)
from hebm.samplers.long_run import AnyKernel, Draws, free_mask, run_chain
from hebm.samplers.mala import MALA
from hebm.samplers.metropolis_chains import MetropolisChains, WhitenedChains
from hebm.samplers.recovery import RecoveryChains
from hebm.samplers.tempering import ParallelTempering, TemperingInfo, TemperingState

__all__ = [
    "DIVERGENT_ENERGY_ERROR",
    "HMC",
    "HMC_ACCEPTANCE",
    "MALA",
    "MALA_ACCEPTANCE",
    "Adaptation",
    "AnnealingResult",
    "AnnealingSchedule",
    "AnyKernel",
    "ChainResult",
    "ChainState",
    "Draws",
    "ImportanceEstimate",
    "IndependenceChains",
    "Kernel",
    "LangevinInfo",
    "LogDensity",
    "LogNormalizer",
    "MetropolisChains",
    "MoveInfo",
    "ParallelTempering",
    "PersistentPool",
    "RecoveryChains",
    "ShortRunLangevin",
    "TemperingInfo",
    "TemperingState",
    "UnadjustedLangevin",
    "WhitenedChains",
    "adapt_step_size",
    "adaptive_temperatures",
    "annealed_importance",
    "autocorrelation",
    "bracket_conditional_log_normalizer",
    "bracket_log_normalizer",
    "bulk_effective_sample_size",
    "diverged",
    "effective_sample_size",
    "evaluate_state",
    "free_mask",
    "importance_log_normalizer",
    "integrated_autocorrelation_time",
    "langevin_step",
    "leapfrog",
    "mcse_mean",
    "rank_r_hat",
    "reverse_annealing",
    "run_chain",
    "split_r_hat",
    "value_and_grad",
]
