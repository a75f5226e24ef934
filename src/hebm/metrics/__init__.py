"""Distances between sets of features, and quality of reconstructions: arrays in, numbers out."""

from hebm.metrics.frechet import GaussianStatistics, frechet_distance
from hebm.metrics.image_quality import ImageQuality, ImageQualityMean, image_quality
from hebm.metrics.inputs import MetricInputError
from hebm.metrics.kernel import KernelDistance, kernel_distance, polynomial_mmd
from hebm.metrics.precision_recall import PrecisionRecall, precision_recall

__all__ = [
    "GaussianStatistics",
    "ImageQuality",
    "ImageQualityMean",
    "KernelDistance",
    "MetricInputError",
    "PrecisionRecall",
    "frechet_distance",
    "image_quality",
    "kernel_distance",
    "polynomial_mmd",
    "precision_recall",
]
