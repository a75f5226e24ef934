"""Anomaly scores: one file per score, one protocol, higher is more anomalous."""

from hebm.detection.base import AnomalyScore, ScoreRecipe
from hebm.detection.calibration import (
    conformal_p_values,
    conformal_threshold,
    n_calibration_needed,
    rate_interval,
)
from hebm.detection.detector import Detections, Detector, calibrate
from hebm.detection.explain import Explanation, explain
from hebm.detection.parts import anomaly_parts, part_names
from hebm.detection.scores import SCORES, build_score, detect, score_images

__all__ = [
    "SCORES",
    "AnomalyScore",
    "Detections",
    "Detector",
    "Explanation",
    "ScoreRecipe",
    "anomaly_parts",
    "build_score",
    "calibrate",
    "conformal_p_values",
    "conformal_threshold",
    "detect",
    "explain",
    "n_calibration_needed",
    "part_names",
    "rate_interval",
    "score_images",
]
