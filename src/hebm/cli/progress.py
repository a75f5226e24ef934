"""Progress of a training on the terminal: a live bar where there is one, plain lines elsewhere."""

import time
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from hebm.cli.output import console

__all__ = ["TrainingProgress"]

SECONDS_BETWEEN_LINES = 10.0


class TrainingProgress:
    """Shows log records and events; use as a context manager."""

    def __init__(self) -> None:
        self.console = console()
        self.bar = Progress(
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            BarColumn(bar_width=20),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[text]}", markup=False),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task("training", total=None, text="", visible=False)
        self.last_line = 0.0

    def __enter__(self) -> "TrainingProgress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def __call__(self, record: dict[str, Any]) -> None:
        """Show a log record or an event."""
        if "event" in record:
            self.console.print(_event_text(record), markup=False, highlight=False, style="yellow")
            return
        step, n_steps = record["step"], record["n_steps"]
        text = _terms_text(record)
        self.bar.update(self.task, completed=step, total=n_steps, text=text, visible=True)
        now = time.monotonic()
        if self.console.is_terminal or (now - self.last_line < SECONDS_BETWEEN_LINES and step < n_steps):
            return
        self.last_line = now
        left = self.bar.tasks[0].time_remaining
        wait = f" · {_minutes(left)} left" if left is not None else ""
        self.console.print(f"step {step:,}/{n_steps:,}{wait} · {text}", markup=False, highlight=False)


def _terms_text(record: dict[str, Any]) -> str:
    levels = " ".join(f"{rate:.1f}" for rate in record["rate_per_level"])
    distortion = f"distortion {record['distortion']:.1f}" if "distortion" in record else "prior only"
    items = "images" if "distortion" in record else "latents"
    text = f"{record['images_per_s']:,.0f} {items}/s · {distortion} · rate {record['rate']:.1f} ({levels})"
    if "energy_data" in record:
        text += f" · energy gap {record['energy_data'] - record['energy_prior']:+.2f}"
    return text


def _event_text(record: dict[str, Any]) -> str:
    match record["event"]:
        case "diverged":
            return f"diverged at step {record['step']:,}: {record['reason']}"
        case "rollback":
            rate = f"{record['energy_lr']:.3g}"
            return f"rolled back to step {record['step']:,}; the energy's learning rate is now {rate}"
        case "resumed":
            return f"resumed at step {record['step']:,}"
        case "nets_taken":
            return f"took the nets of {record['of']}, at step {record['step']:,}"
        case "prior_phase":
            return (
                f"from step {record['step']:,} the prior learns alone, on the latents of all training images"
            )
        case "prior_fitted":
            seconds = record.get("duration_s")
            duration = "" if seconds is None else f" in {seconds:.0f} s"
            return f"fitted{duration}{_mixture_text(record)}"
        case _:
            return str(record.get("reason", record))


def _mixture_text(record: dict[str, Any]) -> str:
    """The mixtures that were tried, with their held-out log-densities."""
    tried = [
        f"{c['n_components']} components {c['held_out_log_density']:.2f}"
        for c in record.get("mixture_candidates", [])
    ]
    left_out = record.get("mixture_left_out", [])
    few = f"; too few images for {', '.join(map(str, left_out))}" if left_out else ""
    return f" (held-out log-density in nats: {', '.join(tried)}{few})" if tried else ""


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
