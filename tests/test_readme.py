"""What the README shows is run."""

import importlib
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hebm.cli import app
from hebm.cli.app import COMMANDS
from hebm.config import preset_names

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_twenty_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python block of the README, as it stands, on a shorter training."""
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    block = block.replace("max_steps=300", "max_steps=30").replace(
        "energy_only_steps=100", "energy_only_steps=10"
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["x"].shape == names["variations"].shape == (64, 1, 8, 8)  # type: ignore[attr-defined]
    assert names["energy"].shape == (64,)  # type: ignore[attr-defined]


def test_every_command_in_readme_and_docs_exists_with_its_options() -> None:
    """`hebm COMMAND --option` anywhere in a code block names what the help lists."""
    texts = [README, *(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))]
    lines = [
        line
        for text in texts
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.S)
        for line in block.splitlines()
    ]
    calls = [
        re.split(r"\bhebm ", line.split("#")[0], maxsplit=1)[1]
        for line in lines
        if re.search(r"\bhebm \w", line)
    ]
    assert len(calls) > 8
    for call in calls:
        command = call.split()[0]
        assert command in {name for name, _, _ in COMMANDS}, call
        text = CliRunner().invoke(app, [command, "--help"]).output
        assert all(option in text for option in re.findall(r"--[a-z-]+", call)), call
        if command == "train":
            assert call.split()[1] in preset_names(), call


def test_dependencies_that_break_or_harm_are_absent() -> None:
    """No torchvision beside a CPU torch, no compromised release of lightning, exact pins."""
    with pytest.raises(PackageNotFoundError):
        version("torchvision")
    assert "torchvision" not in sys.modules
    assert version("lightning-fabric") not in ("2.6.2", "2.6.3")
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """examples/redraw_a_level.py, on a shorter training: one change per level, one picture each."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    changes = importlib.import_module("redraw_a_level").main(tmp_path / "run", max_steps=20)
    assert len(changes) == 3
    assert all(change > 0 for change in changes)
    assert len(list((tmp_path / "run" / "samples").glob("redrawn-level-*.png"))) == 3
