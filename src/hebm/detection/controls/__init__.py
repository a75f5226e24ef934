"""Controls: scores of pixels alone, which a model has to beat. No model, one protocol, higher is more anomalous."""

from hebm.detection.controls.base import Control, PixelScore
from hebm.detection.controls.mean_intensity import MeanIntensity
from hebm.detection.controls.names import all_controls, fit_controls
from hebm.detection.controls.nearest_neighbour import NearestNeighbour
from hebm.detection.controls.pca import PcaError
from hebm.detection.controls.png_size import PngSize

__all__ = [
    "Control",
    "MeanIntensity",
    "NearestNeighbour",
    "PcaError",
    "PixelScore",
    "PngSize",
    "all_controls",
    "fit_controls",
]
