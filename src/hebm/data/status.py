"""Say of every set what it is, where it is looked for, and whether it is there."""

from dataclasses import dataclass
from pathlib import Path

from hebm.data.load import data_root
from hebm.data.sources import SOURCES, Source

__all__ = ["SourceStatus", "list_sources"]


@dataclass(frozen=True)
class SourceStatus:
    """One line of ``hebm data``.

    Args:
        name: What to write for ``data.name``.
        description: One line.
        image_shape: [C, H, W], or None if it depends on the files.
        folder: Where its files are looked for; None if it has none or `data.path` says where.
        files: The files expected there.
        splits_present: The splits that can be loaded without the network.
        present: Whether there is any such split.
        downloadable: Whether missing files can be fetched.
        licence: What the authors state.
    """

    name: str
    description: str
    image_shape: tuple[int, int, int] | None
    folder: Path | None
    files: tuple[str, ...]
    splits_present: tuple[str, ...]
    present: bool
    downloadable: bool
    licence: str


def list_sources(root: Path | None = None) -> list[SourceStatus]:
    """Say of every set known by name what it is, where it is looked for, and whether it is there."""
    return [_status(source, (root or data_root()).absolute()) for source in SOURCES.values()]


def _status(source: Source, root: Path) -> SourceStatus:
    folder = None if source.find is None or source.needs_path else root / source.name
    if source.find is None:
        present = source.splits
    elif folder is None:
        present = ()
    else:
        present = tuple(split for split in source.splits if source.find(folder, split))
    return SourceStatus(
        name=source.name,
        description=source.description,
        image_shape=source.image_shape,
        folder=folder,
        files=tuple(dict.fromkeys(name for names in source.expected.values() for name in names)),
        splits_present=present,
        present=bool(present),
        downloadable=bool(source.downloads),
        licence=source.licence,
    )
