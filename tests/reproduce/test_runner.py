"""Plans, cells and engines: what is trained, what is kept, what is refused, and the same results from every engine."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from benchmarks.anomaly_ceiling import run_of
from filelock import FileLock
from toy import found, toy_spec
from typer.testing import CliRunner

from hebm.cli import app
from hebm.config import load_config
from hebm.errors import (
    ConfigError,
    DivergenceError,
    MissingDataError,
    MissingDependencyError,
    RunDirectoryError,
)
from hebm.evaluation import SUITES
from hebm.reproduce import Outcome, cell_state, cell_works, cells, engines, make_plan, reproduce, runner
from hebm.reproduce.cells import CellWork, run_cell
from hebm.reproduce.engines import make_engine
from hebm.reproduce.spec import Spec
from hebm.training import Run, train

Reproduce = Callable[..., Outcome]


@pytest.fixture
def run_toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Reproduce:
    """Reproduces the toy, or another specification, in a folder of its own."""

    def run(spec: Spec | None = None, **options: Any) -> Outcome:
        monkeypatch.setattr(runner, "load_spec", lambda name: spec or toy_spec())
        return reproduce("toy", **{"size": "smoke", "folder": tmp_path, "device": "cpu", **options})

    return run


def test_a_plan_has_a_cell_per_run_column_and_seed_trained_ones_first() -> None:
    """Overrides of size, column, run and size's run; the seed is that of training."""
    plan = make_plan(toy_spec(), "small", columns=["digits"])
    assert [(c.run, c.seed, c.parent is not None) for c in plan.cells] == [
        *((run, seed, False) for seed in range(3) for run in ("joint", "other")),
        *(("gaussian", seed, True) for seed in range(3)),
    ]
    other = plan.cells[1].config
    assert (other.prior.kind, other.prior.width, other.data.limit, other.seed) == ("gaussian", 16, 100, 0)
    assert plan.cells[0].config.data.limit is None
    derived = plan.cells[-1]
    assert derived.parent is not None
    assert derived.config.prior.kind == "gaussian"
    assert derived.parent.config.prior.kind == "importance"
    assert derived.config.seed == derived.parent.config.seed == 2


def test_what_a_column_says_of_a_run_comes_last() -> None:
    """After what the size says of it, for this column and this run alone, also where weights are taken."""
    columns = {key: column.model_dump() for key, column in toy_spec().columns.items()}
    columns["digits"]["run_overrides"] = {"other": ["data.limit=200"], "gaussian": ["sampler.n_steps=7"]}
    plan = make_plan(toy_spec(columns=columns), "small", columns=["digits"], n_seeds=1)
    joint, other, twin = (cell.config for cell in plan.cells)
    assert (joint.data.limit, other.data.limit) == (None, 200)
    assert twin.sampler.n_steps == 7 != joint.sampler.n_steps
    columns["digits"]["run_overrides"] = {"nobody": []}
    with pytest.raises(ValueError, match=r"columns\.digits\.run_overrides names 'nobody'"):
        toy_spec(columns=columns)


def test_asking_for_a_derived_run_alone_trains_its_parent() -> None:
    """There is nothing to take weights from otherwise."""
    plan = make_plan(toy_spec(), "small", runs=["gaussian"], columns=["digits"], n_seeds=1)
    assert [c.run for c in plan.cells] == ["joint", "gaussian"]


def test_cells_of_other_configurations_have_other_folders() -> None:
    """So that nothing stale is taken for finished; of a derived cell the parent's configuration counts too."""
    small = toy_spec().sizes["small"].model_dump()
    sizes = [{"small": small | {"overrides": [f"trainer.max_epochs={n}"]}} for n in (1, 2)]
    first, second = (
        make_plan(toy_spec(sizes=size), "small", columns=["digits"], n_seeds=1) for size in sizes
    )
    keys = [{c.key for c in plan.cells} for plan in (first, second)]
    assert not keys[0] & keys[1]
    assert len(keys[0]) == 3


def test_a_derived_cell_depends_on_its_parents_configuration() -> None:
    """Two parents that differ only in what the derived run overrides."""
    runs = {key: run.model_dump() for key, run in toy_spec().runs.items()}
    nce = runs | {"joint": runs["joint"] | {"overrides": ["prior.kind=nce", "prior.base=mixture"]}}
    first, second = (
        make_plan(toy_spec(runs=each), "smoke", runs=["gaussian"]).cells[1] for each in (runs, nce)
    )
    assert first.config == second.config
    assert first.key != second.key


def test_missing_images_are_named_and_the_stand_in_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, even where it was asked for beside; without a stand-in the files are named and nothing is done."""
    monkeypatch.setenv("HEBM_DATA", str(tmp_path))
    plan = make_plan(toy_spec(), "small", columns=["fashion"], n_seeds=1)
    assert plan.columns == ("digits",)
    assert (
        "Fashion-MNIST is not run: fashion_mnist: the files of the split 'train' are missing" in plan.notes[0]
    )
    assert plan.notes[1] == "digits stands in for Fashion-MNIST."
    both = make_plan(toy_spec(), "small", n_seeds=1)
    assert both.columns == ("digits",)
    columns = {key: c.model_dump() | {"instead": None} for key, c in toy_spec().columns.items()}
    with pytest.raises(MissingDataError, match=r"train-images-idx3-ubyte\.gz"):
        make_plan(toy_spec(columns=columns), "small", columns=["fashion"])


def test_an_unknown_suite_run_or_column_is_refused_before_any_work() -> None:
    """The message says what there is."""
    with pytest.raises(ConfigError, match="toy cannot be run with this version: suite 'nothing' is unknown"):
        make_plan(toy_spec(suites=("nothing",)), "smoke")
    with pytest.raises(ConfigError, match="no run 'jont' at this size; choose from joint, gaussian, other"):
        make_plan(toy_spec(), "smoke", runs=["jont"])
    with pytest.raises(ConfigError, match="no column 'fashion' at this size; choose from digits"):
        make_plan(toy_spec(), "smoke", columns=["fashion"])


@pytest.mark.parametrize("override", ["prior.training=joint", "trainer.finetune_steps=5"])
def test_a_twin_of_nets_that_learned_with_the_prior_is_refused(override: str) -> None:
    """Its nets would be others than those of a run without energy."""
    runs = {key: run.model_dump() for key, run in toy_spec().runs.items()}
    runs["joint"]["overrides"] = [*runs["joint"]["overrides"], override]
    with pytest.raises(ConfigError, match="the nets of joint learned with its prior"):
        make_plan(toy_spec(runs=runs), "smoke")


@pytest.mark.slow
def test_the_whole_way_and_back(run_toy: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, tables, watching; a second call runs nothing, and neither does collecting."""
    seen: list[tuple[str, int, int]] = []
    assert [r["run"] for r in run_toy(runs=["other"]).records] == ["other"]
    outcome = run_toy(watch=lambda record, n, of: seen.append((record["run"], n, of)))
    assert seen == [("joint", 2, 3), ("gaussian", 3, 3)]
    place = tmp_path / "toy-smoke"
    assert outcome.folder == place
    assert {p.name for p in tmp_path.iterdir()} == {"toy-smoke", "trained"}
    assert [cell_state(work) for work in cell_works(outcome.plan, tmp_path)] == ["finished"] * 3
    assert {p.name for p in place.iterdir()} == {"cells", "plots", "report.html", "result.json", "table.md"}
    assert {p.name for p in (place / "plots").iterdir()} == {"good.svg", "bad.svg"}
    written = json.loads((place / "result.json").read_text())
    values = {row["row"]: row["columns"]["digits"]["values"] for row in written["measures"]["good"]["rows"]}
    assert values == {"joint": {"0": 0.75}, "gaussian": {"0": 0.5}}
    assert written["n_cells_missing"] == 0
    assert written["asked"] == {"run": [], "column": []}
    assert [c["run"] for c in written["cells"]] == ["joint", "other", "gaussian"]
    costs = {c["run"]: c["results"]["cost"] for c in written["cells"]}
    assert costs["joint"] == costs["gaussian"] != costs["other"]
    n_parameters = sum(
        p.numel() for p in Run(cell_works(outcome.plan, tmp_path)[0].run.directory).model().parameters()
    )
    assert costs["joint"]["n_parameters"] == n_parameters
    assert "goodness" in (place / "table.md").read_text()

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(cells, "train", refuse)
    monkeypatch.setitem(SUITES, "toy", refuse)
    again = run_toy()
    assert again.text == outcome.text
    assert run_toy(collect=True).records == outcome.records
    assert run_toy(collect=True, runs=["other"]).plan.asked_runs == ("other",)
    some = run_toy(collect=True, n_seeds=2)
    assert some.records == outcome.records
    assert "3 of 6 cells are not finished" in some.text
    (cell, *_) = outcome.plan.cells
    assert run_cell(CellWork(cell, place / "cells", tmp_path / "trained", "cpu")) == outcome.records[0]
    assert run_of(place / "cells" / cell.key).checkpoint().is_dir()
    with pytest.raises(RunDirectoryError, match="no finished cell of toy"):
        run_toy(collect=True, folder=tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.slow
def test_a_derived_twin_is_the_twin_trained_on_its_own(tmp_path: Path) -> None:
    """The same encoder and generator to the last bit, so the difference of the two rows is the prior's alone."""
    plan = make_plan(toy_spec(), "smoke", runs=["gaussian"])
    parent, twin = plan.cells
    run_cell(CellWork(parent, tmp_path / "cells", tmp_path, "cpu"))
    derived = cells._model(CellWork(twin, tmp_path / "cells", tmp_path, "cpu"))
    own = train(twin.config, tmp_path / "own", device="cpu", progress=lambda record: None).model()
    assert derived.prior.energy is None
    theirs = own.state_dict()
    assert derived.state_dict().keys() == theirs.keys()
    assert all((value == theirs[name]).all() for name, value in derived.state_dict().items())


@pytest.mark.slow
def test_sampler_overrides_of_a_derived_run_reach_its_model(tmp_path: Path) -> None:
    """Another chain length on the same weights."""
    runs = {key: run.model_dump() for key, run in toy_spec().runs.items()}
    runs["joint"]["overrides"] = ["prior.kind=joint", "prior.base=standard", "trainer.energy_only_steps=0"]
    runs["gaussian"]["overrides"] = ["sampler.sampling_steps=3"]
    plan = make_plan(toy_spec(runs=runs), "smoke", runs=["gaussian"])
    parent, derived = (CellWork(cell, tmp_path / "cells", tmp_path, "cpu") for cell in plan.cells)
    run_cell(parent)
    model = cells._model(derived)
    assert model.sampler.n_steps == 3  # type: ignore[attr-defined]
    averaged = parent.run.model().state_dict()
    assert all((value == averaged[name]).all() for name, value in model.state_dict().items())


@pytest.mark.slow
def test_what_one_reproduction_trained_another_only_evaluates(
    run_toy: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under other names of run and reproduction, with other settings of evaluation; what is evaluated alike is read."""
    first = run_toy(runs=["joint"])
    runs = {key: run.model_dump() for key, run in toy_spec().runs.items()}
    same = runs["joint"] | {"label": "the same"}
    seen_more = same | {"overrides": [*same["overrides"], "evaluation.n_samples=50"]}
    spec = toy_spec(name="second", runs=runs | {"other": same, "more": seen_more})
    spec = spec.model_copy(update={"sizes": {"smoke": spec.sizes["smoke"].model_copy(update={"runs": ()})}})
    evaluated: list[int] = []

    def watched(model: Any, config: Any, *, seed: int) -> dict[str, Any]:
        evaluated.append(config.evaluation.n_samples)
        return {"good": [0.0], "bad": 0.0}

    monkeypatch.setitem(SUITES, "toy", watched)
    trained = sorted(path for path in (tmp_path / "trained").rglob("*.safetensors"))
    monkeypatch.setattr(runner, "load_spec", lambda name: spec)
    works = cell_works(make_plan(spec, "smoke", n_seeds=2, runs=["joint"]), tmp_path)
    assert [cell_state(work) for work in works] == ["run begun or trained already", "to be done"]
    second = reproduce("second", size="smoke", folder=tmp_path, device="cpu", runs=["joint", "other", "more"])
    assert evaluated == [50]
    assert [r["results"] for r in second.records[:2]] == [first.records[0]["results"]] * 2
    assert sorted(path for path in (tmp_path / "trained").rglob("*.safetensors")) == trained
    assert len(list((tmp_path / "trained").glob("*/config.yaml"))) == 1


def test_one_cell_per_training_goes_first_and_the_rest_follow(tmp_path: Path) -> None:
    """Cells that run side by side never train the same."""
    runs = {key: run.model_dump() for key, run in toy_spec().runs.items()}
    twice = toy_spec(runs=runs | {"other": runs["joint"] | {"label": "again"}})
    plan = make_plan(twice, "smoke", n_seeds=2)
    works = [CellWork(cell, tmp_path, tmp_path) for cell in plan.cells]
    first, rest = runner._waves(works)
    assert [(w.cell.run, w.cell.seed) for w in first] == [("joint", 0), ("joint", 1)]
    assert [(w.cell.run, w.cell.seed) for w in rest] == [
        ("other", 0), ("other", 1), ("gaussian", 0), ("gaussian", 1),
    ]  # fmt: skip


@pytest.mark.slow
def test_nobody_takes_the_weights_of_a_run_that_broke_off(
    run_toy: Reproduce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints are there all the same; once it has been trained, both cells have results."""
    right = cells.train

    def break_off(*args: Any, **kwargs: Any) -> Run:
        right(*args, **kwargs)
        raise DivergenceError("it diverged")

    monkeypatch.setattr(cells, "train", break_off)
    outcome = run_toy(runs=["joint", "gaussian"])
    assert list((tmp_path / "trained").glob("*/checkpoints/step-*"))
    assert [r.get("failed") for r in outcome.records] == ["it diverged", "it diverged"]
    monkeypatch.setattr(cells, "train", right)
    assert [r.get("failed") for r in run_toy(runs=["joint", "gaussian"]).records] == [None, None]


def test_who_trains_the_same_waits_for_who_came_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands at once: the second begins when the first one's lock is free."""
    (cell,) = make_plan(toy_spec(), "smoke", runs=["other"]).cells
    work = CellWork(cell, tmp_path / "cells", tmp_path, "cpu")
    begun = threading.Event()
    monkeypatch.setattr(cells, "train", lambda *args, **kwargs: begun.set())
    second = threading.Thread(target=cells._train, args=(work,))
    with FileLock(work.run.directory.with_suffix(".lock")):
        second.start()
        assert not begun.wait(0.3)
    second.join(10)
    assert begun.is_set()


@pytest.mark.slow
def test_a_cell_that_diverges_is_told_and_tried_again(
    run_toy: Reproduce, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others go on; the next call trains it again; an interruption passes through."""
    right = cells.train

    def diverge(config: Any, *args: Any, **kwargs: Any) -> Run:
        if config.prior.base == "standard":
            raise DivergenceError("it diverged")
        return right(config, *args, **kwargs)

    monkeypatch.setattr(cells, "train", diverge)
    outcome = run_toy(runs=["joint", "other"])
    assert [r.get("failed") for r in outcome.records] == [None, "it diverged"]
    assert "other, digits, seed 0: it diverged" in outcome.text
    collected = run_toy(runs=["joint", "other"], collect=True)
    assert (collected.records, collected.text) == (outcome.records, outcome.text)
    written = json.loads((collected.folder / "result.json").read_text())
    assert written["n_cells_missing"] == 1
    monkeypatch.setattr(cells, "train", right)
    assert [r.get("failed") for r in run_toy(runs=["joint", "other"]).records] == [None, None]

    def interrupt(*args: Any, **kwargs: Any) -> Run:
        raise cells.InterruptedTrainingError("stopped by a signal")

    monkeypatch.setattr(cells, "train", interrupt)
    with pytest.raises(
        cells.InterruptedTrainingError, match=r"in digits-other-seed1-.*the same command goes on"
    ):
        run_toy(runs=["other"], n_seeds=2)


@pytest.mark.slow
def test_several_processes_find_the_same(run_toy: Reproduce, tmp_path: Path) -> None:
    """Two processes and this one: equal results of training and of a real suite."""
    spec = toy_spec(suites=("probe",))
    trained = {"runs": ["joint", "other"]}  # one wave: each process imports everything afresh
    here = run_toy(spec, folder=tmp_path / "here", **trained)
    there = run_toy(spec, folder=tmp_path / "there", engine="local:2", **trained)
    assert [r["run"] for r in there.records] == ["joint", "other"]
    assert found(there.records) == found(here.records)


@pytest.mark.slow
def test_a_ray_cluster_finds_the_same(run_toy: Reproduce, tmp_path: Path) -> None:
    """A local cluster of two workers."""
    ray = pytest.importorskip("ray", reason="needs hebm[cluster]")
    spec = toy_spec(suites=("probe",))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        there = run_toy(spec, folder=tmp_path / "there", engine="ray")
    finally:
        ray.shutdown()
    here = run_toy(spec, folder=tmp_path / "here")
    assert found(there.records) == found(here.records)


@pytest.mark.parametrize("name", ["", "local", "local:0", "local:x", "sequential:2", "cloud", "ray:2"])
def test_an_unknown_engine_is_refused(name: str) -> None:
    """The message says which there are."""
    with pytest.raises(ConfigError, match="choose sequential, local:N"):
        make_engine(name)


def test_ray_is_imported_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed the message says how to get it."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(engines.importlib, "import_module", missing)
    make_engine("sequential")
    with pytest.raises(MissingDependencyError, match=r"hebm\[cluster\]"):
        make_engine("ray")


def test_the_command_lists_its_cells_and_refuses_unknown_names(tmp_path: Path) -> None:
    """--dry-run writes nothing; --seeds and --run are heard."""
    call = [
        "reproduce",
        "table3-anomaly",
        "--size",
        "smoke",
        "--seeds",
        "2",
        "--run",
        "gaussian",
        "--column",
        "4",
    ]
    result = CliRunner().invoke(app, [*call, "--out", str(tmp_path / "out"), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert [line.split()[0].rsplit("-", 1)[0] for line in result.output.splitlines()[1:]] == [
        "4-joint-seed0", "4-joint-seed1", "4-gaussian-seed0", "4-gaussian-seed1",
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="nothing called 'table9'"):
        raise CliRunner().invoke(app, ["reproduce", "table9"]).exception  # type: ignore[misc]


def test_a_seed_is_training_and_evaluation_seed() -> None:
    """The configuration's hash differs by it."""
    plan = make_plan(toy_spec(), "smoke", runs=["other"], n_seeds=2)
    assert [cell.config.seed for cell in plan.cells] == [0, 1]
    assert plan.cells[0].config.hash() != plan.cells[1].config.hash()
    assert load_config("digits").seed == 0
