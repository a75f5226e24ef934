"""Fused forms of the Langevin step, and the choice among them; `langevin.py` defines what they compute."""

from hebm.samplers.kernels.cpu import run_fused
from hebm.samplers.kernels.path import Path, choose_path, run_fast
from hebm.samplers.kernels.target import Target, recognise
from hebm.samplers.kernels.triton_launch import reason_against_triton, run_triton

__all__ = [
    "Path",
    "Target",
    "choose_path",
    "reason_against_triton",
    "recognise",
    "run_fast",
    "run_fused",
    "run_triton",
]
