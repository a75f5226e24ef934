"""The strip of key facts below the title."""

from hebm.report.history import as_float
from hebm.report.prior_words import drawing_words, prior_words
from hebm.report.run_files import Json, RunFiles, dig
from hebm.report.wording import duration_text, number_text

__all__ = ["key_facts"]


def key_facts(run: RunFiles) -> list[tuple[str, str]]:
    """Name and value of what identifies the run; what is not known is left out."""
    facts = {
        "Data": _data(run.config),
        "Levels, top first": _levels(run),
        "Parameters": _parameters(run),
        "Prior": prior_words(run),
        "Chains": drawing_words(run),
        "Steps": _steps(run),
        "Training time": duration_text(run.history.duration_s) if run.history.duration_s else None,
        "Hardware": run.environment.get("hardware") or _from_results(run, "hardware"),
        "Seed": run.config.get("seed"),
        "hebm": run.environment.get("hebm_version") or _from_results(run, "hebm_version"),
        "Config hash": (_from_results(run, "config_hash") or "")[:12],
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _data(config: Json) -> str | None:
    name, size, channels = (dig(config, "data", key) for key in ("name", "size", "channels"))
    if name is None:
        return None
    if size is None:
        return str(name)
    return f"{name}, {size}×{size}, {'colour' if channels == 3 else 'grey'}"


def _levels(run: RunFiles) -> str | None:
    sizes = [str(level.get("latents", "?")) for level in run.levels]
    return " + ".join(sizes) + " latents" if sizes else None


def _parameters(run: RunFiles) -> str | None:
    """A number, or one per part, where the run recorded it."""
    recorded = run.environment.get("n_parameters") or run.results("samples").get("n_parameters")
    if isinstance(recorded, dict):
        return ", ".join(f"{part} {number_text(count)}" for part, count in recorded.items())
    return number_text(recorded) if recorded else None


def _steps(run: RunFiles) -> str | None:
    if not run.history.records:
        return None
    last = run.history.records[-1]
    epoch = as_float(last.get("epoch"))
    epochs = f" ({number_text(round(epoch, 1))} epochs)" if epoch == epoch else ""
    return number_text(int(as_float(last["step"]))) + epochs


def _from_results(run: RunFiles, key: str) -> str | None:
    values = [content[key] for content in run.suites.values() if content.get(key)]
    return str(values[0]) if values else None
