"""One process's part in a training run: its phases, steps, log lines, rollbacks and checkpoints."""

import json
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from hebm.build import build_model
from hebm.config import RunConfig
from hebm.data import ResidentImages, epoch_order
from hebm.errors import ConfigError, DivergenceError, HebmError, NonFiniteError, RunDirectoryError
from hebm.learners import PosteriorLatents
from hebm.models import JointModel
from hebm.training.checkpoint import (
    newest_intact,
    prune_checkpoints,
    read_tensors,
    remove_leftovers,
    verify_checkpoint,
    write_checkpoint,
)
from hebm.training.collectives import any_process, mean_over_processes
from hebm.training.detectors import calibrate_if_needed
from hebm.training.environment import describe_environment, package_version
from hebm.training.guard import check_divergence, require_another_try
from hebm.training.inference import infer_posteriors
from hebm.training.metrics_file import MetricsFile
from hebm.training.run import Run
from hebm.training.schedules import Phases, ema_decay_at, kl_weight_at, learning_rates, level_weights_at
from hebm.training.signals import watched_signals
from hebm.training.state import TrainingState
from hebm.training.step import TrainingStep

__all__ = ["InterruptedTrainingError", "Progress", "Session"]

logger = logging.getLogger("hebm")

Progress = Callable[[dict[str, Any]], None]


class InterruptedTrainingError(HebmError):
    """Training was stopped by a signal, after a checkpoint was written."""


class Session:
    """One process's part in a training run.

    Args:
        config: What to train.
        run: Where.
        fabric: Devices, precision and gradient synchronisation.
        images: The training images, on the device.
        progress: Called with every log record and event, on the first process.

    Raises:
        ConfigError: If the run ends before all levels have entered the generator.
    """

    def __init__(
        self, config: RunConfig, run: Run, fabric: Fabric, images: ResidentImages, progress: Progress | None
    ) -> None:
        self.config, self.run, self.fabric, self.images = config, run, fabric, images
        self.progress = progress if fabric.is_global_zero else None
        self.state = TrainingState(config, fabric.to_device(build_model(config)))  # type: ignore[arg-type]
        self.step_once = TrainingStep(config, self.state, fabric)
        self.metrics = MetricsFile(run.metrics_file if fabric.is_global_zero else None)
        self.steps_per_epoch = len(images) // config.trainer.batch_size
        n_steps = config.trainer.max_epochs * self.steps_per_epoch
        learner, trainer = self.state.learner, config.trainer
        learns_by_steps = learner is not None and bool(learner.optimizers)
        self.phases = Phases(
            min(n_steps, trainer.max_steps or n_steps),
            trainer.energy_only_steps if learns_by_steps else 0,
            trainer.finetune_steps if learner is not None else 0,
        )
        _require_all_levels(config, self.phases.joint)
        two_phase = learner is not None and config.prior.is_two_phase
        self.has_prior_phase = self.phases.energy > 0 or two_phase
        self.learns_prior_jointly = learner is not None and not two_phase
        self.posterior: PosteriorLatents | None = None
        self.fitting_s = 0.0  # spent on what is fitted at once, since the last log line
        self.order: tuple[int, torch.Tensor] | None = None

    def begin(self, *, resume: bool, nets_of: Run | None) -> None:
        """Start anew, with the nets of another run if one is given, or continue the newest intact checkpoint."""
        path: Path | None = None
        refused: list[str] = []
        if resume:
            path, refused = newest_intact(self.run.checkpoints)
        if path is not None:
            meta = self._restore(path)
            if self.fabric.is_global_zero:
                remove_leftovers(self.run.checkpoints)
            self.metrics.cut(meta["metrics_bytes"])
            self._say_refused(refused)
            self._say({"event": "resumed", "step": self.state.step})
            return
        nets = None if nets_of is None else nets_of.checkpoint(self.phases.joint)
        if self.fabric.is_global_zero:
            self.run.directory.mkdir(parents=True, exist_ok=True)
            environment = {
                **describe_environment(self.fabric.device, self.fabric.world_size),
                "n_parameters": _n_parameters(self.state.model),
            }
            (self.run.directory / "environment.json").write_text(json.dumps(environment, indent=1) + "\n")
            (self.run.directory / "config.yaml").write_text(self.config.to_yaml(), encoding="utf-8")
            self.metrics.cut(0)
        if nets_of is not None and nets is not None:
            self._take_nets(nets_of, nets)
        self._say_refused(refused)
        self.save()

    def _take_nets(self, other: Run, path: Path) -> None:
        """Begin with the prior's phase, after the steps of another run.

        Raises:
            DivergenceError: If what is fitted at once is not finite.
        """
        meta = self._load(path, self.state.take_nets)
        lines = other.metrics_file.read_bytes() if other.metrics_file.is_file() else b""
        self.metrics.begin_with(lines[: meta["metrics_bytes"]])
        self._say({"event": "nets_taken", "step": self.state.step, "of": str(other.directory)})
        if (trouble := self._begin_prior_phase()) is not None:
            raise DivergenceError(
                f"the prior cannot be fitted to the latents of {other.directory}: {trouble}"
            )
        self.fitting_s = 0.0  # before the first interval

    def advance(self) -> None:
        """Take all remaining steps.

        Raises:
            DivergenceError: If training diverged in spite of all rollbacks.
            InterruptedTrainingError: If a signal stopped it.
        """
        trainer = self.config.trainer
        interval_start, interval_steps = time.perf_counter(), 0
        with watched_signals() as received:
            while self.state.step < self.phases.n_steps:
                trouble = self._take_step()
                stopping = any_process(self.fabric, bool(received))
                interval_steps += 1
                last = self.state.step == self.phases.n_steps
                log_now = self.state.step % trainer.log_every_steps == 0 or last
                since = self.state.step - self.state.first_step
                save_now = since % trainer.checkpoint_every_steps == 0 or last
                if trouble is None and log_now:
                    seconds = time.perf_counter() - interval_start - self.fitting_s
                    trouble = self._log(interval_steps * self._batch_size() / seconds)
                    interval_start, interval_steps, self.fitting_s = time.perf_counter(), 0, 0.0
                elif trouble is None and (save_now or stopping):
                    trouble = check_divergence(self._peek(), trainer.guard)
                if trouble is not None:
                    self._roll_back(trouble)
                    continue
                if save_now or stopping:
                    self.save()
                if stopping:
                    raise InterruptedTrainingError(
                        f"stopped by a signal at step {self.state.step}; continue with --resume."
                    )

    def _take_step(self) -> str | None:
        state, step = self.state, self.state.step
        for name, optimizer in state.optimizers.items():
            _set_lr(optimizer, self._learning_rates(step)[name])
        phase, step_in_phase = self.phases.at(step)
        try:
            if phase == "energy":
                terms = self.step_once.prior_only(self._still_posterior())
            elif phase == "joint":
                objective = self.config.objective
                terms = self.step_once(
                    self._batch(step),
                    kl_weight=kl_weight_at(step, warmup_steps=objective.kl_warmup_steps),
                    learns_prior=self.learns_prior_jointly,
                    level_weights=level_weights_at(
                        step, starts=objective.level_start_steps, fade_steps=objective.level_fade_steps
                    ),
                )
            else:
                batch = self._batch(step - self.phases.energy)
                terms = self.step_once(batch, kl_weight=1.0, learns_prior=True)
        except NonFiniteError as error:
            return str(error)
        state.ema.update(state.model, ema_decay_at(step_in_phase, decay=self.config.trainer.ema_decay))
        state.means.add(terms)
        state.step += 1
        if state.step == self.phases.joint and self.has_prior_phase:
            return self._begin_prior_phase()
        return None

    def _begin_prior_phase(self) -> str | None:
        """Put the nets to their averages, where they stay, and fit of the prior what is fitted at once."""
        state = self.state
        assert state.learner is not None
        started = time.perf_counter()
        state.ema.copy_to(state.model)
        self._say({"event": "prior_phase", "step": state.step})
        try:
            found = state.learner.prepare(self._still_posterior(), generator=state.streams["prior"])
        except NonFiniteError as error:
            return str(error)
        state.ema.copy_from(state.model)
        self.fitting_s = time.perf_counter() - started
        self._say({"event": "prior_fitted", "step": state.step, "duration_s": self.fitting_s, **found})
        return None

    def _still_posterior(self) -> PosteriorLatents:
        """q(z|x) of all training images, inferred once: the encoder no longer moves."""
        if self.posterior is None:
            self.posterior = infer_posteriors(self.state.model, self.images)
        return self.posterior

    def _learning_rates(self, step: int) -> dict[str, float]:
        return learning_rates(
            self.config.trainer,
            step,
            phases=self.phases,
            steps_per_epoch=self.steps_per_epoch,
            rollbacks=self.state.rollbacks,
        )

    def _batch_size(self) -> int:
        """Images, or latents, of the step just taken."""
        trainer = self.config.trainer
        alone = self._last_phase() == "energy"
        return (trainer.energy_only_batch_size if alone else None) or trainer.batch_size

    def _last_phase(self) -> str:
        """The phase of the step just taken."""
        return self.phases.at(self.state.step - 1)[0]

    def _batch(self, step: int) -> torch.Tensor:
        epoch, position = divmod(step, self.steps_per_epoch)
        if self.order is None or self.order[0] != epoch:
            order = epoch_order(len(self.images), seed=self.config.seed, epoch=epoch)
            self.order = epoch, order.to(self.images.place)  # once an epoch: a copy waits for the device
        share = self.config.trainer.batch_size // self.fabric.world_size
        start = position * self.config.trainer.batch_size + self.fabric.global_rank * share
        return self.images.batch(self.order[1][start : start + share])

    def _peek(self) -> dict[str, float | list[float]]:
        return self.state.means.look(partial(mean_over_processes, self.fabric))

    def _log(self, images_per_s: float) -> str | None:
        """Write the means since the last log line; what is wrong with them, if anything."""
        means = self._peek()
        self.state.means.clear()
        trouble = check_divergence(means, self.config.trainer.guard)
        if trouble is not None:
            return trouble
        rates = self._learning_rates(self.state.step - 1)
        record: dict[str, Any] = {
            "step": self.state.step,
            "epoch": self.state.step / self.steps_per_epoch,
            "images_per_s": images_per_s,
            **means,
            "phase": self._last_phase(),
            "lr": rates["autoencoder"],
        }
        if "energy" in self.state.optimizers:
            record["energy_lr"] = rates["energy"]
        self.metrics.write(record)
        if self.progress is not None:
            self.progress({**record, "n_steps": self.phases.n_steps})
        return None

    def _roll_back(self, reason: str) -> None:
        """Return to the newest scheduled checkpoint, checked before it was written, with a lower energy rate.

        Raises:
            DivergenceError: If all tries are spent.
        """
        failed_at, tries = self.state.step, self.state.rollbacks
        every, first = self.config.trainer.checkpoint_every_steps, self.state.first_step
        path, _ = newest_intact(self.run.checkpoints, every=every, first=first)
        record = {"event": "diverged", "step": failed_at, "reason": reason, "tries": tries}
        self._say(record)
        require_another_try(tries, reason, failed_at, self.config.trainer.guard)
        if path is None:
            raise RunDirectoryError(
                f"{self.run.checkpoints} has no intact checkpoint to roll back to; start again."
            )
        self._restore(path)
        self.state.rollbacks = tries + 1
        energy_lr = self._learning_rates(self.state.step)["energy"]
        self._say({"event": "rollback", "step": self.state.step, "energy_lr": energy_lr})

    def _restore(self, path: Path) -> dict[str, Any]:
        self.posterior = None
        return self._load(path, self.state.load)

    def _load(
        self, path: Path, put: Callable[[dict[str, Any], dict[str, Any], Path], None]
    ) -> dict[str, Any]:
        meta = verify_checkpoint(path)
        put({stem: read_tensors(path, stem) for stem in ("model", "ema", "trainer")}, meta, path)
        return meta

    def _say(self, record: dict[str, Any]) -> None:
        """Report an event in the metrics file and on the terminal."""
        if self.fabric.is_global_zero:
            self.metrics.write(record)
            if self.progress is not None:
                self.progress(record)
            else:
                logger.warning("%s", record)

    def _say_refused(self, reasons: list[str]) -> None:
        for reason in reasons:
            self._say({"event": "checkpoint_refused", "reason": reason})

    def calibrate(self) -> None:
        """Calibrate what new images are judged by; a run whose held-out images are not there is told so."""
        score = self.config.detection.score
        trouble = calibrate_if_needed(self.run, score, device=self.fabric.device)
        if trouble is not None and self.progress is not None:
            self.progress(
                {"event": "not_calibrated", "reason": f"`hebm detect` is not calibrated: {trouble}"}
            )
        elif trouble is not None:
            logger.warning("`hebm detect` is not calibrated: %s", trouble)

    def save(self) -> None:
        """Write a checkpoint (first process only; all hold the same state)."""
        if self.fabric.is_global_zero:
            meta = {
                **self.state.counters(),
                "hebm_version": package_version(),
                "config_hash": self.config.hash(),
                "metrics_bytes": self.metrics.n_bytes,
            }
            trainer = self.config.trainer
            write_checkpoint(self.run.checkpoints, self.state.step, self.state.tensors(), meta)
            prune_checkpoints(
                self.run.checkpoints,
                keep=trainer.keep_checkpoints,
                every=trainer.checkpoint_every_steps,
                first=self.state.first_step,
            )
        self.fabric.barrier()


def _require_all_levels(config: RunConfig, n_steps: int) -> None:
    objective = config.objective
    needed = max(objective.level_start_steps, default=0)
    if needed and needed + objective.level_fade_steps > n_steps:
        raise ConfigError(
            f"the run's {n_steps} steps end before all levels have entered the generator, at step "
            f"{needed + objective.level_fade_steps}; lower objective.level_start_steps or raise trainer.max_steps."
        )


def _n_parameters(model: JointModel) -> dict[str, int]:
    parts: dict[str, Any] = {"generator": model.generator, "encoder": model.encoder, "prior": model.prior}
    if model.prior.energy is not None:
        parts["energy"] = model.prior.energy
    return {name: sum(p.numel() for p in net.parameters()) for name, net in parts.items()}


def _set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
