"""Suite ``mcmc``: do the chains on the prior converge, where do long ones end, and what do more steps buy?

Chains of the run's own sampler and of others (unadjusted Langevin, MALA, Hamiltonian Monte Carlo, parallel tempering,
independence proposals where the base is learned) start at base draws (``noise``), at posterior samples of held-out
images (``posterior``) and where training left persistent chains (``pool``). At each length the mean energy, and at
some the Fréchet distance of the decoded positions to held-out images, all from equally many samples. Lengths count
gradient evaluations per chain (those of all replicas), and for the run's own sampler its steps.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hebm.config import McmcConfig, RunConfig
from hebm.errors import NonFiniteError
from hebm.evaluation.chain_images import ChainImages
from hebm.evaluation.chain_samplers import about_sampler, make_samplers, own_sampler
from hebm.evaluation.chain_traces import CHAIN_BLOCK, Trace, diagnose, trace_chains
from hebm.evaluation.chain_verdict import (
    MAX_FD_RATIO,
    RULE,
    LongRun,
    converged,
    energy_bias,
    long_run,
    pick_reference,
)
from hebm.evaluation.chain_walks import ChainSampler
from hebm.latents import flatten_latents, unflatten_latents
from hebm.models import JointModel
from hebm.randomness import named_generator
from hebm.training.checkpoint import read_tensors

__all__ = ["evaluate_mcmc"]

NO_CHAIN = "The prior has no energy: its draws are exact, and there is no chain that could fail to converge."
UNIT = (
    "gradient evaluations per chain: 1 per Langevin or MALA step, n_leapfrog per Hamiltonian move, those of all "
    "replicas for tempering, 1 per proposal of the independence sampler"
)


def evaluate_mcmc(
    model: JointModel, config: RunConfig, *, seed: int, checkpoint: Path | None = None
) -> dict[str, Any]:
    """Compare chains on the prior.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration; ``evaluation.mcmc`` says how many chains, and how long.
        seed: Of everything that is drawn.
        checkpoint: Where persistent chains may lie.

    Returns:
        The fields of the ``mcmc`` result file.

    Raises:
        DataError: If the held-out images are missing, or too few.
    """
    if model.prior.energy is None:
        return {
            "has_chain": False,
            "remark": NO_CHAIN,
            "is_converged": None,
            "samplers": {},
            "stationary_bias": None,
        }
    images = ChainImages.of(model, config, seed)
    with torch.no_grad():
        results: dict[str, Any] = _finite(
            _Comparison(model, config, images, seed, _pool(checkpoint)).results()
        )
        return results


@dataclass
class _Sampled:
    """One sampler's chains from every start, with the features of what they decode to."""

    about: dict[str, Any]
    traces: dict[str, Trace]
    features: dict[str, dict[int, Tensor | None]]


class _Comparison:
    """All chains, and what is made of them."""

    def __init__(
        self, model: JointModel, config: RunConfig, images: ChainImages, seed: int, pool: Tensor | None
    ) -> None:
        self.model, self.images, self.seed, self.pool = model, images, seed, pool
        self.mcmc: McmcConfig = config.evaluation.mcmc
        self.n_steps = config.sampler.n_steps
        self.own = own_sampler(model)
        self.makers = make_samplers(model, config, images.posterior(0), seed=seed)
        self.notes: list[str] = []
        if (sampling := config.sampler.n_sampling_steps) != self.n_steps:
            self.notes.append(
                f"K is the {self.n_steps} steps of training; samples are drawn with {sampling}."
            )

    def results(self) -> dict[str, Any]:
        sampled = {name: self._sampled(name, make) for name, make in self.makers.items()}
        long_runs = {
            name: found
            for name, chains in sampled.items()
            if chains.about.get("is_exact")
            and (found := long_run(chains.traces, self.model.level_dims)) is not None
        }
        name, is_certified = pick_reference(long_runs)
        reference = long_runs[name] if name is not None else None
        certified = reference if is_certified else None
        verdict = self._verdict(sampled, name, reference, is_certified)
        return {
            "has_chain": True,
            "n_steps": self.n_steps,
            "own_sampler": self.own,
            **verdict,
            "what_k_buys": self._what_k_buys(sampled[self.own]),
            "long_chain": self._long_chain(sampled[self.own]),
            "long_runs": {key: vars(value) for key, value in long_runs.items()},
            "samplers": {
                key: self._sampler_fields(key, chains, certified) for key, chains in sampled.items()
            },
            **self._references(sampled[self.own]),
            "definitions": {"is_converged": RULE, "step": UNIT},
            "n_chains": self.mcmc.n_chains,
            "n_samples_fd": len(self.images.held_out),
            "n_reference": len(self.images.real),
            "extractor": self.images.extractor.identifier,
            "is_standard_inception": self.images.extractor.is_standard_inception,
            "notes": self.notes,
        }

    # chains

    def _sampled(self, name: str, make: Callable[[], ChainSampler]) -> _Sampled:
        try:
            sampler = make()
        except NonFiniteError as error:
            self.notes.append(f"{name}: the warm-up was not finite, so there are no chains ({error})")
            return _Sampled({"diverged_at": 0}, {}, {})
        traces, features = {}, {}
        for start, positions in self._starts(name).items():
            trace = traces[start] = self._trace(name, sampler, start, positions)
            features[start] = {step: self.images.features(flat) for step, flat in trace.snapshots.items()}
            if trace.diverged_at is not None:
                self.notes.append(f"{name} from {start}: chains diverged at step {trace.diverged_at}")
        return _Sampled(about_sampler(sampler), traces, features)

    def _starts(self, name: str) -> dict[str, Callable[[int], Tensor]]:
        if name == "recovery":  # its chains begin with the noisiest level
            return {"noise": self._noise}
        starts: dict[str, Callable[[int], Tensor]] = {
            "noise": self._noise,
            "posterior": self.images.posterior,
        }
        if self.pool is not None:
            starts["pool"] = self._persistent
        return starts

    def _noise(self, block: int) -> Tensor:
        generator = named_generator(self.seed, "mcmc", "noise", block, device=self.model.device)
        like = next(self.model.parameters())
        return flatten_latents(self.model.prior.sample_base(CHAIN_BLOCK, like=like, generator=generator))

    def _persistent(self, block: int) -> Tensor:
        assert self.pool is not None
        rows = torch.arange(block * CHAIN_BLOCK, (block + 1) * CHAIN_BLOCK) % len(self.pool)
        return self.pool[rows].to(next(self.model.parameters()))

    def _trace(
        self, name: str, sampler: ChainSampler, start: str, positions: Callable[[int], Tensor]
    ) -> Trace:
        steps, shown = self._steps(name, start, sampler.evaluations_per_move)
        return trace_chains(
            sampler,
            positions,
            self._energy,
            steps=steps,
            snapshot_steps=shown,
            n_chains=self.mcmc.n_chains,
            n_snapshots=len(self.images.held_out) if shown else 0,
            noise=lambda block: named_generator(
                self.seed, "mcmc", name, start, block, device=self.model.device
            ),
        )

    def _steps(self, name: str, start: str, per_move: int) -> tuple[set[int], set[int]]:
        """Lengths at which energies are taken, and those at which samples are looked at."""
        mcmc = self.mcmc
        last = min(max(mcmc.steps), mcmc.max_steps.get(name, max(mcmc.steps)))  # type: ignore[call-overload]
        steps = {step for step in mcmc.steps if step <= last} | {last}
        if name != self.own:
            return steps, {last} if start == "noise" else set()
        # the run's own lengths count its steps
        steps = {step * per_move for step in steps}
        shown = {
            k * per_move for k in (*mcmc.what_k_buys, self.n_steps, 10 * self.n_steps, mcmc.long_chain_steps)
        }
        shown |= {0, last * per_move}
        return steps | shown, shown

    def _energy(self, flat: Tensor) -> Tensor:
        assert self.model.prior.energy is not None
        energy: Tensor = self.model.prior.energy(unflatten_latents(flat, self.model.level_dims))
        return energy

    # what is made of them

    def _own_step(self, chains: _Sampled, n_steps: int) -> int:
        return n_steps * int(chains.about.get("evaluations_per_move", 1))

    def _fd(self, chains: _Sampled, start: str, n_steps: int) -> float | None:
        return self.images.distance(chains.features.get(start, {}).get(self._own_step(chains, n_steps), None))

    def _mean_energy(self, chains: _Sampled, start: str, n_steps: int) -> tuple[float, float] | None:
        trace, step = chains.traces.get(start), self._own_step(chains, n_steps)
        if trace is None or step not in trace.steps:
            return None
        energies = trace.energies[trace.steps.index(step)].double()
        return energies.mean().item(), energies.std().item()

    def _verdict(
        self,
        sampled: dict[str, _Sampled],
        name: str | None,
        reference: LongRun | None,
        is_certified: bool,
    ) -> dict[str, Any]:
        own = sampled[self.own]
        fd_k, fd_10k = (self._fd(own, "noise", k) for k in (self.n_steps, 10 * self.n_steps))
        energy = self._mean_energy(own, "noise", self.n_steps)
        bias = None if reference is None or energy is None else energy_bias(energy[0], reference)
        is_converged, against = converged(
            is_certified=is_certified,
            bias_in_sd=None if bias is None else bias[1],
            fd_at_k=fd_k,
            fd_at_10k=fd_10k,
        )
        fd_long = None
        if name is not None:
            features = sampled[name].features["noise"]
            fd_long = self.images.distance(features[max(features)]) if features else None
        fields = {
            "energy_nats": None if bias is None else bias[0],
            "energy_sd": None if bias is None else bias[1],
            "fd": None if fd_k is None or fd_long is None else fd_k - fd_long,
            "fd_long_run": fd_long,
        }
        empty = dict.fromkeys(fields)
        remark = "" if is_certified else "No exact sampler has converged, so where chains end is not known."
        return {
            "is_converged": is_converged,
            "against": against,
            "stationary_bias": {
                "reference": name if is_certified else None,
                **(fields if is_certified else empty),
                "provisional": None if is_certified or name is None else {"sampler": name, **fields},
                "remark": remark,
            },
        }

    def _what_k_buys(self, own: _Sampled) -> list[dict[str, Any]]:
        lengths = sorted(
            {0, *self.mcmc.what_k_buys, self.n_steps, 10 * self.n_steps, self.mcmc.long_chain_steps}
        )
        return [{"steps": k, "fd": self._fd(own, "noise", k)} for k in lengths]

    def _long_chain(self, own: _Sampled) -> dict[str, Any]:
        """K steps beside many, from every start; staying means that the distance grows by no more than 15 %."""
        k, n_long = self.n_steps, self.mcmc.long_chain_steps
        by_start: dict[str, Any] = {}
        for start in own.traces:
            fields: dict[str, Any] = {}
            for label, n in (("k", k), ("long", n_long)):
                energy = self._mean_energy(own, start, n)
                features = own.features[start].get(self._own_step(own, n))
                fields[f"energy_at_{label}"], fields[f"energy_sd_at_{label}"] = energy or (None, None)
                fields[f"fd_at_{label}"] = self.images.distance(features)
                precision, recall = self.images.precision_recall(features)
                fields[f"precision_at_{label}"], fields[f"recall_at_{label}"] = precision, recall
            short, long = fields["fd_at_k"], fields["fd_at_long"]
            stays = short is not None and long is not None and long <= MAX_FD_RATIO * short
            by_start[start] = {**fields, "stays_on_the_data": stays}
        return {"steps": n_long, "k": k, "starts": by_start}

    def _sampler_fields(self, name: str, chains: _Sampled, reference: LongRun | None) -> dict[str, Any]:
        starts = {
            start: self._start_fields(chains, start, trace, reference)
            for start, trace in chains.traces.items()
        }
        return {"is_own": name == self.own, **chains.about, "starts": starts}

    def _start_fields(
        self, chains: _Sampled, start: str, trace: Trace, reference: LongRun | None
    ) -> dict[str, Any]:
        means = trace.energies.double().mean(1).tolist()
        looked_at = trace.draw_energies[:, : trace.draws.shape[1]]
        found = diagnose(trace.draws, looked_at, self.model.level_dims)
        n_evaluations = trace.n_evaluations * trace.draws.shape[1]
        distances = {step: self.images.distance(f) for step, f in chains.features[start].items()}
        return {
            "energy_trace": {
                "step": trace.steps,
                "mean": means,
                "sd": trace.energies.double().std(1).tolist(),
            },
            "stationary_bias": None
            if reference is None
            else [energy_bias(mean, reference)[0] for mean in means],
            "acceptance": [None if math.isnan(rate) else rate for rate in trace.acceptance],
            "fd": {"step": list(distances), "value": list(distances.values())},
            "rhat": None if found is None else found.rhat,
            "ess": None if found is None else found.ess,
            "ess_per_evaluation": None if found is None else found.worst_ess / n_evaluations,
            "n_draws": len(trace.draws),
            "n_chains_diagnosed": trace.draws.shape[1],
            "diverged_at": trace.diverged_at,
        }

    def _references(self, own: _Sampled) -> dict[str, Any]:
        energies = torch.cat([self._energy(self.images.posterior(block)).double() for block in range(2)])
        return {
            "fd_base": self._fd(own, "noise", 0),
            "fd_reconstruction": self.images.distance(self.images.features(self.images.reconstructions())),
            "energy_posterior": {"mean": energies.mean().item(), "sd": energies.std().item()},
        }


def _pool(checkpoint: Path | None) -> Tensor | None:
    """The persistent chains of a checkpoint, flat [N, D]; None if it has none."""
    return None if checkpoint is None else read_tensors(checkpoint, "trainer").get("learner.pool")


def _finite(value: Any) -> Any:
    """JSON has no infinities and no NaN: null stands for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
