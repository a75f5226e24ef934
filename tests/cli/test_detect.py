"""`hebm detect` from end to end: files, verdicts, pages, refusals."""

import csv
import re
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image
from tests.cli.test_commands import call
from tests.training.tiny import tiny_config

from hebm.cli.app import main
from hebm.data.given import read_given_images, transform_of
from hebm.data.pixels import Transform
from hebm.detection import score_images
from hebm.errors import CheckpointError, ConfigError, DataError, MissingDataError, RunDirectoryError
from hebm.training import Run, detectors, load_detector, train
from hebm.training.detectors import detector_file


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run with its detector."""
    return train(tiny_config(), tmp_path_factory.mktemp("detect") / "run", device="cpu").directory


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight drawn images of several sizes, some colour, one in a sub-folder; two of them noise."""
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for i in range(6):
        image = np.zeros((20 + i, 30), dtype=np.uint8)
        image[5:15, 10 : 12 + i] = 200
        Image.fromarray(image).save(tmp_path / "in" / f"bar-{i}.png")
    noise = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "in" / "noise.png")
    Image.fromarray(noise[::-1]).save(tmp_path / "in" / "deep" / "noise.jpg")
    return tmp_path / "in"


def rows_of(out: Path) -> list[dict[str, str]]:
    """The rows of the CSV file."""
    with (out / "detections.csv").open() as file:
        return list(csv.DictReader(file))


def contents(place: Path) -> dict[Path, bytes | None]:
    """Everything below a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in place.rglob("*")}


def test_the_csv_has_a_row_per_image_with_score_p_value_and_parts(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    """In the order of the files; the numbers are the library's."""
    result = call("detect", trained, folder, "--out", tmp_path / "out", "--fpr", "0.1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out")
    names = ["bar-0.png", "bar-1.png", "bar-2.png", "bar-3.png", "bar-4.png", "bar-5.png", "deep/noise.jpg"]
    assert [row["file"] for row in rows] == [*names, "noise.png"]
    parts = ["level_0", "level_1", "pixels", "energy"]
    head = ["file", "score", "p_value", "anomalous", "breaks_first"]
    assert list(rows[0]) == [*head, *(c for part in parts for c in (part, f"{part}_p_value"))]
    given = read_given_images(folder, Transform(8, 1))
    x = torch.from_numpy(given.images).float() / 255
    expected = score_images(Run(trained).model(), x, "log_joint")
    assert [float(row["score"]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-6)
    for row in rows:
        assert row["anomalous"] == str(int(float(row["p_value"]) <= 0.1))
        smallest = min(float(row[f"{part}_p_value"]) for part in parts)
        assert float(row[f"{row['breaks_first']}_p_value"]) == smallest
    n = sum(row["anomalous"] == "1" for row in rows)
    assert f"{n} of 8 images are anomalous at a false-positive rate of 0.1" in result.output


def test_the_page_is_self_contained_and_shows_the_most_anomalous_first(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    """Per image: image, reconstruction, difference and one picture per level, embedded; the sheet has the same."""
    call("detect", trained, folder, "--out", tmp_path / "out", "--n-worst", "3")
    page = (tmp_path / "out" / "detections.html").read_text()
    rows = sorted(rows_of(tmp_path / "out"), key=lambda row: -float(row["score"]))
    shown = re.findall(r"<h2>\d+\. (.*?)</h2>", page)
    assert shown == [row["file"] for row in rows[:3]]
    assert page.count('src="data:image/png;base64,') == 3 * 5
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    with Image.open(tmp_path / "out" / "detections.png") as sheet:
        assert sheet.size == (5 * 64 + 4 * 2, 3 * 64 + 2 * 2)
        pixels = np.asarray(sheet)[..., 0]
    given = read_given_images(folder, Transform(8, 1))
    assert given.item_names is not None
    for i, name in enumerate(shown):
        cell = pixels[66 * i : 66 * i + 64 : 8, :64:8]
        assert np.array_equal(cell, given.images[given.item_names.index(name), 0])
    assert shown != list(given.item_names[:3])


def test_one_file_and_arrays_are_scored_like_a_folder(trained: Path, folder: Path, tmp_path: Path) -> None:
    """The same image by three ways has one score; results go beside the run by default."""
    given = read_given_images(folder, Transform(8, 1))
    np.savez(tmp_path / "array.npz", images=given.images)
    np.save(tmp_path / "array.npy", given.images[:, 0].astype(np.float64) / 255)
    call("detect", trained, folder, "--out", tmp_path / "folder")
    expected = [row["score"] for row in rows_of(tmp_path / "folder")]
    call("detect", trained, folder / "noise.png")
    assert [(r["file"], r["score"]) for r in rows_of(trained / "detections" / "noise")] == [
        ("noise.png", expected[-1])
    ]
    for name in ("array.npz", "array.npy"):
        call("detect", trained, tmp_path / name, "--out", tmp_path / "array")
        rows = rows_of(tmp_path / "array")
        assert [row["score"] for row in rows] == expected
        assert rows[7]["file"] == f"{name}[7]"


def test_neither_the_data_nor_the_other_images_are_needed(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    """A run whose data are gone detects from its checkpoint, and twice the same."""
    shutil.copytree(trained, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    config.write_text(config.read_text().replace("path: null", "path: /nowhere"))
    for out in ("a", "b"):
        call("detect", tmp_path / "run", folder, "--out", tmp_path / out)
    for name in ("detections.csv", "detections.html", "detections.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_unreadable_images_are_refused_by_name_or_listed(trained: Path, folder: Path, tmp_path: Path) -> None:
    """By default nothing is written; with --on-error skip the others are scored."""
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "empty.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"2 images .* broken\.png: .*; empty\.png: it is empty; .*--on-error skip"
    ):
        call("detect", trained, folder, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = call("detect", trained, folder, "--out", tmp_path / "out", "--on-error", "skip")
    assert len(rows_of(tmp_path / "out")) == 8
    assert "left out: broken.png: it is not an image" in result.output
    assert "left out: empty.png" in result.output
    with pytest.raises(DataError, match="none of the 1 images can be read"):
        call("detect", trained, folder / "broken.png", "--on-error", "skip")


def test_an_older_run_is_calibrated_once_and_another_score_beside(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    """A checkpoint without detector gets one; --recalibrate replaces a damaged one; the score is another."""
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    file = detector_file(run.checkpoint(), "log_joint")
    stored = file.read_bytes()
    file.unlink()
    first = call("detect", run.directory, folder)
    again = call("detect", run.directory, folder)
    assert "calibrating log_joint" in first.output
    assert "calibrating" not in again.output
    assert file.read_bytes() == stored
    call("detect", run.directory, folder, "--score", "rate:level=0", "--out", tmp_path / "rate")
    assert load_detector(run, "rate:level=0") is not None
    assert [row["score"] for row in rows_of(tmp_path / "rate")] == pytest.approx(
        [row["level_0"] for row in rows_of(tmp_path / "rate")]
    )
    file.write_text("{}")
    with pytest.raises(CheckpointError, match="--recalibrate"):
        call("detect", run.directory, folder)
    assert "calibrating" in call("detect", run.directory, folder, "--recalibrate").output
    assert file.read_bytes() == stored


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--fpr", "0.001"], ConfigError, "at least 999 calibration images"),
        (["--fpr", "0.001", "--recalibrate"], ConfigError, "at least 999 calibration images"),
        (["--fpr", "0.001", "--score", "distortion"], ConfigError, "at least 999 calibration images"),
        (["--out", "in/noise.png/deep"], RunDirectoryError, "choose another --out"),
    ],
)
@pytest.mark.parametrize("calibrated", [True, False])
def test_a_refused_request_calibrates_nothing(
    trained: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: type[Exception],
    message: str,
    calibrated: bool,
) -> None:
    """With a detector or without: it is refused before the work, and every file of the run stays as it was."""
    monkeypatch.chdir(folder.parent)
    run = Run(shutil.copytree(trained, tmp_path / "run"))
    if not calibrated:
        detector_file(run.checkpoint(), "log_joint").unlink()
    monkeypatch.setattr(detectors, "calibrate", lambda *_, **__: pytest.fail("it was calibrated"))
    before = contents(tmp_path)
    with pytest.raises(error, match=message):
        call("detect", run.directory, "in", *arguments)
    assert contents(tmp_path) == before


def test_the_smallest_rate_of_a_new_calibration_is_allowed(
    trained: Path, folder: Path, tmp_path: Path
) -> None:
    """1 / (n + 1), n being known before; half of that is not."""
    stored = load_detector(Run(trained))
    assert stored is not None
    run, rate = shutil.copytree(trained, tmp_path / "run"), 1 / (len(stored.detector.calibration) + 1)
    result = call("detect", run, folder, "--recalibrate", "--fpr", rate)
    assert result.exit_code == 0, result.output
    with pytest.raises(ConfigError, match=f"but there are {len(stored.detector.calibration)};"):
        call("detect", run, folder, "--recalibrate", "--fpr", rate / 2)


def test_a_folder_that_cannot_be_made_is_named(
    trained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where writing is not allowed."""
    monkeypatch.setattr(Path, "mkdir", Mock(side_effect=PermissionError("not yours")))
    with pytest.raises(RunDirectoryError, match=r"out cannot be made \(not yours\); choose another --out"):
        call("detect", trained, folder, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["nowhere"], MissingDataError, "nowhere does not exist"),
        (["in", "--fpr", "2"], ConfigError, "between 0 and 1"),
        (["in", "--fpr", "0.001"], ConfigError, "at least 999 calibration images"),
        (["in", "--score", "llrr"], ConfigError, "did you mean 'llr'"),
        (["in", "--on-error", "shrug"], ConfigError, "refuse or skip"),
        (["in", "--out", "in/noise.png"], RunDirectoryError, "is a file"),
        (["in", "--out", "in/noise.png/deep"], RunDirectoryError, "choose another --out"),
    ],
)
def test_a_wrong_request_is_refused_and_nothing_written(
    trained: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: type[Exception],
    message: str,
) -> None:
    """As errors of a wrong request; the run and the folder stay as they were."""
    monkeypatch.chdir(folder.parent)
    before = sorted(str(p) for place in (trained, folder.parent) for p in place.rglob("*"))
    with pytest.raises(error, match=message):
        call("detect", trained, *arguments)
    assert sorted(str(p) for place in (trained, folder.parent) for p in place.rglob("*")) == before


def test_the_command_ends_with_status_2_and_one_line(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback."""
    monkeypatch.setattr("sys.argv", ["hebm", "detect", str(trained), str(tmp_path)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "holds no image" in capsys.readouterr().err


def test_faces_are_cropped_as_in_training() -> None:
    """CelebA's centre crop of 148 goes with the model; other sets have none."""
    assert transform_of("celeba", size=64, channels=3) == Transform(64, 3, 148)
    assert transform_of("folder", size=32, channels=1) == Transform(32, 1, None)
