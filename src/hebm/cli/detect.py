"""``hebm detect``."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
import typer

from hebm.cli.options import DeviceOption, RunArgument, SeedOption
from hebm.cli.output import device_named, load_run, say
from hebm.data import ImageSet, ResidentImages
from hebm.data.given import read_given_images, transform_of
from hebm.detection import Detections, Explanation, build_score, explain, rate_interval
from hebm.errors import ConfigError, RunDirectoryError
from hebm.files import write_atomically
from hebm.report import Finding, contact_sheet, save_png, write_detections
from hebm.training import Run, StoredDetector, calibrate_run, load_detector

__all__ = ["detect"]

N_LISTED = 10


def detect(
    run_dir: RunArgument,
    images: Annotated[Path, typer.Argument(help="Folder of images, an image file, or a .npz or .npy array.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results; RUN/detections/NAME by default.")
    ] = None,
    score: Annotated[
        str | None,
        typer.Option(help="Score with its options, e.g. llr:n_lowest=2; the run's own by default."),
    ] = None,
    fpr: Annotated[
        float | None, typer.Option(help="False-positive rate; detection.false_positive_rate by default.")
    ] = None,
    n_worst: Annotated[int, typer.Option(min=1, help="Images on the page, most anomalous first.")] = 24,
    on_error: Annotated[
        str, typer.Option(help="refuse, or skip images that cannot be read and list them.")
    ] = "refuse",
    recalibrate: Annotated[
        bool, typer.Option("--recalibrate", help="Calibrate again on the run's held-out images.")
    ] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Find images that do not belong, with p-values calibrated on held-out normal images, and say what breaks first.

    Writes detections.csv, detections.html and detections.png. The CSV has a row per image, in the order of the files:
    file; score (higher is more anomalous); p_value; anomalous (1 where p_value is at most the rate); breaks_first (the
    part with the smallest p-value); then for each part, levels from the top, pixels, energy, its value in nats and its
    p-value.
    """
    _require_options(on_error, fpr, score)
    run, model = load_run(run_dir, device)
    settings = run.config().detection
    rate = settings.false_positive_rate if fpr is None else fpr
    target = _target(run, images, out)
    given = _given(run, images, on_error)
    stored = _detector(run, score or settings.score, device, rate, recalibrate)
    x = ResidentImages(given, "cpu").batch(torch.arange(len(given)))
    judged = _Judged(run, stored, given, stored.detector(model, x, rate=rate), rate)
    worst = judged.found.most_anomalous(n_worst)
    findings = _findings(judged, worst, explain(model, stored.detector, x[worst], seed=seed))
    _write(judged, findings, target, title=images.name)
    _report(judged, worst, target)


@dataclass(frozen=True)
class _Judged:
    """Images, and what a run's detector found about them at a false-positive rate."""

    run: Run
    stored: StoredDetector
    given: ImageSet
    found: Detections
    rate: float

    @property
    def names(self) -> tuple[str, ...]:
        return self.given.item_names or ()

    @property
    def summary(self) -> str:
        n = len(self.found)
        return (
            f"{int(self.found.anomalous.sum())} of {n} images are anomalous at a false-positive rate of "
            f"{self.rate:.3g}; if all were normal, about {self.rate * n:.3g} would be."
        )


def _require_options(on_error: str, fpr: float | None, score: str | None) -> None:
    if on_error not in ("refuse", "skip"):
        raise ConfigError(f"--on-error {on_error!r} is unknown; choose refuse or skip.")
    if fpr is not None and not 0 < fpr < 1:
        raise ConfigError(f"--fpr {fpr:g} is not a rate; give a number between 0 and 1, e.g. 0.05.")
    if score is not None:
        build_score(score)


def _target(run: Run, images: Path, out: Path | None) -> Path:
    """The folder for the results, which is not made yet."""
    target = out or run.directory / "detections" / images.stem
    nearest = next(place for place in (target, *target.parents) if place.exists())
    if not nearest.is_dir():
        raise RunDirectoryError(f"{target} cannot be a folder, as {nearest} is a file; choose another --out.")
    return target


def _given(run: Run, images: Path, on_error: str) -> ImageSet:
    data = run.config().data
    transform = transform_of(data.name, size=data.size, channels=data.channels)
    return read_given_images(images, transform, on_error=cast(Literal["refuse", "skip"], on_error))


def _detector(run: Run, score: str, device: str, rate: float, recalibrate: bool) -> StoredDetector:
    """The stored detector; calibrated and stored now where there is none, if the calibration will allow the rate."""
    stored = None if recalibrate else load_detector(run, score, device=device_named(device))
    if stored is not None:
        return stored
    say(f"calibrating {score} on the run's held-out images")
    return calibrate_run(run, score, device=device_named(device), rate=rate)


def _write(judged: _Judged, findings: list[Finding], target: Path, *, title: str) -> None:
    _make_folder(target)
    write_atomically(target / "detections.csv", _csv(judged.names, judged.found).encode())
    page = target / "detections.html"
    write_detections(page, findings, title=title, lead=judged.summary, facts=_facts(judged))
    save_png(contact_sheet(findings), target / "detections.png")


def _csv(names: tuple[str, ...], found: Detections) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [column for name in found.parts for column in (name, f"{name}_p_value")]
    writer.writerow(["file", "score", "p_value", "anomalous", "breaks_first", *columns])
    for i, name in enumerate(names):
        parts = [
            f"{values[i].item():.9g}"
            for part in found.parts
            for values in (found.parts[part], found.part_p_values[part])
        ]
        verdict = [f"{found.score[i].item():.9g}", f"{found.p_value[i].item():.9g}", int(found.anomalous[i])]
        writer.writerow([name, *verdict, found.breaks_first[i], *parts])
    return text.getvalue()


def _findings(judged: _Judged, worst: list[int], shown: Explanation) -> list[Finding]:
    names, found = judged.names, judged.found
    return [
        Finding(
            names[i],
            found.score[i].item(),
            found.p_value[i].item(),
            bool(found.anomalous[i]),
            found.breaks_first[i],
            {part: values[i].item() for part, values in found.part_p_values.items()},
            shown.images[row],
            shown.reconstructions[row],
            {f"level {level}": redrawn[row] for level, redrawn in enumerate(shown.redrawn)},
            shown.residual[row],
        )
        for row, i in enumerate(worst)
    ]


def _make_folder(target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunDirectoryError(f"{target} cannot be made ({error}); choose another --out.") from error


def _facts(judged: _Judged) -> list[tuple[str, str]]:
    given, rate, n = judged.given, judged.rate, len(judged.stored.detector.calibration)
    low, high = rate_interval(n, rate)
    return [
        ("Run", judged.run.directory.name),
        ("Score", judged.stored.detector.name),
        ("Images", f"{len(given)}" + (f", {len(given.skipped)} left out" if given.skipped else "")),
        ("Calibrated on", f"{n} held-out images"),
        ("False-positive rate", f"{rate:.3g} (this calibration: {low:.3g} to {high:.3g})"),
    ]


def _report(judged: _Judged, worst: list[int], target: Path) -> None:
    found = judged.found
    say(judged.summary)
    for i in [i for i in worst if found.anomalous[i]][:N_LISTED]:
        say(f"  {judged.names[i]}: p = {found.p_value[i].item():.2g}, breaks first: {found.breaks_first[i]}")
    for skipped in judged.given.skipped:
        say(f"  left out: {skipped}")
    for suffix in ("csv", "html", "png"):
        say(str(target / f"detections.{suffix}"))
