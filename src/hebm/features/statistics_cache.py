"""Reference statistics of an image set, computed once per extractor and data."""

import logging
import shutil
import zipfile
from pathlib import Path

import numpy as np

from hebm.data import ImageSet
from hebm.errors import HebmError
from hebm.features.cache import cache_name, default_cache_dir, publish
from hebm.features.extractor import FeatureExtractor, feature_statistics, image_batches
from hebm.metrics import GaussianStatistics

__all__ = ["reference_statistics"]

_FILE = "statistics.npz"
_LOGGER = logging.getLogger("hebm")


def reference_statistics(
    extractor: FeatureExtractor,
    image_set: ImageSet,
    *,
    cache_dir: Path | None = None,
    batch_size: int = 256,
) -> GaussianStatistics:
    """Mean and covariance of a whole image set's features, from the cache where it has them.

    The key is the hash of the extractor and the fingerprint of the data, so a change of either is a miss. A
    file that cannot be read is computed again.

    Args:
        extractor: The network.
        image_set: The reference images.
        cache_dir: Where to keep them; by default ``$HEBM_CACHE/features`` or ``~/.cache/hebm/features``.
        batch_size: Images at a time.
    """
    key = cache_name("statistics", extractor.name, extractor.hash[:32], image_set.fingerprint[:32])
    folder = (cache_dir or default_cache_dir()) / key
    known = _read(folder / _FILE, n=len(image_set), dim=extractor.dim)
    if known is not None:
        return known
    statistics = feature_statistics(extractor, image_batches(image_set.images, batch_size=batch_size))
    arrays = statistics.to_arrays()
    shutil.rmtree(folder, ignore_errors=True)  # what could not be read
    publish(folder, lambda partial: np.savez(partial / _FILE, allow_pickle=False, **arrays))
    return statistics


def _read(path: Path, *, n: int, dim: int) -> GaussianStatistics | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            statistics = GaussianStatistics.from_arrays({name: file[name] for name in file.files})
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, HebmError) as error:
        _LOGGER.warning("%s cannot be read and is computed again (%s)", path, error)
        return None
    return statistics if (statistics.n, statistics.dim) == (n, dim) else None
