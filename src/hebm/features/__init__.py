"""Feature extractors for distances between sets of images, each with a name and a hash."""

from hebm.features.build import ExtractorKind, build_extractor
from hebm.features.classifier import ClassifierExtractor, train_classifier
from hebm.features.classifier_cache import load_or_train_classifier
from hebm.features.extractor import FeatureExtractor, extract_features, feature_statistics, image_batches
from hebm.features.inception_weights import InceptionExtractor, load_inception
from hebm.features.random_conv import RandomConvExtractor
from hebm.features.statistics_cache import reference_statistics

__all__ = [
    "ClassifierExtractor",
    "ExtractorKind",
    "FeatureExtractor",
    "InceptionExtractor",
    "RandomConvExtractor",
    "build_extractor",
    "extract_features",
    "feature_statistics",
    "image_batches",
    "load_inception",
    "load_or_train_classifier",
    "reference_statistics",
    "train_classifier",
]
