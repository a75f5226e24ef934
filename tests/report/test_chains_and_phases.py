"""A run of the digits preset with both phases: the rows on chain length, and where the energy learned alone."""

import json
from pathlib import Path
from typing import Any

import pytest
from run_directories import log_record, make_full_run, sample_results, write_metrics

from hebm import load_config
from hebm.report import write_report
from hebm.report.history import History, read_history
from hebm.report.plots import energy_figure, loss_figure, rate_figure
from hebm.report.run_files import read_run
from hebm.report.tables import Row, samples_table

ONLY_IN_JOINT_STEPS = ("loss", "distortion", "grad_norm")
CHAIN_RESULTS = {"fd_longer_chain": 7.75, "n_steps": 60}


def _phase_record(step: int, phase: str) -> dict[str, Any]:
    """A log line; energy-only steps have no loss."""
    record = log_record(step, grad_norm=1.0, phase=phase)
    return {k: v for k, v in record.items() if phase == "joint" or k not in ONLY_IN_JOINT_STEPS}


BOTH_PHASES = [
    _phase_record(50, "joint"),
    _phase_record(100, "joint"),
    {"event": "diverged", "step": 120, "reason": "energy gap above 1000", "tries": 1},
    {"event": "rollback", "step": 100, "energy_lr": 5e-05},
    _phase_record(150, "energy"),
    _phase_record(200, "energy"),
]


def _digits_run(folder: Path, *, kind: str = "joint", **results: Any) -> Path:
    """A full run whose configuration is the digits preset's own."""
    make_full_run(folder, kind=kind, **{**CHAIN_RESULTS, **results})
    config = load_config("digits", overrides=[f"prior.kind={kind}"] if kind != "joint" else [])
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    write_metrics(folder, BOTH_PHASES)
    return folder


def _history(folder: Path) -> History:
    write_metrics(folder, BOTH_PHASES)
    return read_history(folder / "metrics.jsonl", batch_size=100)


def _rows(folder: Path) -> dict[str, Row]:
    return {row.name: row for row in samples_table(read_run(folder)).rows}


def test_longer_chains_stand_right_below_the_samples_with_their_meaning(tmp_path: Path) -> None:
    """Both Fréchet distances and the chain length follow each other; the sentence says what a difference means."""
    rows = _rows(_digits_run(tmp_path))
    distance = "Fréchet distance (digits-classifier@1234abcd)"
    names = list(rows)
    start = names.index(f"{distance}, samples")
    assert names[start : start + 3] == [
        f"{distance}, samples",
        f"{distance}, longer chains",
        "Chain steps",
    ]
    longer, steps = rows[f"{distance}, longer chains"], rows["Chain steps"]
    assert (longer.value, steps.value) == ("7.75", "60")
    assert "three times as long" in longer.meaning
    assert "number of steps belongs to the model" in longer.meaning


def test_every_number_of_the_samples_suite_is_shown_once(tmp_path: Path) -> None:
    """Known numbers appear under their labels only, and one nobody has named yet under its own key."""
    run = _digits_run(tmp_path, brand_new=0.375)
    rows = _rows(run)
    told = {"extractor", "is_standard_inception", "n_samples", "n_reference", "energy_along_chain"}
    n_shown = len({*sample_results(), *CHAIN_RESULTS, "brand_new"} - told - {"kid_prior_sd"})
    assert len(rows) == n_shown
    assert rows["brand_new"].value == "0.375"
    assert not {*CHAIN_RESULTS} & {*rows}


def test_a_gaussian_twin_has_no_chain_length(tmp_path: Path) -> None:
    """Its file repeats the sampler's n_steps, which a prior without chains never takes."""
    _digits_run(tmp_path / "twin", kind="gaussian")
    rows = _rows(_digits_run(tmp_path))
    assert (rows["Chain steps"].value, rows["Chain steps"].twin_value) == ("60", "–")
    assert "Chain steps" not in _rows(tmp_path / "twin")


def test_a_number_is_not_lost_where_only_the_twin_has_it(tmp_path: Path) -> None:
    """A labelled measure of the twin's file keeps its row, with a dash on our side."""
    _digits_run(tmp_path / "twin", kind="gaussian", ssim=0.5)
    row = _rows(_digits_run(tmp_path))["Structural similarity"]
    assert (row.value, row.twin_value) == ("–", "0.5")


def test_all_curves_mark_the_step_from_which_the_energy_learned_alone(tmp_path: Path) -> None:
    """The mark stands at the last joint record, 100, not at the first energy-only one."""
    history = _history(tmp_path)
    assert history.energy_only_from == 100
    for figure in (loss_figure(history), rate_figure(history), energy_figure(history)):
        for axes in figure.axes:
            marks = [list(line.get_xdata()) for line in axes.lines if line.get_color() == "#8c8f3a"]
            assert marks == [[100, 100]]


def test_the_loss_ends_with_the_joint_phase_and_the_energies_go_on(tmp_path: Path) -> None:
    """Records without loss leave gaps; they neither crash the plot nor end the energy's curve."""
    history = _history(tmp_path)
    loss = next(line for line in loss_figure(history).axes[0].lines if line.get_label() == "loss")
    drawn = [float(x) for x, y in zip(loss.get_xdata(), loss.get_ydata(), strict=True) if y == y]
    assert drawn == [50, 100]
    energy = energy_figure(history).axes[0].lines[0]
    assert list(energy.get_xdata()) == [50, 100, 150, 200]


def test_a_run_of_one_phase_has_no_mark(tmp_path: Path) -> None:
    """Joint records alone give None; a run that resumes in energy-only steps counts from its start."""
    path = tmp_path / "metrics.jsonl"
    write_metrics(tmp_path, [_phase_record(50, "joint")])
    assert read_history(path, batch_size=100).energy_only_from is None
    write_metrics(tmp_path, [_phase_record(50, "energy")])
    assert read_history(path, batch_size=100).energy_only_from == 0


def test_a_rollback_into_the_joint_phase_takes_the_mark_back(tmp_path: Path) -> None:
    """An energy-only stretch that was undone is no part of the path."""
    undone = [_phase_record(100, "joint"), _phase_record(150, "energy"), {"event": "rollback", "step": 100}]
    write_metrics(tmp_path, undone)
    assert read_history(tmp_path / "metrics.jsonl", batch_size=100).energy_only_from is None


def test_the_page_of_a_real_configuration_tells_phases_and_rollback_in_words(tmp_path: Path) -> None:
    """The digits preset as `hebm train` writes it, read back by the report."""
    config = load_config("digits")
    text = " ".join(write_report(_digits_run(tmp_path)).read_text(encoding="utf-8").split())
    assert "From step 100 on the energy learned alone" in text
    assert "At step 120 training diverged: energy gap above 1000." in text
    assert "Rolled back to step 100; the energy" in text
    assert " + ".join(str(level.latents) for level in config.model.levels) + " latents" in text
    assert f"{config.sampler.n_steps} proposals from the base" in text


def test_a_joint_run_has_no_sentence_on_phases(tmp_path: Path) -> None:
    """Without energy-only records the page does not speak of them."""
    run = _digits_run(tmp_path)
    write_metrics(run, BOTH_PHASES[:2])
    assert "learned alone" not in write_report(run).read_text(encoding="utf-8")


def test_the_samples_of_a_twin_are_shown_with_a_twin_only(tmp_path: Path) -> None:
    """One picture more, and it is the twin's own."""
    run = _digits_run(tmp_path)
    alone = write_report(run).read_text(encoding="utf-8")
    _digits_run(tmp_path / "twin", kind="gaussian")
    together = write_report(run).read_text(encoding="utf-8")
    assert "Gaussian twin</strong>" not in alone
    assert "Gaussian twin</strong>" in together
    assert together.count("<img") == alone.count("<img") + 1


@pytest.mark.parametrize("text", ["nan", "-inf"])
def test_values_written_as_text_neither_crash_nor_reach_the_curves(tmp_path: Path, text: str) -> None:
    """Every logged quantity may be such a text in one record, and the mark of the phases still stands."""
    run = _digits_run(tmp_path)
    keys = ("epoch", "images_per_s", "rate", "energy_data", "energy_prior", "loss", "distortion")
    bad = {**_phase_record(75, "joint"), **dict.fromkeys(keys, text), "rate_per_level": [text, text]}
    write_metrics(run, [BOTH_PHASES[0], bad, *BOTH_PHASES[1:], {**bad, "step": 250, "phase": "energy"}])
    assert "From step 100 on" in write_report(run).read_text(encoding="utf-8")


def test_a_cut_off_last_line_changes_no_curve(tmp_path: Path) -> None:
    """A run killed while writing keeps everything before the broken line."""
    whole = _history(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(_phase_record(250, "energy"))[:-9])
    cut = read_history(tmp_path / "metrics.jsonl", batch_size=100)
    assert cut.records == whole.records
    assert cut.duration_s == whole.duration_s
