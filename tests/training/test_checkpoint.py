"""Checkpoints are atomic, versioned and hash-checked."""

import json
from pathlib import Path

import pytest
import torch
from tests.training.tiny import tiny_config

from hebm.errors import CheckpointError
from hebm.training import Run, load, train
from hebm.training.checkpoint import (
    list_checkpoints,
    load_weights,
    newest_intact,
    prune_checkpoints,
    read_tensors,
    remove_leftovers,
    verify_checkpoint,
    write_checkpoint,
)


def write(directory: Path, step: int) -> Path:
    """A small checkpoint whose content depends on the step."""
    return write_checkpoint(directory, step, {"model": {"w": torch.full((3,), float(step))}}, {"note": "x"})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Tensors and meta survive exactly; `latest` names the newest."""
    path = write(tmp_path, 7)
    assert torch.equal(read_tensors(path, "model")["w"], torch.full((3,), 7.0))
    assert verify_checkpoint(path)["note"] == "x"
    assert (tmp_path / "latest").read_text().strip() == path.name == "step-00000007"


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_file_is_refused_by_name_and_the_previous_one_offered(tmp_path: Path, damage: str) -> None:
    """The message names the file and the step to use instead."""
    write(tmp_path, 1)
    file = write(tmp_path, 2) / "model.safetensors"
    content = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(content[:-3])
    elif damage == "flip":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.unlink()
    with pytest.raises(CheckpointError, match=r"step-00000002/model\.safetensors .* use step 1"):
        verify_checkpoint(file.parent)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        read_tensors(file.parent, "model")
    path, refused = newest_intact(tmp_path)
    assert path == tmp_path / "step-00000001"
    assert len(refused) == 1


def test_altered_numbers_in_the_meta_file_are_noticed(tmp_path: Path) -> None:
    """meta.json carries its own hash."""
    meta = write(tmp_path, 3) / "meta.json"
    meta.write_text(meta.read_text().replace('"note": "x"', '"note": "y"'))
    with pytest.raises(CheckpointError, match=r"meta\.json is altered"):
        verify_checkpoint(meta.parent)


def test_another_schema_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint of a later hebm is not misread."""
    monkeypatch.setattr("hebm.training.checkpoint.SCHEMA_VERSION", 99)
    path = write(tmp_path, 3)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="schema version 99"):
        verify_checkpoint(path)


def test_an_interrupted_write_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder gets its name only when complete, and what is left behind is removed."""
    write(tmp_path, 1)

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hebm.training.checkpoint._replace_folder", dies)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000001"]
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["latest", "step-00000001"]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    """After a rollback the same step is written again with other weights."""
    write_checkpoint(tmp_path, 5, {"model": {"w": torch.zeros(1)}}, {})
    path = write(tmp_path, 5)
    assert read_tensors(path, "model")["w"][0] == 5


def test_pruning_keeps_scheduled_checkpoints_and_the_newest(tmp_path: Path) -> None:
    """Rollback goes to scheduled checkpoints only, so an unscheduled one never pushes one out."""
    for step in (0, 10, 20, 30, 33):
        write(tmp_path, step)
    prune_checkpoints(tmp_path, keep=2, every=10)
    assert [p.name[-2:] for p in list_checkpoints(tmp_path)] == ["20", "30", "33"]


def test_resume_passes_over_a_damaged_checkpoint_and_says_so(tmp_path: Path) -> None:
    """The newest intact one is continued, to the same end."""
    config = tiny_config()
    run = train(config, tmp_path / "run")
    newest = list_checkpoints(run.checkpoints)[-1]
    whole = read_tensors(newest, "ema")
    (newest / "trainer.safetensors").write_bytes(b"rubbish")
    events: list[dict[str, object]] = []
    train(config, tmp_path / "run", resume=True, progress=events.append)
    refused = [e for e in events if e.get("event") == "checkpoint_refused"]
    assert "trainer.safetensors" in str(refused)
    assert refused[0] in run.metrics()
    again = read_tensors(list_checkpoints(run.checkpoints)[-1], "ema")
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_load_gives_the_averaged_weights_in_eval_mode(tmp_path: Path) -> None:
    """hebm.load is what a user samples with; the raw weights are one argument away."""
    run = train(tiny_config(), tmp_path / "run")
    model, raw = load(tmp_path / "run"), load(tmp_path / "run", weights="model")
    assert not model.training
    name, value = next(iter(model.named_parameters()))
    assert torch.equal(value, read_tensors(run.checkpoint(), "ema")[name])
    assert not torch.equal(value, dict(raw.named_parameters())[name])


def test_load_refuses_a_damaged_checkpoint(tmp_path: Path) -> None:
    """No tensor of an altered file reaches a model."""
    run = train(tiny_config(), tmp_path / "run")
    (run.checkpoint() / "ema.safetensors").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="use step 20"):
        load(tmp_path / "run")
    assert load(tmp_path / "run", step=20).sample(2).shape == (2, 1, 8, 8)


def test_meta_is_plain_json(tmp_path: Path) -> None:
    """Anyone can read step, versions and hashes without this library."""
    run: Run = train(tiny_config("trainer.max_steps=2"), tmp_path / "run")
    meta = json.loads((run.checkpoint() / "meta.json").read_text())
    assert meta["step"] == 2
    assert {"schema_version", "hebm_version", "config_hash", "sha256"} <= meta.keys()


@pytest.mark.parametrize(
    "weights", [{"weight": (2, 3)}, {"weight": (3, 2), "bias": (3,)}, {"w": (2, 3), "bias": (2,)}]
)
def test_weights_of_another_model_are_refused_by_name(
    tmp_path: Path, weights: dict[str, tuple[int, ...]]
) -> None:
    """A missing one, another shape, an unknown one; the model stays as it was."""
    model = torch.nn.Linear(3, 2)
    before = model.weight.clone()
    theirs = {name: torch.ones(shape) for name, shape in weights.items()}
    path = write_checkpoint(tmp_path, 1, {"model": theirs}, {"hebm_version": "0.0.9"})
    with pytest.raises(
        CheckpointError, match=r"weights are missing.*such as (bias|w); use the hebm that wrote it .0\.0\.9"
    ):
        load_weights(model, read_tensors(path, "model"), path)
    assert torch.equal(model.weight, before)
    right = {name: torch.ones_like(value) for name, value in model.state_dict().items()}
    load_weights(model, right, path)
    assert bool((model.weight == 1).all())
