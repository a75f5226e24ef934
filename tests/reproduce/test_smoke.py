"""Every name runs at size smoke, without any image file: the pipeline, not the numbers."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hebm.cli import app
from hebm.reproduce import spec_names


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all names, which share what they train, as in use."""
    return tmp_path_factory.mktemp("reproduce")


@pytest.mark.slow
@pytest.mark.parametrize("name", spec_names())
def test_every_name_runs_at_smoke_without_image_files(
    name: str, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every cell ends, every measure has a number, the page is written."""
    monkeypatch.setenv("HEBM_DATA", str(tmp_path / "none"))
    call = ["reproduce", name, "--size", "smoke", "--out", str(kept), "--device", "cpu"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, (result.output, result.exception)
    place = kept / f"{name}-smoke"
    written = json.loads((place / "result.json").read_text())
    assert written["cells"]
    assert not [cell for cell in written["cells"] if "failed" in cell]
    for measure in written["measures"].values():
        assert any(entry["values"] for row in measure["rows"] for entry in row["columns"].values()), measure[
            "label"
        ]
    assert "<svg" in (place / "report.html").read_text()
