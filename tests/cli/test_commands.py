"""The command line from end to end, in seconds, on the embedded digits."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.training.tiny import OVERRIDES
from typer.testing import CliRunner, Result

import hebm
from hebm.cli import app
from hebm.cli.app import COMMANDS, main
from hebm.config import load_config, preset_names
from hebm.errors import ConfigError, HebmError, RunDirectoryError


def call(*arguments: object) -> Result:
    """Run a command in this process; errors of ours pass through."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
    if isinstance(result.exception, HebmError):
        raise result.exception
    return result


def pixels(path: Path) -> np.ndarray:
    """A greyscale PNG as an array [H, W]."""
    with Image.open(path) as image:
        return np.asarray(image)


SETTINGS = [part for text in OVERRIDES for part in ("--set", text)]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tiny run with its Gaussian twin."""
    directory = tmp_path_factory.mktemp("cli") / "run"
    evaluation = ["--set", "evaluation.n_samples=60", "--set", "evaluation.extractor=random_conv"]
    result = call("train", "digits", "--run-dir", directory, "--twin", *SETTINGS, *evaluation)
    assert result.exit_code == 0, result.output
    return directory


def test_training_prints_rate_terms_and_levels(run_dir: Path) -> None:
    """Progress has images/s, distortion, rate with its levels, energy gap."""
    again = call("train", run_dir / "config.yaml", "--run-dir", run_dir, "--resume", "--max-steps", "35")
    assert re.search(
        r"step 35/35 .*images/s · distortion [\d.]+ · rate [\d.]+ \([\d.]+ [\d.]+\) · energy gap",
        again.output,
    )


def test_the_twin_lies_in_the_run_directory_with_the_energy_off(run_dir: Path) -> None:
    """RUN/twin is a run of its own: same configuration but prior.kind."""
    run = hebm.Run(run_dir)
    assert run.twin is not None
    ours, theirs = run.config().model_dump(), run.twin.config().model_dump()
    assert (ours["prior"].pop("kind"), theirs["prior"].pop("kind")) == ("joint", "gaussian")
    assert {k: v for k, v in ours.items() if k != "trainer"} == {
        k: v for k, v in theirs.items() if k != "trainer"
    }


SECOND_PHASE = (
    "prior.base=mixture",
    "prior.kind=importance",
    "prior.n_components=[2]",
    "trainer.energy_only_steps=4",
)


def test_the_twin_of_a_two_phase_run_lends_it_its_nets(tmp_path: Path) -> None:
    """They are trained once, as are those of any other prior with --nets-of."""
    settings = [
        *SETTINGS,
        *(part for key in (*SECOND_PHASE, "trainer.max_steps=3") for part in ("--set", key)),
    ]
    both = call("train", "digits", "--run-dir", tmp_path / "a", "--twin", *settings)
    assert re.search(r"prior gaussian, in \S+/a/twin\n.*prior importance, in \S+/a\n", both.output, re.DOTALL)
    assert f"took the nets of {tmp_path / 'a' / 'twin'}, at step 3" in both.output.replace("\n", "")
    mixture = [*settings, "--set", "prior.kind=mixture", "--set", "prior.base=standard"]
    call("train", "digits", "--run-dir", tmp_path / "b", "--nets-of", tmp_path / "a" / "twin", *mixture)
    runs = [hebm.Run(tmp_path / name) for name in ("a", "a/twin", "b")]
    nets = [run.model().encoder.state_dict() for run in runs]
    assert all(torch.equal(nets[0][key], other[key]) for other in nets[1:] for key in nets[0])
    assert [run.config().prior.kind for run in runs] == ["importance", "gaussian", "mixture"]
    again = call("train", "digits", "--run-dir", tmp_path / "a", "--twin", "--resume", *settings)
    assert "resumed at step 7" in again.output


def test_nets_that_do_not_fit_are_refused_before_any_work(run_dir: Path, tmp_path: Path) -> None:
    """With --nets-of, by name of what differs."""
    settings = [*SETTINGS, *(part for key in SECOND_PHASE for part in ("--set", key))]
    options = ["--run-dir", tmp_path / "c", "--nets-of", run_dir / "twin", *settings]
    with pytest.raises(RunDirectoryError, match="other values of seed"):
        call("train", "digits", *options, "--set", "seed=5")
    assert not (tmp_path / "c").exists()


def test_sample_writes_what_the_suffix_says(run_dir: Path, tmp_path: Path) -> None:
    """PNG grid, npz of bytes, folder of PNGs: the same images, whatever the number asked for."""
    call("sample", run_dir, "--n", "5", "--out", tmp_path / "five.npz")
    call("sample", run_dir, "--n", "230", "--out", tmp_path / "many.npz")
    call("sample", run_dir, "--n", "3", "--out", tmp_path / "folder")
    call("sample", run_dir, "--n", "4", "--out", tmp_path / "grid.png")
    five, many = (np.load(tmp_path / f"{name}.npz")["images"] for name in ("five", "many"))
    assert five.shape == (5, 1, 8, 8)
    assert five.dtype == np.uint8
    assert np.array_equal(five, many[:5])
    single = pixels(tmp_path / "folder" / "000002.png")
    assert np.abs(single.astype(int) - five[2, 0]).max() <= 1
    assert pixels(tmp_path / "grid.png").shape == (2 * 64 + 2, 2 * 64 + 2)


def test_another_seed_gives_other_samples(run_dir: Path, tmp_path: Path) -> None:
    """--seed is what the pictures depend on."""
    for seed in (0, 1):
        call("sample", run_dir, "--n", "4", "--seed", seed, "--out", tmp_path / f"{seed}.npz")
    assert not np.array_equal(np.load(tmp_path / "0.npz")["images"], np.load(tmp_path / "1.npz")["images"])


def test_reconstruct_takes_a_folder_and_keeps_top_levels(run_dir: Path, tmp_path: Path) -> None:
    """Any folder of images, resized to the model's; one row of originals above one of reconstructions."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (20, 30), dtype=np.uint8)).save(tmp_path / "in" / f"{i}.png")
    call("reconstruct", run_dir, tmp_path / "in", "--levels", "top:1", "--out", tmp_path / "out.png")
    assert pixels(tmp_path / "out.png").shape == (2 * 64 + 2, 3 * 64 + 4)


def test_hierarchy_and_traverse_write_one_grid_per_level(run_dir: Path) -> None:
    """Level 0 is the top; pasted mode beside conditional mode."""
    call("hierarchy", run_dir, "--items", "2", "--draws", "3")
    call("hierarchy", run_dir, "--items", "2", "--draws", "3", "--mode", "pasted")
    call("traverse", run_dir, "--points", "3")
    for level in (0, 1):
        for name in ("hierarchy", "hierarchy-pasted", "traverse"):
            assert (run_dir / "samples" / f"{name}-level-{level}.png").is_file()


def test_evaluate_writes_the_contract_and_report_shows_it(run_dir: Path) -> None:
    """samples.json has every field of the contract for run and twin; the report is one self-contained page."""
    result = call("evaluate", run_dir, "--suite", "samples")
    assert result.exit_code == 0, result.output
    record = json.loads((run_dir / "evaluation" / "samples.json").read_text())
    header = {
        "suite",
        "hebm_version",
        "config_hash",
        "checkpoint_step",
        "seed",
        "hardware",
        "duration_s",
        "results",
    }
    assert record.keys() == header
    fields = {"extractor", "n_samples", "fd_prior", "fd_base", "fd_reconstruction", "prior_gap", "kid_prior"}
    fields |= {"precision", "recall", "mse", "mse_pm1", "psnr", "ssim", "fd_halves"}
    results = record["results"]
    assert fields <= results.keys()
    assert results["prior_gap"] == pytest.approx(results["fd_prior"] / results["fd_reconstruction"])
    assert results["mse_pm1"] == pytest.approx(4 * results["mse"])
    assert re.fullmatch(r"random_conv@[0-9a-f]{12}", results["extractor"])
    twin = json.loads((run_dir / "twin" / "evaluation" / "samples.json").read_text())["results"]
    assert twin["fd_prior"] == twin["fd_base"]
    assert twin["energy_along_chain"] is None
    assert call("report", run_dir).exit_code == 0
    page = (run_dir / "report.html").read_text()
    assert "data:image/png;base64" in page
    assert not re.search(r"\bFID\b", re.sub(r"base64,[^\"]*", "", page).replace("is not FID", ""))


def test_presets_and_data_are_listed() -> None:
    """Every preset and every data set has its line."""
    listed = call("presets").output
    assert all(name in listed for name in preset_names())
    assert all(name in call("data").output for name in ("digits", "mnist", "celeba", "folder"))


def test_dry_run_prints_the_resolved_configuration_and_writes_nothing(tmp_path: Path) -> None:
    """What is printed is YAML that loads back."""
    result = call("train", "digits", "--run-dir", tmp_path / "run", "--dry-run", "--set", "sampler.n_steps=7")
    (tmp_path / "again.yaml").write_text(result.output)
    assert hebm.load_config(tmp_path / "again.yaml").sampler.n_steps == 7
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digitz"], "Did you mean 'digits'"),
        (["train", "digits", "--set", "sampler.n_step=3"], r"Did you mean 'sampler\.n_steps'"),
        (["train", "digits", "--set", "sampler.n_steps=-3"], r"sampler\.n_steps = -3"),
        (["train", "digits", "--device", "tpu"], "auto, cpu or cuda"),
        (["train", "folder"], r"data\.path"),
        (["sample", "nowhere"], "not a run directory"),
        (["evaluate", "nowhere", "--suite", "sample"], "unknown"),
        (["hierarchy", "nowhere", "--mode", "glued"], "conditional or pasted"),
    ],
)
def test_a_wrong_request_ends_with_status_2_and_a_line_that_names_the_fix(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No traceback, nothing written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hebm", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_every_help_ends_with_an_example_that_parses() -> None:
    """The example of each command names that command and only options it has."""
    for name, _, example in COMMANDS:
        text = call(name, "--help").output
        assert example in " ".join(text.split())
        assert example.split()[1] == name
        for option in re.findall(r"--[a-z-]+", example):
            assert option in text


def test_an_unknown_suite_is_refused() -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match="samples"):
        call("evaluate", "nowhere", "--suite", "taste")


def test_images_made_do_not_depend_on_the_global_stream(run_dir: Path, tmp_path: Path) -> None:
    """Global draws before a command change nothing, and the command draws nothing globally."""
    call("sample", run_dir, "--n", "2", "--out", tmp_path / "a.npz")
    torch.rand(3)
    before = torch.random.get_rng_state()
    call("sample", run_dir, "--n", "2", "--out", tmp_path / "b.npz")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.load(tmp_path / "a.npz")["images"], np.load(tmp_path / "b.npz")["images"])


def test_evaluate_takes_evaluation_keys_for_this_time_only(run_dir: Path) -> None:
    """--set changes what is measured and the result's configuration hash, not the run; other sections are not."""
    before = (run_dir / "config.yaml").read_text()
    result = call("evaluate", run_dir, "--suite", "samples", "--set", "evaluation.n_samples=40")
    assert result.exit_code == 0, result.output
    record = json.loads((run_dir / "evaluation" / "samples.json").read_text())
    assert record["results"]["n_samples"] == 40
    assert record["config_hash"] != load_config(run_dir / "config.yaml").hash()
    assert (run_dir / "config.yaml").read_text() == before
    with pytest.raises(ConfigError, match=r"only evaluation\.\* can be set"):
        call("evaluate", run_dir, "--suite", "samples", "--set", "sampler.n_steps=3")
