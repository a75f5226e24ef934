"""``hebm presets``."""

from rich.table import Table

from hebm.cli.output import console
from hebm.config import load_config, preset_names

__all__ = ["presets"]


def presets() -> None:
    """List the presets: data, levels (latents, top first), what each reproduces, rough cost."""
    table = Table(box=None, pad_edge=False)
    for heading in ("preset", "latents, top first", "prior", "what it is"):
        table.add_column(heading)
    for name in preset_names():
        config = load_config(name)
        latents = ", ".join(str(level.latents) for level in config.model.levels)
        table.add_row(name, latents, config.prior.kind, config.description)
    console().print(table)
