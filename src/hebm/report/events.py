"""What happened during training, in sentences."""

import math

from hebm.report.history import History, Record, as_float
from hebm.report.wording import duration_text, number_text

__all__ = ["event_sentences"]


def event_sentences(history: History) -> list[str]:
    """One sentence per event, in the order of the file; unreadable lines are counted at the end."""
    sentences = [_sentence(event) for event in history.events]
    if history.n_unreadable:
        sentences.append(f"Lines of metrics.jsonl that cannot be read, left out: {history.n_unreadable}.")
    return sentences


def _sentence(event: Record) -> str:
    kind, step, reason = str(event["event"]), _step(event), event.get("reason", "no reason recorded")
    if kind == "diverged":
        return f"At step {step} training diverged: {reason}."
    if kind == "rollback":
        rate = event.get("energy_lr")
        lower = "" if rate is None else f"; the energy's learning rate is {number_text(rate)} from here"
        return f"Rolled back to step {step}{lower}."
    if kind == "resumed":
        return f"Resumed at step {step}."
    if kind == "checkpoint_refused":
        return f"A damaged checkpoint was passed over: {reason}."
    if kind == "prior_phase":
        return f"From step {step} on the prior learned alone, on the latents of all training images."
    if kind == "prior_fitted":
        seconds = as_float(event.get("duration_s"))
        duration = f" in {duration_text(seconds)}" if math.isfinite(seconds) else ""
        return f"At step {step} the prior was fitted to the latents{duration}."
    details = ", ".join(f"{key} {number_text(value)}" for key, value in event.items() if key != "event")
    return f"{kind}: {details}." if details else f"{kind}."


def _step(event: Record) -> str:
    step = as_float(event.get("step"))
    return number_text(int(step)) if step == step and abs(step) != float("inf") else "unknown"
