"""A run that is stopped and resumed ends in the same bits as one that is not."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.training.tiny import tiny_config

from hebm.config import RunConfig
from hebm.errors import RunDirectoryError
from hebm.latents import Latents
from hebm.training import InterruptedTrainingError, Run, train
from hebm.training.checkpoint import list_checkpoints
from hebm.training.step import TrainingStep

VARIANTS = {
    "joint": (),
    "persistent": ("prior.kind=persistent", "sampler.n_chains=50", "sampler.restart_probability=0.1"),
    "energy_only": ("trainer.max_steps=6", "trainer.energy_only_steps=15"),
    "progressive": ("objective.level_start_steps=[0, 2]", "objective.level_fade_steps=10"),
    "spectral": ("prior.lipschitz=1", "objective.kl_warmup_steps=20", "trainer.lr_schedule=cosine"),
}


def final_bits(run_dir: Path) -> dict[str, str]:
    """Hashes of every tensor file of the newest checkpoint."""
    newest = list_checkpoints(run_dir / "checkpoints")[-1]
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in newest.glob("*.safetensors")}


def logged(run_dir: Path) -> list[str]:
    """Log lines without what depends on the clock."""
    return [
        str(sorted((k, v) for k, v in record.items() if k != "images_per_s"))
        for record in Run(run_dir).metrics()
        if "event" not in record
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_stopped_in_the_middle_ends_in_the_same_bits(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping at a step that is neither logged nor scheduled changes no bit and no logged number."""
    config = tiny_config(*VARIANTS[variant])
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_during_step(6, patch)
        with pytest.raises(InterruptedTrainingError):
            train(config, tmp_path / "stopped")
    assert list_checkpoints(tmp_path / "stopped" / "checkpoints")[-1].name == "step-00000007"
    train(config, tmp_path / "stopped", resume=True)
    assert final_bits(tmp_path / "stopped") == final_bits(tmp_path / "whole")
    assert logged(tmp_path / "stopped") == logged(tmp_path / "whole")


def interrupt_during_step(step: int, patch: pytest.MonkeyPatch) -> None:
    """Send SIGTERM to this process in the middle of one training step."""
    healthy = TrainingStep._learn

    def interrupted(self: TrainingStep, latents: Latents) -> dict[str, torch.Tensor]:
        if self.state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return healthy(self, latents)

    patch.setattr(TrainingStep, "_learn", interrupted)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_in_the_same_bits(tmp_path: Path) -> None:
    """SIGKILL to a real process at five random moments, then --resume: equal nets, EMA, optimisers, streams."""
    config = tiny_config("trainer.max_steps=400", "trainer.checkpoint_every_steps=7", "prior.kind=persistent")
    train(config, tmp_path / "whole")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    command = [sys.executable, "-m", "hebm", "train", str(tmp_path / "config.yaml")]
    command += ["--run-dir", str(tmp_path / "killed"), "--resume", "--device", "cpu"]
    moments = random.Random(0)
    n_killed = 0
    for _ in range(5):
        process = subprocess.Popen(command, env=one_thread(), stdout=subprocess.DEVNULL)
        wait_for_progress(process, tmp_path / "killed")
        time.sleep(moments.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        n_killed += process.wait() == -signal.SIGKILL
    assert n_killed >= 3, "the run ended before it could be killed"
    subprocess.run(command, env=one_thread(), check=True, stdout=subprocess.DEVNULL)
    assert final_bits(tmp_path / "killed") == final_bits(tmp_path / "whole")
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")


def one_thread() -> dict[str, str]:
    """Environment of a child process with the number of threads that the tests use."""
    return {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "MKL_NUM_THREADS": "1"}


def wait_for_progress(process: subprocess.Popen[bytes], run_dir: Path) -> None:
    """Wait until a child has logged a line more than there was."""
    metrics = run_dir / "metrics.jsonl"
    before = metrics.stat().st_size if metrics.exists() else 0
    for _ in range(1200):
        if process.poll() is not None or (metrics.exists() and metrics.stat().st_size > before):
            return
        time.sleep(0.05)
    raise AssertionError("no progress in a minute")


def test_resume_starts_the_run_where_there_is_none(tmp_path: Path) -> None:
    """--resume on a directory that does not exist equals a fresh start."""
    config = tiny_config("trainer.max_steps=10")
    train(config, tmp_path / "fresh")
    train(config, tmp_path / "resumed", resume=True)
    assert final_bits(tmp_path / "resumed") == final_bits(tmp_path / "fresh")


def test_a_directory_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Without --resume nothing of the user's is touched."""
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunDirectoryError, match="--resume"):
        train(tiny_config(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_another_configuration_is_refused_on_resume_and_the_keys_are_named(tmp_path: Path) -> None:
    """A resumed run cannot silently become another run."""
    train(tiny_config("trainer.max_steps=5"), tmp_path / "run")
    with pytest.raises(RunDirectoryError, match=r"sampler\.n_steps"):
        train(tiny_config("trainer.max_steps=5", "sampler.n_steps=6"), tmp_path / "run", resume=True)


def test_a_finished_run_can_be_made_longer(tmp_path: Path) -> None:
    """Raising max_steps and resuming equals having asked for more at once (constant learning rate)."""
    train(tiny_config("trainer.max_steps=10"), tmp_path / "longer")
    train(tiny_config("trainer.max_steps=20"), tmp_path / "longer", resume=True)
    train(tiny_config("trainer.max_steps=20"), tmp_path / "whole")
    assert final_bits(tmp_path / "longer") == final_bits(tmp_path / "whole")


def test_training_leaves_the_global_random_stream_alone(tmp_path: Path) -> None:
    """The library draws from its own streams only."""
    before = torch.random.get_rng_state()
    train(tiny_config("trainer.max_steps=3"), tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_seed_gives_another_run(tmp_path: Path) -> None:
    """Every stream depends on the seed."""
    train(tiny_config("trainer.max_steps=3"), tmp_path / "a")
    train(tiny_config("trainer.max_steps=3", "seed=1"), tmp_path / "b")
    assert final_bits(tmp_path / "a") != final_bits(tmp_path / "b")


def test_the_twin_sees_the_same_data_and_starts_from_the_same_nets(tmp_path: Path) -> None:
    """prior.kind=gaussian changes nothing but the energy: equal generator and encoder at step 0."""
    from hebm.build import build_model

    joint, twin = build_model(tiny_config()), build_model(tiny_config("prior.kind=gaussian"))
    for name in ("generator", "encoder"):
        ours, theirs = getattr(joint, name).state_dict(), getattr(twin, name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    config: RunConfig = tiny_config("prior.kind=gaussian", "trainer.max_steps=5")
    assert "energy_data" not in train(config, tmp_path / "twin").metrics()[0]


def test_the_length_is_fixed_where_the_schedule_depends_on_it(tmp_path: Path) -> None:
    """With a cosine schedule or energy-only steps a longer run is another run, and is refused as one."""
    for index, override in enumerate(("trainer.lr_schedule=cosine", "trainer.energy_only_steps=3")):
        train(tiny_config("trainer.max_steps=5", override), tmp_path / str(index))
        with pytest.raises(RunDirectoryError, match=r"trainer\.max_steps"):
            train(tiny_config("trainer.max_steps=6", override), tmp_path / str(index), resume=True)
