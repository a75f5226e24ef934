"""``hebm data``."""

from rich.table import Table

from hebm.cli.output import console, say
from hebm.data import data_root, list_sources

__all__ = ["data"]


def data() -> None:
    """List the image sets: whether each is there, and where it is looked for."""
    say(f"HEBM_DATA = {data_root()}")
    table = Table(box=None, pad_edge=False)
    for heading in ("data set", "there", "looked for in", "files", "what it is"):
        table.add_column(heading)
    for source in list_sources():
        there = (
            ", ".join(source.splits_present)
            if source.present
            else "downloads"
            if source.downloadable
            else "-"
        )
        place = (
            "data.path" if source.folder is None and not source.present else str(source.folder or "built in")
        )
        table.add_row(source.name, there, place, ", ".join(source.files), source.description)
    console().print(table)
