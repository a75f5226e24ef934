"""Result files as tables: the samples suite with an explanation per number, any other suite as it comes."""

import math
from dataclasses import dataclass
from typing import Any

from hebm.report.history import as_float
from hebm.report.measures import measure_names
from hebm.report.run_files import Json, RunFiles
from hebm.report.wording import distance_name, duration_text, number_text

__all__ = ["ResultTable", "Row", "gap_sentence", "generic_table", "origin_line", "samples_table"]

LONGEST_LIST = 8
OF_CHAINS = ("fd_longer_chain", "n_steps")
TOLD_ELSEWHERE = {
    "energy_along_chain",
    "extractor",
    "is_standard_inception",
    "kid_prior_sd",
    "n_parameters",
    "n_reference",
    "n_samples",
}


@dataclass(frozen=True)
class Row:
    """One number: ours, the twin's (empty without a twin), and what it means."""

    name: str
    value: str
    twin_value: str = ""
    meaning: str = ""
    is_headline: bool = False


@dataclass(frozen=True)
class ResultTable:
    """A table with a line on where its numbers come from."""

    suite: str
    rows: list[Row]
    has_twin: bool
    origin: str
    remark: str = ""


def samples_table(run: RunFiles) -> ResultTable:
    """How good the samples are, beside the Gaussian twin's where it has been evaluated."""
    results, twin = _samples_results(run), _samples_results(run.twin) if run.twin is not None else {}
    names = measure_names(distance_name(results or twin))
    rows = [
        Row(name, _with_sd(results, key), _with_sd(twin, key) if twin else "", meaning, key == "prior_gap")
        for key, (name, meaning) in names.items()
        if results.get(key) is not None or twin.get(key) is not None
    ]
    rows += _generic_rows({k: v for k, v in results.items() if k not in {*names, *TOLD_ELSEWHERE}}, twin)
    return ResultTable("samples", rows, bool(twin), origin_line(run, "samples"), _mismatch(results, twin))


def generic_table(run: RunFiles, suite: str) -> ResultTable:
    """All single numbers of a result file under their own names."""
    twin = run.twin.results(suite) if run.twin is not None else {}
    rows = _generic_rows(run.results(suite), twin)
    remark = _mismatch(run.results(suite), twin)
    return ResultTable(suite, rows, bool(twin), origin_line(run, suite), remark)


def gap_sentence(run: RunFiles) -> str:
    """The prior gap of both models and their ratio; empty where either is missing or not comparable."""
    if run.twin is None:
        return ""
    results, twin = run.results("samples"), run.twin.results("samples")
    ours, theirs = as_float(results.get("prior_gap")), as_float(twin.get("prior_gap"))
    if _mismatch(results, twin) or not (math.isfinite(ours) and math.isfinite(theirs) and theirs > 0):
        return ""
    return (
        f"Prior gap {number_text(ours)} here, {number_text(theirs)} for the Gaussian twin: a ratio of "
        f"{number_text(round(ours / theirs, 3))}. "
        "Below 1, this model's samples come nearer to its reconstructions than the twin's do."
    )


def _samples_results(run: RunFiles) -> Json:
    """Results of the samples suite; a Gaussian prior has no chains, whatever its file says of them."""
    hidden = OF_CHAINS if not run.has_energy else ()
    return {key: value for key, value in run.results("samples").items() if key not in hidden}


def _with_sd(results: Json, key: str) -> str:
    text, sd = number_text(_number(results.get(key))), results.get(f"{key}_sd")
    return text if sd is None else f"{text} ±\u00a0{number_text(_number(sd))}"


def _number(value: Any) -> Any:
    """Numbers written as text ("nan") as numbers, anything else as it is."""
    is_number = isinstance(value, str) and value.lower().lstrip("+-") in ("nan", "inf", "infinity")
    return float(value) if is_number else value


def _generic_rows(results: Json, twin: Json) -> list[Row]:
    ours, theirs = dict(_flattened(results)), dict(_flattened(twin))
    return [Row(name, value, theirs.get(name, "–") if twin else "") for name, value in ours.items()]


def _flattened(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Dotted names and texts of all single values; a long list is only counted."""
    if isinstance(value, dict):
        prefix = f"{name}." if name else ""
        return [pair for key, item in value.items() for pair in _flattened(item, f"{prefix}{key}")]
    if not isinstance(value, list):
        return [(name, number_text(_number(value)))]
    if any(isinstance(item, dict | list) for item in value) and len(value) <= LONGEST_LIST:
        return [pair for i, item in enumerate(value) for pair in _flattened(item, f"{name}.{i}")]
    if len(value) > LONGEST_LIST:
        return [(name, f"({len(value)} values)")]
    return [(name, ", ".join(number_text(_number(item)) for item in value))]


def origin_line(run: RunFiles, suite: str) -> str:
    """Where a suite's numbers come from: checkpoint, seed, features, machine, duration."""
    content, results = run.suites.get(suite, {}), run.results(suite)
    parts = {
        "checkpoint of step": content.get("checkpoint_step"),
        "seed": content.get("seed"),
        "samples": results.get("n_samples"),
        "real images": results.get("n_reference"),
        "features": results.get("extractor"),
        "on": content.get("hardware"),
    }
    texts = [f"{name} {number_text(value)}" for name, value in parts.items() if value is not None]
    seconds = as_float(content.get("duration_s"))
    return ", ".join(texts + ([f"in {duration_text(seconds)}"] if math.isfinite(seconds) else []))


def _mismatch(results: Json, twin: Json) -> str:
    """Why the two columns must not be compared, if they must not."""
    for key in ("extractor", "n_samples", "n_reference"):
        if results and twin and results.get(key) != twin.get(key):
            ours, theirs = number_text(results.get(key)), number_text(twin.get(key))
            return f"The two columns do not compare: {key} is {ours} here and {theirs} for the twin."
    return ""
