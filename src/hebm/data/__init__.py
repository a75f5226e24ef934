"""Image sets by name, as tensors; knows no model."""

from hebm.data.batches import ResidentImages, epoch_order
from hebm.data.held_out_label import load_with_held_out_labels
from hebm.data.image_set import ImageSet
from hebm.data.kept_labels import keep_labels
from hebm.data.load import data_root, load_images
from hebm.data.status import SourceStatus, list_sources

__all__ = [
    "ImageSet",
    "ResidentImages",
    "SourceStatus",
    "data_root",
    "epoch_order",
    "keep_labels",
    "list_sources",
    "load_images",
    "load_with_held_out_labels",
]
