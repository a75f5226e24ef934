"""Configuration to prior, sampler of its chains, and learner."""

import torch
from torch import nn
from torch.optim import Adam

from hebm.config import OptimizerConfig, PriorConfig, RunConfig
from hebm.distributions import DiagonalNormal
from hebm.learners import (
    ContrastiveLearner,
    ExemplarLearner,
    FullGaussianLearner,
    ImportanceLearner,
    LikelihoodLearner,
    MixtureLearner,
    NoiseContrastiveLearner,
    PriorLearner,
    RecoveryLearner,
    TiltedLearner,
    fewest_images,
    looks_at_once,
    spread_components_,
)
from hebm.models import PriorSampler
from hebm.priors import (
    EnergyNetwork,
    FlowPrior,
    FullGaussianPrior,
    GaussianPrior,
    JointPrior,
    MixturePrior,
    RecoveryPrior,
    StagedEnergy,
    TopDownPrior,
    VampPrior,
)
from hebm.samplers import (
    IndependenceChains,
    MetropolisChains,
    PersistentPool,
    RecoveryChains,
    ShortRunLangevin,
    WhitenedChains,
)

__all__ = ["adam", "build_learner", "build_prior", "build_sampler", "images_needed"]

AnyPrior = (
    GaussianPrior
    | FullGaussianPrior
    | MixturePrior
    | VampPrior
    | FlowPrior
    | TopDownPrior
    | JointPrior
    | RecoveryPrior
)


def build_prior(section: PriorConfig, level_dims: tuple[int, ...]) -> AnyPrior:
    """Build the untrained prior; whatever its kind, it starts at N(0, I), an energy aside.

    Raises:
        MissingDependencyError: If a flow is asked for and its library is not there.
    """
    if section.kind == "recovery":
        energies = [_energy(section, level_dims) for _ in section.noise_levels]
        return RecoveryPrior(energies, section.noise_levels)
    if not section.has_energy:
        return _base(section, section.kind, level_dims)
    base = _base(section, section.base, level_dims)
    if section.kind == "nce":
        return JointPrior(base, StagedEnergy([_energy(section, level_dims) for _ in range(section.n_stages)]))
    return JointPrior(base, _energy(section, level_dims))


def _base(section: PriorConfig, name: str, level_dims: tuple[int, ...]) -> AnyPrior:
    match name:
        case "full_gaussian":
            return FullGaussianPrior(level_dims)
        case "mixture":
            return MixturePrior(level_dims, max(section.n_components))
        case "vamp":
            empty = torch.zeros(max(section.n_components), sum(level_dims))
            return VampPrior(level_dims, DiagonalNormal(empty, torch.ones_like(empty)))
        case "flow":
            hidden = (section.width,) * max(section.depth, 1)
            return FlowPrior(
                level_dims, n_transforms=section.flow_transforms, hidden=hidden, bins=section.flow_bins
            )
        case "top_down":
            return TopDownPrior(level_dims, width=section.width, depth=section.depth)
    return GaussianPrior(level_dims)


def _energy(section: PriorConfig, level_dims: tuple[int, ...]) -> EnergyNetwork:
    return EnergyNetwork(
        level_dims,
        width=section.width,
        depth=section.depth,
        activation=section.activation,
        coupling=section.coupling,
        lipschitz=section.lipschitz,
    )


def build_sampler(config: RunConfig, *, training: bool = False, checked: bool = True) -> PriorSampler:
    """Build the sampler of the prior's chains.

    Args:
        config: The configuration.
        training: With the number of steps of training, where sampling has another.
        checked: Whether Langevin chains that are not finite are an error.
    """
    section, prior = config.sampler, config.prior
    n_steps = section.n_steps if training else section.n_sampling_steps
    langevin = ShortRunLangevin(
        n_steps, section.step_size, section.temperature, section.path, checked=checked
    )
    metropolis = MetropolisChains(n_steps, section.step_size, section.path)
    if prior.kind == "recovery":
        return RecoveryChains(n_steps, section.step_size)
    if not prior.has_energy and prior.kind != "gaussian":
        return metropolis
    kind = section.kind
    if kind == "auto":
        kind = "independence" if prior.base in ("mixture", "vamp") else "langevin"
    if kind == "independence":
        return IndependenceChains(n_steps)
    if kind == "metropolis":
        return metropolis
    return WhitenedChains(langevin, metropolis) if prior.base == "top_down" else langevin


def build_learner(
    config: RunConfig, prior: nn.Module, streams: dict[str, torch.Generator]
) -> PriorLearner | None:
    """Build the learner of a prior; None for N(0, I), which has nothing to learn.

    Args:
        config: The configuration.
        prior: The prior that :func:`build_prior` made, on its device.
        streams: Random streams ``prior`` and ``pool``.
    """
    if not isinstance(prior, JointPrior | RecoveryPrior):
        return _base_learner(config, prior, streams)
    energy = _energy_learner(config, prior, streams)
    base = _base_learner(config, prior.base, streams) if isinstance(prior, JointPrior) else None
    return energy if base is None else TiltedLearner(base, energy)


def images_needed(section: PriorConfig) -> int:
    """How many training images the fit of the prior needs, known before any work is done."""
    fitted = section.base if section.has_energy else section.kind
    if fitted == "vamp":
        return max(section.n_components)
    if fitted == "mixture" and section.is_two_phase:
        return fewest_images(section.n_components)
    return 1


def _base_learner(
    config: RunConfig, prior: nn.Module, streams: dict[str, torch.Generator]
) -> PriorLearner | None:
    section = config.trainer.base
    match prior:
        case FullGaussianPrior():
            return FullGaussianLearner(prior)
        case VampPrior():
            return ExemplarLearner(prior)
        case MixturePrior():
            fitted = MixtureLearner(prior, config.prior.n_components)
            if config.prior.is_two_phase:
                return fitted
            spread_components_(prior, streams["pool"])
            return TiltedLearner(
                LikelihoodLearner(prior, adam(prior, section), max_norm=section.grad_clip), fitted
            )
        case FlowPrior() | TopDownPrior():
            return LikelihoodLearner(prior, adam(prior, section), max_norm=section.grad_clip)
    return None


def _energy_learner(
    config: RunConfig, prior: JointPrior | RecoveryPrior, streams: dict[str, torch.Generator]
) -> PriorLearner:
    section, l2 = config.trainer.energy, config.objective.energy_l2
    if isinstance(prior, RecoveryPrior):
        checked = looks_at_once(next(prior.energies.parameters()))
        sampler = RecoveryChains(config.sampler.n_steps, config.sampler.step_size, checked=checked)
        optimizer = adam(prior.energies, section)
        return RecoveryLearner(prior, sampler, optimizer, streams["prior"], l2=l2, max_norm=section.grad_clip)
    optimizer = adam(prior.energy, section)
    if config.prior.kind == "nce":
        steps = config.trainer.energy_only_steps or 1
        return NoiseContrastiveLearner(
            prior,
            optimizer,
            streams["prior"],
            steps_per_stage=-(-steps // config.prior.n_stages),
            max_norm=section.grad_clip,
        )
    if config.prior.kind == "importance":
        return ImportanceLearner(prior, optimizer, streams["prior"], max_norm=section.grad_clip)
    pool, like = None, next(prior.energy.parameters())
    if config.prior.kind == "persistent":
        pool = PersistentPool(
            prior.sample_base(config.sampler.n_chains, like=like, generator=streams["pool"])
        )
    return ContrastiveLearner(
        prior,
        build_sampler(config, training=True, checked=looks_at_once(like)),
        optimizer,
        streams,
        l2=l2,
        max_norm=section.grad_clip,
        pool=pool,
        restart_probability=config.sampler.restart_probability,
    )


def adam(module: nn.Module, section: OptimizerConfig) -> Adam:
    """Adam over a module's parameters that learn."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    return Adam(parameters, lr=section.lr, betas=section.betas, weight_decay=section.weight_decay, fused=True)
