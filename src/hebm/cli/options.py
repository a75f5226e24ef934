"""Options that several commands take, declared once."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DeviceOption", "RunArgument", "SeedOption"]

RunArgument = Annotated[Path, typer.Argument(help="Run directory of a training.")]
DeviceOption = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu or cuda.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of everything that is drawn.")]
