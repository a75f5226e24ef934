"""How cells are run: one after the other, in several processes, or on a Ray cluster, with the same results.

``sequential`` is this process; ``local:N`` is N processes of this machine, which share its cores; ``ray`` is the
cluster at ``RAY_ADDRESS``, or a local one, whose machines see the output folder under the same path.
"""

import importlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import Any

import torch

from hebm.errors import ConfigError, MissingDependencyError
from hebm.reproduce.cells import CellWork, Record, run_cell

__all__ = ["Engine", "make_engine"]

Engine = Callable[[Sequence[CellWork]], Iterator[Record]]
"""Runs independent cells and gives their records in the order in which they end."""


def make_engine(name: str) -> Engine:
    """The engine of a name: ``sequential``, ``local:N`` or ``ray``.

    Raises:
        ConfigError: If there is none.
        MissingDependencyError: If Ray is asked for and not installed.
    """
    kind, _, number = name.partition(":")
    if kind == "sequential" and not number:
        return _sequential
    if kind == "local" and number.isdecimal() and int(number) > 0:
        return partial(_processes, n_processes=int(number))
    if name == "ray":
        return partial(_on_ray, ray=_import_ray())
    raise ConfigError(f"the engine {name!r} is unknown; choose sequential, local:N (N processes) or ray.")


def _sequential(works: Sequence[CellWork]) -> Iterator[Record]:
    return map(run_cell, works)


def _processes(works: Sequence[CellWork], *, n_processes: int) -> Iterator[Record]:
    n_threads = max(1, (os.cpu_count() or 1) // n_processes)
    pool = ProcessPoolExecutor(
        n_processes,
        mp_context=multiprocessing.get_context("spawn"),  # a forked child inherits locked thread pools
        initializer=torch.set_num_threads,
        initargs=(n_threads,),
    )
    with pool:
        futures = [pool.submit(run_cell, work) for work in works]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _on_ray(works: Sequence[CellWork], *, ray: Any) -> Iterator[Record]:
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    task = ray.remote(run_cell)
    waiting = [task.remote(work) for work in works]
    while waiting:
        (done, *_), waiting = ray.wait(waiting)
        yield ray.get(done)


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise MissingDependencyError(
            "the engine 'ray' needs Ray, which is not installed: pip install 'hebm[cluster]', or choose --engine "
            "sequential or local:N."
        ) from error
