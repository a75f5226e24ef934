"""Events of training in sentences: where the prior began to learn alone, and what was fitted."""

from pathlib import Path
from typing import Any

import pytest
from run_directories import log_record, make_run, write_metrics

from hebm.report.events import event_sentences
from hebm.report.history import read_history


def sentences(folder: Path, *events: dict[str, Any]) -> list[str]:
    """What a metrics file with these events says."""
    write_metrics(make_run(folder), [log_record(50), *events])
    return event_sentences(read_history(folder / "metrics.jsonl", batch_size=100))


def test_the_phase_of_the_prior_and_its_fit_are_sentences(tmp_path: Path) -> None:
    """In the order of the file."""
    assert sentences(
        tmp_path,
        {"event": "prior_phase", "step": 5400},
        {"event": "prior_fitted", "step": 5400, "duration_s": 61.7, "mixture_candidates": []},
    ) == [
        "From step 5,400 on the prior learned alone, on the latents of all training images.",
        "At step 5,400 the prior was fitted to the latents in 1 min 2 s.",
    ]


@pytest.mark.parametrize("duration", [{}, {"duration_s": "nan"}, {"duration_s": None}])
def test_a_fit_without_a_duration_is_told_without_it(tmp_path: Path, duration: dict[str, Any]) -> None:
    """Missing, or no number."""
    found = sentences(tmp_path, {"event": "prior_fitted", "step": 50, **duration})
    assert found == ["At step 50 the prior was fitted to the latents."]
