"""Imported networks give the outputs of the documented layer order; nothing but tensors is read."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models import released_networks as released
from torch import Tensor
from typer.testing import CliRunner

import hebm
from hebm.build import build_model
from hebm.cli import app
from hebm.errors import CheckpointError, ConfigError, HebmError, NonFiniteError, RunDirectoryError
from hebm.models import JointModel
from hebm.released import ReleasedLayout, import_official, read_released, released_config
from hebm.released.run import load_weights

FORMS = ["sampling", "fid"]
K = 32  # the large network at a thirty-second of its width
WIDTH, DEPTH = {"sampling": 50, "fid": 100 // 4}, {"sampling": 4, "fid": 2}
DIMS = {"sampling": (2, 2, 2, 10), "fid": (10,) * 5}  # level 0 first


def checkpoint(form: str, *, spectral: bool = True) -> dict[str, Any]:
    """A released checkpoint with random weights, beside what else such a file holds."""
    shapes = {
        "sampling": (released.SAMPLING_GENERATOR, released.SAMPLING_ENCODER),
        "fid": (released.fid_generator_shapes(K), released.fid_encoder_shapes(K)),
    }[form]
    energy = released.random_weights(
        released.energy_shapes(sum(DIMS[form]), WIDTH[form], DEPTH[form]), seed=2
    )
    for name in [n for n in energy if n.endswith("weight_orig")]:
        u, _, v = torch.linalg.svd(energy[name], full_matrices=False)
        energy[name.replace("orig", "u")], energy[name.replace("orig", "v")] = u[:, 0], v[0]
    if not spectral:
        plain = {name: w for name, w in energy.items() if not name.endswith(("_u", "_v"))}
        energy = {name.replace("_orig", ""): w for name, w in plain.items()}
    generator, encoder = (released.random_weights(s, seed) for seed, s in enumerate(shapes))
    optimizer = {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-4}]}
    return {"netG": generator, "netI": encoder, "netE": energy, "optG": optimizer, "epoch": 57}


def write(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def imported(path: Path) -> JointModel:
    """The model in float64."""
    weights = read_released([path])
    layout = ReleasedLayout.of(weights)
    model = build_model(released_config(layout, [])).double().eval()
    load_weights(model, weights, layout)
    return model


def draws(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("form", FORMS)
def test_an_imported_model_gives_the_released_outputs(tmp_path: Path, form: str) -> None:
    """Images, posteriors and energies of both forms equal a plain evaluation of the documented order, in float64."""
    content = checkpoint(form)
    model = imported(write(tmp_path / "released.pth", content))
    z = [draws(3, d, seed=i) for i, d in enumerate(DIMS[form])]
    generate = {"sampling": released.sampling_generator, "fid": released.fid_generator}[form]
    image = generate(content["netG"], *z)
    assert image.std() > 0.1
    latents = tuple(reversed(z))
    torch.testing.assert_close(model.likelihood(latents).mean, image, rtol=1e-10, atol=1e-12)
    energy = released.negative_energy(content["netE"], z, DEPTH[form])
    torch.testing.assert_close(model.prior.energy(latents), -energy, rtol=1e-10, atol=1e-12)
    x = draws(2, 3, 32, 32, seed=9).sigmoid()
    expected = released.encoder(content["netI"], 2 * x - 1, len(z) - 1)
    for q, (mean, log_variance) in zip(model.encode(x), reversed(expected), strict=True):
        torch.testing.assert_close(q.mean, mean, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(q.scale.square(), log_variance.exp() + 1e-6, rtol=1e-10, atol=1e-12)


def test_an_energy_without_spectral_normalisation_is_imported(tmp_path: Path) -> None:
    """The released code's default has none: then the layers are as they are, and there is no bound."""
    content = checkpoint("sampling", spectral=False)
    model = imported(write(tmp_path / "released.pth", content))
    z = [draws(3, d, seed=i) for i, d in enumerate(DIMS["sampling"])]
    w, h = content["netE"], torch.cat(z, 1)
    for i in range(4):
        h = torch.nn.functional.leaky_relu(
            h @ w[f"energy.fc{i + 1}.weight"].T + w[f"energy.fc{i + 1}.bias"], 0.2
        )
    expected = -(h @ w["energy.out.weight"].T + w["energy.out.bias"]).squeeze(1)
    torch.testing.assert_close(model.prior.energy(tuple(reversed(z))), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("form", "preset"), [("sampling", "svhn_sampling"), ("fid", "svhn_fid")])
def test_the_full_networks_are_the_presets(form: str, preset: str) -> None:
    """The sizes read off the released shapes are those of the shipped presets."""
    shapes = {
        "sampling": (
            released.SAMPLING_GENERATOR,
            released.SAMPLING_ENCODER,
            released.energy_shapes(16, 50, 4),
        ),
        "fid": (
            released.fid_generator_shapes(),
            released.fid_encoder_shapes(),
            released.energy_shapes(50, 100, 2),
        ),
    }[form]
    with torch.device("meta"):
        weights = [{name: torch.empty(shape) for name, shape in table.items()} for table in shapes]
    layout = ReleasedLayout.of(hebm.released.ReleasedWeights(*weights, None))
    ours, theirs = released_config(layout, []), hebm.load_config(preset)
    for section in ("data", "model", "prior", "sampler", "trainer"):
        assert getattr(ours, section) == getattr(theirs, section)


def test_a_run_directory_is_written_that_commands_accept(tmp_path: Path) -> None:
    """Load, sample and reconstruct; the files' hashes and the epoch are kept, and the weights survive."""
    content = checkpoint("sampling")
    path, run_dir = write(tmp_path / "released.pth", content), tmp_path / "run"
    data = ["data.name=factors", "data.split=train", "data.limit=20", "sampler.n_steps=2"]
    commands = [
        ["import-official", path, "--run-dir", run_dir, *(part for text in data for part in ("--set", text))],
        ["sample", run_dir, "--n", 4, "--out", tmp_path / "four.png", "--device", "cpu"],
        ["reconstruct", run_dir, "--device", "cpu"],
    ]
    for command in commands:
        result = CliRunner().invoke(app, [str(part) for part in command])
        assert result.exit_code == 0, result.output + repr(result.exception)
    model = hebm.load(run_dir)
    z = [draws(3, d, seed=i) for i, d in enumerate(DIMS["sampling"])]
    expected = released.sampling_generator(content["netG"], *z).float()
    torch.testing.assert_close(
        model.likelihood(tuple(part.float() for part in reversed(z))).mean, expected, rtol=1e-4, atol=1e-5
    )
    environment = json.loads((run_dir / "environment.json").read_text())
    assert environment["imported_epoch"] == 57
    assert len(environment["imported_from"]["released.pth"]) == 64


def test_networks_may_come_in_files_of_their_own(tmp_path: Path) -> None:
    """Under the network's name or bare, with or without the prefix of a parallel wrapper."""
    content = checkpoint("sampling")
    files = [
        write(tmp_path / "g.pth", {"netG": content["netG"]}),
        write(tmp_path / "i.pth", {f"module.{name}": w for name, w in content["netI"].items()}),
        write(tmp_path / "e.pth", content["netE"]),
    ]
    weights = read_released(files)
    assert weights.encoder.keys() == content["netI"].keys()
    assert weights.generator.keys() == content["netG"].keys()
    assert weights.energy.keys() == content["netE"].keys()
    assert weights.epoch is None


class Trap:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_code_is_refused_and_not_executed(tmp_path: Path) -> None:
    """A file that would run code on loading runs none."""
    for name, content in (
        ("torch.pth", None),
        ("plain.pth", pickle.dumps({"netG": Trap(tmp_path / "ran")}, protocol=2)),
    ):
        path = tmp_path / name
        if content is None:
            torch.save({"netG": Trap(tmp_path / "ran")}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match=name):
            read_released([path])
    assert not (tmp_path / "ran").exists()


def test_what_is_not_the_released_networks_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    """Each message names what is wrong."""
    good = checkpoint("sampling")

    def changed(network: str, **weights: Tensor | None) -> dict[str, Any]:
        kept = {**good[network], **{name.replace("__", "."): w for name, w in weights.items()}}
        return {**good, network: {name: w for name, w in kept.items() if w is not None}}

    nan = torch.full((256,), torch.nan)
    narrow = {name: w[:, :9] if name == "energy.fc1.weight_orig" else w for name, w in good["netE"].items()}
    narrow["energy.fc1.weight_v"] = narrow["energy.fc1.weight_v"][:9]
    cases: list[tuple[object, type[HebmError], str]] = [
        ({"netG": good["netG"]}, CheckpointError, r"netI \(encoder\) and netE \(energy\)"),
        (changed("netG", extra__weight=torch.zeros(2)), CheckpointError, "extra.weight"),
        (changed("netG", gen2__3__weight=None), CheckpointError, "lacks the weight 'gen2.3.weight'"),
        (changed("netI", ladder1__0__convT__weight=None), CheckpointError, "ladder1.0.convT.weight"),
        (changed("netI", ladder0_logvar__bias=torch.zeros(3)), CheckpointError, r"\[3\].*\[2\]"),
        (changed("netG", gen3__0__bias=nan), NonFiniteError, "netG.gen3.0.bias"),
        (changed("netG", gen3__0__bias="text"), CheckpointError, "is a str"),  # type: ignore[arg-type]
        ({**good, "netE": narrow}, CheckpointError, "9 latents"),
        ([1, 2], CheckpointError, "holds a list"),
        ({"weights": torch.zeros(1)}, CheckpointError, "its keys are weights"),
    ]
    for number, (content, error, match) in enumerate(cases):
        path = write(tmp_path / f"{number}.pth", content)
        with pytest.raises(error, match=match):
            import_official([path], tmp_path / "run")
    path = write(tmp_path / "good.pth", good)
    with pytest.raises(CheckpointError, match="once more"):
        import_official([path, path], tmp_path / "run")
    with pytest.raises(CheckpointError, match="no file"):
        import_official([tmp_path / "missing.pth"], tmp_path / "run")
    (tmp_path / "cut.pth").write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match=r"cut\.pth"):
        import_official([tmp_path / "cut.pth"], tmp_path / "run")
    with pytest.raises(ConfigError, match="n_stepps"):
        import_official([path], tmp_path / "run", ["sampler.n_stepps=3"])
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("")
    with pytest.raises(RunDirectoryError, match="not empty"):
        import_official([path], tmp_path / "run")
