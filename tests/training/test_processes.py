"""Several processes that share a batch compute what one process computes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.training.test_resume import one_thread
from tests.training.tiny import tiny_config


def trained(tmp_path: Path, name: str, config: str, *launcher: str) -> list[dict[str, float]]:
    """Log records of a training in its own process or processes."""
    command = [sys.executable, *launcher, "-m", "hebm", "train", config]
    command += ["--run-dir", str(tmp_path / name), "--device", "cpu"]
    done = subprocess.run(command, env=one_thread(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "event" not in record]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["joint", "persistent", "nce"])
def test_two_processes_on_half_the_batch_give_the_loss_curve_of_one(kind: str, tmp_path: Path) -> None:
    """gloo, torchrun: every logged term agrees within rounding, at every log step."""
    config = tiny_config(
        f"prior.kind={kind}", "prior.training=joint", "sampler.n_chains=40", "trainer.max_steps=20"
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    path = str(tmp_path / "config.yaml")
    one = trained(tmp_path, "one", path)
    two = trained(tmp_path, "two", path, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")
    assert [r["step"] for r in one] == [r["step"] for r in two] == [5, 10, 15, 20]
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "distortion", "rate", "energy_data", "energy_prior"):
            assert b[name] == pytest.approx(a[name], rel=2e-4, abs=2e-5), name
