"""What the terminal says while a prior learns: its phase, its fit, the mixtures that were tried."""

from typing import Any

import pytest

from hebm.cli.progress import TrainingProgress, _terms_text

CANDIDATES = [
    {"n_components": 5, "held_out_log_density": -20.456, "train_log_density": -19.0},
    {"n_components": 20, "held_out_log_density": -19.999, "train_log_density": -18.0},
]


def said(record: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    """An event as it is printed, on one line."""
    capsys.readouterr()
    TrainingProgress()(record)
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (
            {"event": "prior_phase", "step": 5400},
            "from step 5,400 the prior learns alone, on the latents of all",
        ),
        ({"event": "prior_fitted", "step": 5400, "duration_s": 61.7}, "fitted in 62 s"),
        ({"event": "prior_fitted", "step": 5400}, "fitted"),
        (
            {"event": "prior_fitted", "step": 5400, "duration_s": 3.2, "mixture_candidates": CANDIDATES},
            "fitted in 3 s (held-out log-density in nats: 5 components -20.46, 20 components -20.00)",
        ),
        ({"event": "prior_fitted", "step": 1, "mixture_candidates": []}, "fitted"),
        (
            {"event": "prior_fitted", "mixture_candidates": CANDIDATES[:1], "mixture_left_out": [20, 60]},
            "fitted (held-out log-density in nats: 5 components -20.46; too few images for 20, 60)",
        ),
    ],
)
def test_events_of_the_prior_are_told_in_words(
    record: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fit without a duration or a mixture is told without them."""
    line = said(record, capsys)
    assert line.startswith(text) if record["event"] == "prior_phase" else line == text


def test_a_line_of_the_prior_alone_counts_latents_and_has_no_distortion() -> None:
    """And the energy gap with its sign: data side minus prior."""
    record = {"images_per_s": 12345.0, "rate": 7.25, "rate_per_level": [4.0, 3.25]}
    energies = {"energy_data": -1.0, "energy_prior": -0.5}
    assert _terms_text(record | energies) == (
        "12,345 latents/s · prior only · rate 7.2 (4.0 3.2) · energy gap -0.50"
    )
    joint = _terms_text({**record, "distortion": 90.04})
    assert joint == "12,345 images/s · distortion 90.0 · rate 7.2 (4.0 3.2)"
