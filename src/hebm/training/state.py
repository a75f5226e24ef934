"""Everything a training run carries from one step to the next, as plain tensors and numbers."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hebm.build_prior import adam, build_learner
from hebm.config import RunConfig
from hebm.models import JointModel
from hebm.randomness import named_generator
from hebm.training.checkpoint import load_weights
from hebm.training.ema import EmaModel
from hebm.training.means import RunningMeans

__all__ = ["TrainingState"]

STREAMS = ("posterior", "prior", "pool")


class TrainingState:
    """Model, averaged model, optimisers, random streams, persistent chains and counters of one run.

    Args:
        config: The run's configuration.
        model: The model in its initial state, on its device.
    """

    def __init__(self, config: RunConfig, model: JointModel) -> None:
        self.model = model
        self.step = 0
        self.first_step = 0  # where this run began: later if it took its nets from another one
        self.rollbacks = 0
        self.means = RunningMeans()
        self.streams = {name: named_generator(config.seed, name, device=model.device) for name in STREAMS}
        nets = torch.nn.ModuleList([model.generator, model.encoder])
        self.learner = build_learner(config, model.prior, self.streams)  # type: ignore[arg-type]
        self.ema = EmaModel(model)  # after the learner, which may tell a mixture's components apart
        learned = {} if self.learner is None else self.learner.optimizers
        self.optimizers: dict[str, Optimizer] = {
            "autoencoder": adam(nets, config.trainer.autoencoder),
            **learned,
        }

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """The state's tensors by file: ``model``, ``ema`` and ``trainer``."""
        trainer = {f"stream.{name}": stream.get_state() for name, stream in self.streams.items()}
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                trainer |= {f"optimizer.{name}.{index}.{slot}": value for slot, value in slots.items()}
        trainer |= {f"mean.{name}": value for name, value in self.means.tensors().items()}
        if self.learner is not None:
            trainer |= {f"learner.{name}": value for name, value in self.learner.tensors().items()}
        return {"model": self.model.state_dict(), "ema": self.ema.model.state_dict(), "trainer": trainer}

    def counters(self) -> dict[str, Any]:
        """The state's numbers, for the checkpoint's JSON."""
        return {"rollbacks": self.rollbacks, "first_step": self.first_step}

    def load(self, tensors: dict[str, dict[str, Tensor]], meta: dict[str, Any], path: Path) -> None:
        """Put back what :meth:`tensors` and :meth:`counters` gave to the checkpoint of that path.

        Raises:
            CheckpointError: If the model of this version has other weights.
        """
        load_weights(self.model, tensors["model"], path)
        load_weights(self.ema.model, tensors["ema"], path)
        trainer = tensors["trainer"]
        for name, stream in self.streams.items():
            stream.set_state(trainer[f"stream.{name}"])
        for name, optimizer in self.optimizers.items():
            _load_optimizer(optimizer, _below(trainer, f"optimizer.{name}."))
        self.means.load(_below(trainer, "mean."))
        if self.learner is not None:
            self.learner.load(_below(trainer, "learner."))
        self.step, self.rollbacks = meta["step"], meta["rollbacks"]
        self.first_step = meta.get("first_step", 0)  # older checkpoints began at 0

    def take_nets(self, tensors: dict[str, dict[str, Tensor]], meta: dict[str, Any], path: Path) -> None:
        """Go on from the last step of a run that has the same nets and another prior; this prior stays as it is.

        Raises:
            CheckpointError: If that run has other nets.
        """
        own = self.tensors()
        taken = {
            stem: _of_the_prior(own[stem], of_it=True) | _of_the_prior(tensors[stem], of_it=False)
            for stem in ("model", "ema")
        }
        learner = {name: value for name, value in own["trainer"].items() if name.startswith("learner.")}
        self.load({**taken, "trainer": tensors["trainer"] | learner}, meta, path)
        self.first_step = self.step


def _of_the_prior(tensors: dict[str, Tensor], *, of_it: bool) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if name.startswith("prior.") == of_it}


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put slots back in their parameters' memory layout: fused updates walk both in storage order."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, slot = name.split(".", 1)
        parameter = parameters[int(index)]
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter).detach().copy_(value)
        slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
