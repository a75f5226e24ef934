"""Figures and the HTML report of a run: reads result files and images, computes nothing."""

from hebm.report.detections import Finding, contact_sheet, write_detections
from hebm.report.grid import image_grid, interleave_rows, save_png
from hebm.report.page import write_report

__all__ = [
    "Finding",
    "contact_sheet",
    "image_grid",
    "interleave_rows",
    "save_png",
    "write_detections",
    "write_report",
]
