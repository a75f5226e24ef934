"""Fused forms of the Langevin and MALA steps, and the choice among them; `langevin.py` defines what they compute."""

from hebm.samplers.kernels.cpu import run_fused
from hebm.samplers.kernels.path import Path, choose_path, run_fast, run_fast_mala
from hebm.samplers.kernels.target import Target, recognise
from hebm.samplers.kernels.triton_launch import reason_against_triton, run_triton, run_triton_mala

__all__ = [
    "Path",
    "Target",
    "choose_path",
    "reason_against_triton",
    "recognise",
    "run_fast",
    "run_fast_mala",
    "run_fused",
    "run_triton",
    "run_triton_mala",
]
