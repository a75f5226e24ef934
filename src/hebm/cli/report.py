"""``hebm report``."""

from hebm.cli.options import DeviceOption, RunArgument, SeedOption
from hebm.cli.output import device_named, say
from hebm.cli.pictures import write_pictures
from hebm.report import write_report
from hebm.training import Run

__all__ = ["report"]


def report(run_dir: RunArgument, seed: SeedOption = 0, device: DeviceOption = "auto") -> None:
    """Make RUN/report.html: one self-contained page of pictures, curves and results."""
    run = Run(run_dir)
    for each in (run, run.twin):
        if each is not None:
            write_pictures(each, each.model().to(device_named(device)), seed=seed)
    say(str(write_report(run.directory)))
