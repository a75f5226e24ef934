"""Distances between sets of features, and quality of reconstructions: arrays in, numbers out."""

from hebm.metrics.disentanglement import Dci, MutualInformationGaps, dci, mutual_information_gaps
from hebm.metrics.frechet import GaussianStatistics, frechet_distance
from hebm.metrics.image_quality import ImageQuality, ImageQualityMean, image_quality
from hebm.metrics.inputs import MetricInputError
from hebm.metrics.kernel import KernelDistance, kernel_distance, polynomial_mmd
from hebm.metrics.mutual_information import (
    ImageInformation,
    discrete_information,
    entropy,
    image_information,
    label_information,
)
from hebm.metrics.precision_recall import PrecisionRecall, precision_recall
from hebm.metrics.ranking import Ranking, bootstrap_rankings, percentile_interval, ranking

__all__ = [
    "Dci",
    "GaussianStatistics",
    "ImageInformation",
    "ImageQuality",
    "ImageQualityMean",
    "KernelDistance",
    "MetricInputError",
    "MutualInformationGaps",
    "PrecisionRecall",
    "Ranking",
    "bootstrap_rankings",
    "dci",
    "discrete_information",
    "entropy",
    "frechet_distance",
    "image_information",
    "image_quality",
    "kernel_distance",
    "label_information",
    "mutual_information_gaps",
    "percentile_interval",
    "polynomial_mmd",
    "precision_recall",
    "ranking",
]
