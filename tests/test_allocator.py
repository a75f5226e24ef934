"""What the allocator keeps: page faults of work that frees and asks for the same blocks again and again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import hebm
from hebm import allocator
from hebm.evaluation import evaluate

STEPS = """
import resource, runpy, sys

keep_freed_memory = runpy.run_path(sys.argv[2])["keep_freed_memory"]  # not the library: seconds
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def step():
    b"x" * 2**26  # 64 MiB, 16,384 pages
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(int(kept), (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5)
"""

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")


def _faults_a_step(mode: str, **environment: str) -> tuple[bool, float]:
    done = subprocess.run(
        [sys.executable, "-c", STEPS, mode, allocator.__file__],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    kept, faults = done.stdout.split()
    return kept == "1", float(faults)


@linux_only
def test_freed_memory_is_there_for_the_next_step() -> None:
    """64 MiB a step: thousands of page faults as the system has it, next to none with memory kept."""
    _, as_it_is = _faults_a_step("leave")
    is_kept, faults = _faults_a_step("keep")
    assert is_kept
    assert as_it_is > 10_000
    assert faults < 100


@linux_only
@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072")],
)
def test_what_the_user_has_set_stands(name: str, value: str) -> None:
    """Their threshold of 128 KiB is in force, and the answer says that ours is not."""
    kept, faults = _faults_a_step("keep", **{name: value})
    assert not kept
    assert faults > 10_000


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such function, no error."""
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory()


def test_training_and_evaluation_on_a_cpu_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the images are read, and before a suite begins."""
    calls: list[str] = []
    monkeypatch.setattr("hebm.training.loop.keep_freed_memory", lambda: calls.append("train"))
    monkeypatch.setattr("hebm.evaluation.suites.keep_freed_memory", lambda: calls.append("evaluate"))
    config = hebm.load_config(
        "digits",
        ["trainer.max_steps=1", "trainer.energy_only_steps=1", "detection.calibrate_after_training=false"],
    )
    run = hebm.train(config, run_dir=tmp_path / "run", device="cpu")
    assert calls == ["train"]
    evaluate(run, "probe", overrides=["evaluation.probe.n_epochs=1", "evaluation.probe.min_steps=1"])
    assert calls == ["train", "evaluate"]
