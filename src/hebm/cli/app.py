"""The ``hebm`` command: exit status 0 done, 1 failed while running, 2 the request was wrong."""

import logging
import sys

import typer

from hebm.allocator import keep_freed_memory
from hebm.cli.data import data
from hebm.cli.detect import detect
from hebm.cli.evaluate import evaluate_run
from hebm.cli.features import features
from hebm.cli.hierarchy import hierarchy
from hebm.cli.import_official import import_released
from hebm.cli.output import console
from hebm.cli.presets import presets
from hebm.cli.reconstruct import reconstruct
from hebm.cli.report import report
from hebm.cli.reproduce import reproduce_names
from hebm.cli.sample import sample
from hebm.cli.train import train_run
from hebm.cli.traverse import traverse
from hebm.errors import HebmError, RequestError

__all__ = ["app", "main"]

app = typer.Typer(
    name="hebm",
    help="Hierarchical generative models of images whose latent prior is a joint energy-based model.",
    epilog="Start here: hebm train digits --run-dir runs/first",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

COMMANDS = (
    ("presets", presets, "hebm presets"),
    ("data", data, "hebm data"),
    ("features", features, "hebm features digits"),
    ("train", train_run, "hebm train digits --run-dir runs/first --max-steps 200"),
    ("sample", sample, "hebm sample runs/first --n 64 --out samples.png"),
    ("reconstruct", reconstruct, "hebm reconstruct runs/first --levels top:1"),
    ("hierarchy", hierarchy, "hebm hierarchy runs/first --mode conditional"),
    ("traverse", traverse, "hebm traverse runs/first"),
    ("detect", detect, "hebm detect runs/first IMAGES --fpr 0.05"),
    ("evaluate", evaluate_run, "hebm evaluate runs/first --suite samples"),
    ("reproduce", reproduce_names, "hebm reproduce table3-anomaly --size smoke"),
    ("report", report, "hebm report runs/first"),
    ("import-official", import_released, "hebm import-official svhn.pth --run-dir runs/released"),
)
for name, function, example in COMMANDS:
    app.command(name, epilog=f"Example: {example}")(function)


def main() -> None:
    """Run the command line and turn our errors into one or two lines and an exit status."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    for noisy in ("lightning_fabric", "lightning.fabric"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    keep_freed_memory()
    try:
        app()
    except RequestError as error:
        _fail(str(error), 2)
    except HebmError as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        _fail("interrupted.", 1)


def _fail(message: str, status: int) -> None:
    console(stderr=True).print(
        f"error: {message}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    sys.exit(status)
