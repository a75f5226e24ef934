"""The suite on images that do not belong, as tables: a row per control and score, a column per set of images."""

from dataclasses import dataclass
from typing import Any

from hebm.report.history import as_float
from hebm.report.run_files import Json, RunFiles
from hebm.report.tables import origin_line
from hebm.report.wording import number_text

__all__ = ["OodCell", "OodRow", "OodSection", "OodTable", "ood_section"]

MEASURES = {
    "auroc": (
        "AUROC",
        "The chance that an image of the other set scores higher than one of ours. 0.5 is chance.",
    ),
    "auprc": ("AUPRC (average precision)", "Chance is the share of the other set, 0.5 here."),
    "fpr80": (
        "FPR at 80 % found",
        "Share of our own images flagged where 80 % of the others are. Lower is better.",
    ),
    "fpr95": ("FPR at 95 % found", "The same where 95 % are."),
}
MEANINGS = {
    "mean_intensity": "Control: brightness. Near 0, darkness gives the others away.",
    "mean_intensity_distance": "Control: brightness unlike that of training images.",
    "png_size": "Control: bytes of the PNG file. Near 0, the others are simpler.",
    "png_size_distance": "Control: a size unlike that of training images.",
    "nearest_neighbour": "Control: distance to the nearest training image, in pixels.",
    "pca": "Control: error of as many principal components as the model has latents.",
    "distortion": "−log p(x|z).",
    "energy": "The energy of the latents alone.",
    "log_joint": "−log p(x, z): the published score.",
    "elbo": "The negative bound.",
    "iwae": "The negative importance-weighted bound.",
    "rate": "KL from the prior to the posterior; of one level where one is named, 0 is the top.",
    "prior_density": "−log p(z) of the model's prior.",
    "l_above": "The negative bound without the lowest levels.",
    "llr": "Likelihood ratio of levels: what the lowest, one or as many as named, are needed for.",
    "typicality": "Distance of the bound from that of normal images.",
    "regret": "Likelihood regret.",
    "latent_density": "−log-density of the latents under a prior fitted to normal images.",
    "combined": "Several scores together, calibrated on normal images.",
}


@dataclass(frozen=True)
class OodCell:
    """A value with its interval over images, and the twin's value; empty where there is none."""

    value: str
    interval: str = ""
    twin_value: str = ""


@dataclass(frozen=True)
class OodRow:
    """One control or score on every set."""

    name: str
    meaning: str
    cells: list[OodCell]
    is_control: bool
    is_declared: bool


@dataclass(frozen=True)
class OodTable:
    """One measure of all rows."""

    name: str
    meaning: str
    sets: list[str]
    rows: list[OodRow]


@dataclass(frozen=True)
class OodSection:
    """The section; the first table is the one that is shown open."""

    is_warning: bool
    verdict: str
    tables: list[OodTable]
    remark: str
    origin: str
    has_twin: bool


def ood_section(run: RunFiles) -> OodSection | None:
    """Everything about the suite ``ood``, None where it has not been run."""
    results = run.results("ood")
    pairs = _section(results, "pairs")
    if not pairs:
        return None
    twin = run.twin.results("ood") if run.twin is not None else {}
    return OodSection(
        is_warning="does not beat" in str(results.get("verdict")),
        verdict=str(results.get("verdict") or ""),
        tables=[_table(key, results, twin) for key in MEASURES],
        remark=_remark(results, twin),
        origin=_origin(run, results),
        has_twin=bool(twin),
    )


def _table(measure: str, results: Json, twin: Json) -> OodTable:
    pairs, twin_pairs = _section(results, "pairs"), _section(twin, "pairs")
    rows = [
        OodRow(
            name,
            MEANINGS.get(name.partition(":")[0], ""),
            [
                _cell(measure, _row(pair, group, name), _row(_section(twin_pairs, label), group, name))
                for label, pair in pairs.items()
            ],
            group == "controls",
            name == results.get("declared"),
        )
        for group in ("controls", "scores")
        for name in dict.fromkeys(name for pair in pairs.values() for name in _section(pair, group))
    ]
    return OodTable(*MEASURES[measure], list(pairs), rows)


def _cell(measure: str, row: Json, twin: Json) -> OodCell:
    interval = row.get(f"{measure}_interval")
    ends = "\u00a0to\u00a0".join(_three(end) for end in interval) if isinstance(interval, list) else ""
    return OodCell(_three(row.get(measure)), ends, _three(twin.get(measure)) if twin else "")


def _three(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float | int) else number_text(value)


def _row(pair: Json, group: str, name: str) -> Json:
    return _section(_section(pair, group), name)


def _section(values: Json, key: str) -> Json:
    inner = values.get(key)
    return inner if isinstance(inner, dict) else {}


def _remark(results: Json, twin: Json) -> str:
    """What was left out, and why columns must not be compared."""
    left_out = [
        f"{name}: {str(reason).rstrip('.')}." for name, reason in _section(results, "left_out").items()
    ]
    texts = [f"Left out: {' '.join(left_out)}"] if left_out else []
    if twin and _counts(results) != _counts(twin):
        texts.append("The twin was measured on other numbers of images, so its values do not compare.")
    return " ".join(texts)


def _counts(results: Json) -> list[Any]:
    names = ("n_in", "n_out")
    pairs = _section(results, "pairs")
    rows = {label: list(_section(pair, "controls").values())[:1] for label, pair in pairs.items()}
    return [(label, [row.get(name) for row in found for name in names]) for label, found in rows.items()]


def _origin(run: RunFiles, results: Json) -> str:
    counts = ", ".join(f"{label} {' + '.join(map(number_text, n))}" for label, n in _counts(results))
    n_resamples = as_float(results.get("n_bootstrap"))
    return (
        f"Images ({counts}), intervals of 95 % from {n_resamples:.0f} resamples of the images, recipes fitted to "
        f"{number_text(results.get('n_calibration'))} other test images, controls to "
        f"{number_text(results.get('n_train'))} training images, {origin_line(run, 'ood')}"
    )
