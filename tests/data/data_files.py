"""Small files of every format, written by the tests; the pictures have no symmetry."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image


def pictures(n: int, height: int, width: int, channels: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    """Random pictures [N, C, H, W]."""
    return np.random.default_rng(seed).integers(0, 256, (n, channels, height, width), dtype=np.uint8)


def as_pillow(picture: NDArray[np.uint8]) -> Image.Image:
    """One picture [C, H, W] as Pillow has it."""
    return Image.fromarray(
        picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))
    )


def png(picture: NDArray[np.uint8]) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    as_pillow(picture).save(buffer, "PNG")
    return buffer.getvalue()


def write_pngs(folder: Path, images: NDArray[np.uint8], names: list[str] | None = None) -> list[str]:
    """Write one PNG per picture."""
    names = names or [f"{i:03d}.png" for i in range(len(images))]
    for name, picture in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(picture))
    return names


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """An IDX file of unsigned bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_idx(
    folder: Path, split: str, images: NDArray[np.uint8], labels: NDArray[np.uint8], *, packed: bool = True
) -> None:
    """Write [N, 1, H, W] and [N] as MNIST's two files of a split."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = {"train": "train", "test": "t10k"}[split]
    for name, array in (("images-idx3", images[:, 0]), ("labels-idx1", labels)):
        data = idx_bytes(array)
        path = folder / f"{prefix}-{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(data) if packed else data)


def write_parquet(
    path: Path, contents: list[bytes], labels: list[int] | None, *, column: str = "image"
) -> None:
    """Write encoded images with the Hugging Face schema, four rows a group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, list[object]] = {column: [{"bytes": content, "path": None} for content in contents]}
    if labels is not None:
        columns["label"] = list(labels)
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fields = [pa.field(column, image_type)] + ([pa.field("label", pa.int64())] if labels is not None else [])
    pq.write_table(pa.table(columns, schema=pa.schema(fields)), path, row_group_size=4)
