"""Which code runs a chain: chosen from the target and the device, said once, forced by a name."""

import logging
from functools import cache
from typing import Literal

from torch import Tensor

from hebm.errors import UnsupportedError
from hebm.randomness import NoiseSource
from hebm.samplers.kernels.cpu import run_fused
from hebm.samplers.kernels.target import Target, recognise
from hebm.samplers.kernels.triton_launch import reason_against_triton, run_triton, run_triton_mala

__all__ = ["Path", "choose_path", "run_fast", "run_fast_mala"]

Path = Literal["auto", "reference", "fused", "triton"]

_logger = logging.getLogger("hebm")


def choose_path(wanted: Path, log_density: object, state: Tensor) -> tuple[Path, Target | None]:
    """The path that runs a target's chains, and the target's parts if that path needs them.

    ``auto`` is ``triton`` on a GPU and ``fused`` elsewhere, or the next of (triton, fused, reference) that can run the
    target; which one, and why no earlier one, is logged once.

    Args:
        wanted: What the user asked for.
        log_density: The target.
        state: Flat positions, [B, D].

    Raises:
        UnsupportedError: If a path was asked for by name and cannot run the target.
    """
    if wanted == "reference":
        return "reference", None
    target = recognise(log_density)
    if isinstance(target, str):
        if wanted != "auto":
            raise _unsupported(wanted, target)
        _say_once(f"Langevin chains on {state.device}: path 'reference' ({target})")
        return "reference", None
    if wanted == "fused" or (wanted == "auto" and state.device.type != "cuda"):
        _say_once(f"Langevin chains on {state.device}: path 'fused'")
        return "fused", target
    against = reason_against_triton(target, state)
    if against is None:
        _say_once(f"Langevin chains on {state.device}: path 'triton'")
        return "triton", target
    if wanted == "triton":
        raise _unsupported(wanted, against)
    _say_once(f"Langevin chains on {state.device}: path 'fused' ({against})")
    return "fused", target


def _unsupported(wanted: Path, reason: str) -> UnsupportedError:
    return UnsupportedError(f"sampler.path={wanted} cannot run this chain: {reason}; set sampler.path=auto.")


def run_fast(
    wanted: Path,
    log_density: object,
    state: Tensor,
    *,
    n_steps: int,
    step_size: float,
    temperature: float,
    generator: NoiseSource,
    free: Tensor | None,
) -> tuple[Tensor, Tensor] | None:
    """Run chains on the path that :func:`choose_path` names; None if that is the reference path, which is not here.

    Arguments and results: :func:`run_fused`. An energy that turns out not to fit on the GPU's chip goes to ``fused``,
    unless ``triton`` was asked for by name.

    Raises:
        UnsupportedError: As :func:`choose_path`.
    """
    path, target = choose_path(wanted, log_density, state)
    if target is None:
        return None
    if path == "triton":
        try:
            return run_triton(
                target,
                state,
                n_steps=n_steps,
                step_size=step_size,
                temperature=temperature,
                generator=generator,
                free=free,
            )
        except UnsupportedError as error:
            if wanted == "triton":
                raise
            _say_once(f"Langevin chains on {state.device}: path 'fused' ({error})")
    return run_fused(
        target,
        state,
        n_steps=n_steps,
        step_size=step_size,
        temperature=temperature,
        generator=generator,
        free=free,
    )


def run_fast_mala(
    wanted: Path,
    log_density: object,
    state: Tensor,
    *,
    n_steps: int,
    step_size: float,
    generator: NoiseSource,
    free: Tensor | None,
) -> tuple[Tensor, Tensor] | None:
    """Run chains of MALA in the GPU's kernel; None where the reference step has to, which is not here.

    Arguments and results: :func:`run_fused`, at temperature 1. ``auto`` is ``triton`` on a GPU that can run the target;
    there is no ``fused`` form.

    Raises:
        UnsupportedError: If ``triton`` was asked for by name and cannot run the target.
    """
    if wanted not in ("auto", "triton"):
        return None
    try:
        target = _on_triton(wanted, log_density, state)
        end, trace, _ = run_triton_mala(
            target, state, n_steps=n_steps, step_size=step_size, generator=generator, free=free
        )
    except UnsupportedError as error:
        if wanted == "triton":
            raise
        _say_once(f"MALA chains on {state.device}: path 'reference' ({error})")
        return None
    _say_once(f"MALA chains on {state.device}: path 'triton'")
    return end, trace


def _on_triton(wanted: Path, log_density: object, state: Tensor) -> Target:
    target = recognise(log_density)
    if isinstance(target, str):
        raise _unsupported("triton", target)
    against = reason_against_triton(target, state)
    if against is None and wanted == "auto" and state.device.type != "cuda":
        against = "Triton's interpreter is for tests"
    if against is not None:
        raise _unsupported("triton", against)
    return target


@cache
def _say_once(message: str) -> None:
    _logger.info(message)
