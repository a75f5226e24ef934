"""``hebm data``."""

from rich.table import Table

from hebm.cli.output import console, say
from hebm.data import SourceStatus, data_root, list_sources

__all__ = ["data"]


def data() -> None:
    """List the image sets: what each is, whether it is there, and which files go where."""
    sources = list_sources()
    table = Table(box=None, pad_edge=False)
    for heading in ("data set", "images", "there", "what it is"):
        table.add_column(heading, no_wrap=heading != "what it is")
    for source in sources:
        shape = "×".join(map(str, source.image_shape)) if source.image_shape else "any"
        table.add_row(source.name, shape, _there(source), source.description)
    console().print(table)
    say(f"\nFiles are looked for in HEBM_DATA = {data_root()}")
    for source in sources:
        if source.folder is not None and source.files:
            say(f"  {source.name}/: {', '.join(source.files)}")
    say("folder, parquet and array take their place from --set data.path=…")


def _there(source: SourceStatus) -> str:
    if source.present:
        return ", ".join(source.splits_present)
    if source.folder is None:
        return "data.path"
    return "downloads" if source.downloadable else "no"
