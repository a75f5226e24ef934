"""Figures and the HTML report of a run: reads result files and images, computes nothing."""

from hebm.report.grid import image_grid, interleave_rows, save_png
from hebm.report.page import write_report

__all__ = ["image_grid", "interleave_rows", "save_png", "write_report"]
