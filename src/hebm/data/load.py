"""Load an image set by name: find its files or fetch them, read them, bring them to the shape wanted."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from hebm.data.download import fetch
from hebm.data.image_set import ImageSet
from hebm.data.pixels import Transform, conform
from hebm.data.reading import OnError, ReadOptions
from hebm.data.sources import Source, find_source
from hebm.data.splits import Selection
from hebm.errors import DataError, MissingDataError

__all__ = ["data_root", "load_images"]

_LOGGER = logging.getLogger("hebm")


def data_root() -> Path:
    """The folder with one folder per set: ``$HEBM_DATA``, or ``~/.cache/hebm``."""
    named = os.environ.get("HEBM_DATA")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "hebm"


def load_images(
    name: str,
    split: str = "train",
    *,
    path: Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    on_error: OnError = "refuse",
    limit: int | None = None,
    holdout: float = 0.1,
    seed: int = 0,
    root: Path | None = None,
    download: bool = True,
    cache_above_bytes: int = 2**30,
) -> ImageSet:
    """Load one split of an image set.

    Args:
        name: One of :func:`list_sources`.
        split: ``"train"`` or ``"test"``, or another that the set has; ``"all"`` where a share is held out.
        path: The file or folder of ``folder``, ``parquet`` and ``array``; for the other sets, a folder to
            look in instead of ``root / name``.
        size: Resize to size x size; image files are cropped to their centre square first.
        channels: 1 (grey) or 3 (RGB); as the images are if None.
        on_error: ``"refuse"`` raises on an image file that cannot be read; ``"skip"`` leaves it out, lists it
            in ``skipped`` and logs one warning.
        limit: Read at most so many items, the first ones of the split.
        holdout: Share of the items in ``"test"`` where a set has no test split of its own.
        seed: Chooses the held-out items.
        root: Folder with one folder per set; :func:`data_root` if None.
        download: Whether missing files with a known hash may be fetched.
        cache_above_bytes: Decoded image files beyond this size are kept in, and mapped from,
            ``root / "cache"``.

    Returns:
        The images, labels if the set has them, and what was left out.

    Raises:
        MissingDataError: If files are missing and cannot be fetched.
        DataError: If a name or number is wrong, a file is damaged, or nothing is left.
        ImageShapeError: If the images are not square, or of several sizes, and no size is asked for.
    """
    source = find_source(name)
    _check_request(source, split, size, channels, on_error, limit, holdout)
    root = (root or data_root()).absolute()
    files = _find_files(source, split, path, root, download)
    options = ReadOptions(
        Selection(split, holdout, seed, limit),
        Transform(size, channels),
        on_error,
        root / "cache",
        cache_above_bytes,
    )
    decoded = source.read(files, options)
    if decoded.skipped:
        _LOGGER.warning(
            "%s: %d images could not be read and are left out; the first is %s",
            *(name, len(decoded.skipped), decoded.skipped[0]),
        )
    images = conform(decoded.images, options.transform, where=name)
    return ImageSet(
        name,
        split,
        images,
        decoded.labels,
        decoded.item_names,
        decoded.skipped,
        decoded.factors,
        decoded.factor_names,
    )


def _find_files(source: Source, split: str, path: Path | None, root: Path, download: bool) -> Sequence[Path]:
    if source.find is None:
        return ()
    if source.needs_path:
        return _find_path(source, split, path)
    folder = (path or root / source.name).absolute()
    files = source.find(folder, split)
    if not files and download:
        for remote in source.downloads.get(split, ()):
            there = folder / remote.file_name
            if not (there.is_file() or there.with_suffix("").is_file()):
                fetch(remote, folder, set_name=source.name)
        files = source.find(folder, split)
    if not files:
        raise _missing(source, split, folder)
    return files


def _missing(source: Source, split: str, folder: Path) -> MissingDataError:
    assert source.find is not None
    present = [other for other in source.splits if source.find(folder, other)]
    only = f" (only {', '.join(present)} is there)" if present else ""
    wanted = ", ".join(source.expected[split]).replace(", (", " (")
    return MissingDataError(
        f"{source.name}: the files of the split '{split}' are missing from {folder}{only}; put {wanted} "
        f"there, or set HEBM_DATA to the folder that holds {source.name}/."
    )


def _find_path(source: Source, split: str, path: Path | None) -> Sequence[Path]:
    assert source.find is not None
    if path is None:
        raise DataError(f"the set '{source.name}' needs a path; say where it is with `--set data.path=...`.")
    if not path.exists():
        raise MissingDataError(f"{source.name}: there is no {path.absolute()}; correct `data.path`.")
    files = source.find(path.absolute(), split)
    if not files:
        raise DataError(
            f"{source.name}: {path.absolute()} is not one ({source.description}); correct `data.path`."
        )
    return files


def _check_request(
    source: Source,
    split: str,
    size: int | None,
    channels: int | None,
    on_error: str,
    limit: int | None,
    holdout: float,
) -> None:
    checks = {
        f"the set '{source.name}' has the splits {', '.join(source.splits)}, not '{split}'": split
        in source.splits,
        f"size has to be positive, but is {size}": size is None or size > 0,
        f"channels has to be 1 or 3, but is {channels}": channels in (None, 1, 3),
        f"on_error has to be 'refuse' or 'skip', but is '{on_error}'": on_error in get_args(OnError),
        f"limit has to be positive, but is {limit}": limit is None or limit > 0,
        f"holdout has to be at least 0 and below 1, but is {holdout}": 0 <= holdout < 1,
    }
    for message, holds in checks.items():
        if not holds:
            raise DataError(f"{message}; correct it.")
