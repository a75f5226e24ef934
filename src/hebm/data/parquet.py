"""Parquet files with the Hugging Face image schema: `image: {bytes, path}` (or `img`) and perhaps `label`.

A folder with files called `train-*` and `test-*` has these splits; otherwise a share is held out.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hebm.data.cache import PixelCache
from hebm.data.decode import EncodedImage, decode_images
from hebm.data.reading import Decoded, ReadOptions, corrupt_file_is_data_error
from hebm.errors import DataError

__all__ = ["find_parquet", "find_split_parquet", "read_parquet", "read_parquet_files"]

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels")
_BATCH_ROWS = 1024
_THUMBNAIL_BYTES = 2**14


def find_parquet(path: Path, split: str) -> Sequence[Path]:
    """Take the file, or the folder if it holds any."""
    return (path,) if path.is_file() or any(path.glob("*.parquet")) else ()


def find_split_parquet(folder: Path, split: str) -> Sequence[Path]:
    """Find the files called `SPLIT-*.parquet`, in order."""
    return sorted(folder.glob(f"{split}-*.parquet"))


def read_parquet(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Decode one file, or the files of one folder, see :func:`read_parquet_files`."""
    path, split = files[0], options.selection.split
    if path.is_file():
        return read_parquet_files((path,), options, official=False)
    parts = {name: find_split_parquet(path, name) for name in ("train", "test")}
    if split in parts and all(parts.values()):
        return read_parquet_files(parts[split], options, official=True)
    return read_parquet_files(sorted(path.glob("*.parquet")), options, official=False)


def read_parquet_files(
    files: Sequence[Path],
    options: ReadOptions,
    *,
    official: bool,
    image_shape: tuple[int, int, int] | None = None,
) -> Decoded:
    """Decode the images of one or more files, in order; labels count if they are integers.

    Args:
        files: The files of a split, or of the whole set.
        options: What is wanted.
        official: Whether the files are the split; else a share of their items is held out.
        image_shape: The shape [C, H, W] of every image if it is known.

    Raises:
        DataError: If a file is damaged or has no image column, or an image cannot be read.
        ImageShapeError: If sizes are mixed, or not square, and no size is asked for.
    """
    counts, labels = _survey(files)
    select = options.selection.of_split if official else options.selection.held_out
    chosen = select(sum(counts))
    decoded = decode_images(
        lambda: _encoded(files, counts, chosen),
        len(chosen),
        transform=options.transform,
        on_error=options.on_error,
        cache=PixelCache(options.cache_folder, _key(files, chosen, options), options.cache_above_bytes),
        image_shape=image_shape,
        threads=sum(path.stat().st_size for path in files) > _THUMBNAIL_BYTES * sum(counts),
    )
    kept = chosen[decoded.kept]
    return Decoded(decoded.images, None if labels is None else labels[kept], None, decoded.skipped)


def _survey(files: Sequence[Path]) -> tuple[list[int], NDArray[np.int64] | None]:
    """Count the rows of every file and read the labels; no image is touched."""
    counts, labels = [], []
    for path in files:
        with corrupt_file_is_data_error(path), pq.ParquetFile(path) as file:
            counts.append(file.metadata.num_rows)
            name = next((c for c in _LABEL_COLUMNS if c in file.schema_arrow.names), None)
            if name is None or not pa.types.is_integer(file.schema_arrow.field(name).type):
                continue
            column = file.read(columns=[name]).column(name)
            labels.append(column.cast(pa.int64()).fill_null(-1).to_numpy())
    return counts, np.concatenate(labels) if len(labels) == len(files) else None


def _encoded(
    files: Sequence[Path], counts: Sequence[int], chosen: NDArray[np.int64]
) -> Iterator[EncodedImage]:
    """Go through the chosen rows, row group by row group."""
    start = 0
    for path, count in zip(files, counts, strict=True):
        rows = chosen[(chosen >= start) & (chosen < start + count)] - start
        start += count
        if len(rows):
            with corrupt_file_is_data_error(path):
                yield from _rows(path, rows)


def _rows(path: Path, rows: NDArray[np.int64]) -> Iterator[EncodedImage]:
    with pq.ParquetFile(path) as file:
        column = next((c for c in _IMAGE_COLUMNS if c in file.schema_arrow.names), None)
        if column is None or not pa.types.is_struct(file.schema_arrow.field(column).type):
            raise DataError(
                f"{path}: a column 'image' or 'img' of type {{bytes, path}} is expected, but the columns are "
                f"{file.schema_arrow.names}; write it with the Hugging Face image schema."
            )
        start = 0
        for batch in file.iter_batches(_BATCH_ROWS, columns=[f"{column}.bytes"]):
            inside = rows[(rows >= start) & (rows < start + len(batch))]
            contents = batch.column(0).field("bytes")
            for row in inside:
                yield EncodedImage(f"{path.name} row {row}", contents[row - start].as_py() or b"")
            start += len(batch)
            if start > rows[-1]:
                return


def _key(files: Sequence[Path], chosen: NDArray[np.int64], options: ReadOptions) -> str:
    about = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.sha256(repr((about, options.transform, options.on_error)).encode())
    digest.update(chosen.data)
    return digest.hexdigest()
