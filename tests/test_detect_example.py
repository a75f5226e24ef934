"""The practitioner's example is run."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """examples/detect_folder.py on a shorter training: a folder trained on, another judged, a share per kind."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = importlib.import_module("detect_folder")
    shares = example.main(tmp_path / "out", max_steps=30, n_normal=300)
    assert list(shares) == ["disc", "scratch", "square", "large"]
    assert shares["disc"] < 0.25
    assert shares["large"] > 0.5
    assert len(list((tmp_path / "out" / "new").glob("*.png"))) == 260
