"""The whole training step against the same step written naively (:mod:`benchmarks.naive`), on one batch of 100.

What is asserted first: generator, encoder and energy of both have equally many parameters. The floor counts the
operations of convolutions and matrix products, and for bytes the optimiser's alone.
"""

from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

import hebm
from benchmarks.naive import NaiveTrainer
from benchmarks.timing import Floor, Limits, Row, compare
from hebm.training.state import TrainingState
from hebm.training.step import TrainingStep

__all__ = ["our_step", "training_rows"]

BATCH = 100
ADAM_BYTES = 7 * 4  # per parameter: parameter, gradient and two slots read, parameter and two slots written


def our_step(
    preset: str, overrides: tuple[str, ...], device: torch.device, batch: int = BATCH
) -> tuple[Callable[[], object], TrainingState]:
    """One step of a preset with its moving averages, on images in [0, 1] that are there already; and its state."""
    config = hebm.load_config(preset, [f"trainer.batch_size={batch}", *overrides])
    fabric = Fabric(accelerator=device.type, devices=1, precision="32-true")
    state = TrainingState(config, hebm.build_model(config).to(device))
    step = TrainingStep(config, state, fabric)
    images = torch.rand(batch, config.data.channels, config.data.size, config.data.size, device=device)
    learns_prior = not config.prior.is_two_phase

    def one_step() -> None:
        step(images, kl_weight=1.0, learns_prior=learns_prior)
        state.ema.update(state.model, config.trainer.ema_decay)

    return one_step, state


def step_floor(preset: str, overrides: tuple[str, ...], device: torch.device, batch: int = BATCH) -> Floor:
    """Operations of one step as PyTorch counts them on the reference path; bytes of the optimiser's update."""
    one_step, state = our_step(preset, (*overrides, "sampler.path=reference"), device, batch)
    one_step()
    with FlopCounterMode(display=False) as counter:
        one_step()
    parameters = sum(p.numel() for p in state.model.parameters() if p.requires_grad)
    return Floor(counter.get_total_flops() / 1e9, parameters * ADAM_BYTES / 1e9)


def naive_step(device: torch.device) -> tuple[Callable[[], object], NaiveTrainer]:
    """The naive step of ``svhn_sampling`` on the same generator architecture, in the default memory format."""
    config = hebm.load_config("svhn_sampling")
    generator = hebm.build_model(config).generator.to(memory_format=torch.contiguous_format)
    trainer = NaiveTrainer(generator.to(device), n_steps=config.sampler.n_steps)
    trainer.encoder.to(device)
    trainer.energy.to(device)
    images = torch.rand(BATCH, 3, 32, 32, device=device)
    return lambda: trainer.step(2 * images - 1), trainer


def _assert_same_work(state: TrainingState, trainer: NaiveTrainer) -> None:
    ours = (state.model.encoder, state.model.prior.energy, state.model.generator)
    theirs = (trainer.encoder, trainer.energy, trainer.generator)
    for mine, other in zip(ours, theirs, strict=True):
        assert sum(p.numel() for p in mine.parameters()) == sum(p.numel() for p in other.parameters())


def training_rows(
    limits: Limits, device: torch.device, *, budget_s: float = 12.0, least: int = 5
) -> list[Row]:
    """``svhn_sampling`` against the naive step; the others against their own bfloat16; ``svhn_fid`` on a GPU only."""
    naive, trainer = naive_step(device)
    ours, state = our_step("svhn_sampling", (), device)
    _assert_same_work(state, trainer)
    candidates: dict[str, Callable[[], object]] = {"hebm": ours, "naive": naive}
    candidates["hebm, bf16 (an option)"] = our_step("svhn_sampling", ("trainer.precision=bf16",), device)[0]
    options: dict[str, Any] = {"limits": limits, "budget_s": budget_s, "least": least}
    rows = [
        compare(
            "training step", f"svhn_sampling, batch {BATCH}", candidates,
            floor=step_floor("svhn_sampling", (), device), **options,
        )
    ]  # fmt: skip
    for name, overrides in (
        ("fashion_mnist", ()),
        ("fashion_mnist_short_run", ()),
        *((("svhn_fid", ()),) if device.type == "cuda" else ()),
    ):
        half = our_step(name, (*overrides, "trainer.precision=bf16"), device)[0]
        rows.append(
            compare(
                "training step",
                f"{name}, batch {BATCH}",
                {"hebm": our_step(name, overrides, device)[0], "hebm, bf16 (an option)": half},
                floor=step_floor(name, overrides, device),
                **{**options, "budget_s": budget_s / 3},
            )
        )
    return rows
