"""What it is worth that freed memory stays with the process (:mod:`hebm.allocator`): training steps with and without.

The setting is the whole process's, so each candidate has a process of its own; they still take turns, and the others
do nothing meanwhile. The suite's other rows run with memory kept, their peers too; the naive step is here as it comes.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection

import torch

from benchmarks.timing import Limits, Row, compare
from benchmarks.training_step import BATCH, naive_step, our_step
from hebm.allocator import keep_freed_memory

__all__ = ["memory_rows"]


def _serve(connection: Connection, preset: str | None, n_threads: int, is_kept: bool) -> None:
    torch.set_num_threads(n_threads)
    if is_kept and not keep_freed_memory():
        raise RuntimeError(
            "this allocator cannot be told to keep freed memory, or the environment forbids it"
        )
    cpu = torch.device("cpu")
    step, _ = naive_step(cpu) if preset is None else our_step(preset, (), cpu)
    while connection.recv():
        step()
        connection.send(True)


@contextmanager
def _step_elsewhere(preset: str | None, *, is_kept: bool) -> Iterator[Callable[[], object]]:
    """A training step of a preset, or the naive one, in a process of its own; the caller waits for its end."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(
        target=_serve, args=(there, preset, torch.get_num_threads(), is_kept), daemon=True
    )
    process.start()
    there.close()

    def step() -> object:
        here.send(True)
        return here.recv()

    try:
        yield step
    finally:
        process.kill()
        process.join()


def memory_rows(
    limits: Limits,
    device: torch.device,
    *,
    presets: tuple[str, ...] = ("svhn_sampling", "fashion_mnist", "cifar10_small"),
    budget_s: float = 12.0,
    least: int = 5,
) -> list[Row]:
    """One row per preset; none on a GPU."""
    rows = []
    for preset in presets if device.type == "cpu" else ():
        kinds = {"hebm": (preset, True), "hebm, memory given back": (preset, False)}
        if preset == "svhn_sampling":
            kinds["naive, memory given back"] = (None, False)
        with ExitStack() as processes:
            candidates = {
                name: processes.enter_context(_step_elsewhere(which, is_kept=is_kept))
                for name, (which, is_kept) in kinds.items()
            }
            rows.append(
                compare(
                    "memory", f"training step of {preset}, batch {BATCH}", candidates,
                    limits=limits, budget_s=budget_s, least=least,
                )
            )  # fmt: skip
    return rows
