"""What attacks achieve, as a table and as curves: the suite ``attack``."""

from itertools import zip_longest
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from hebm.report.figure import COLOURS, STYLE, single_axis
from hebm.report.history import series
from hebm.report.run_files import Json, RunFiles, dig
from hebm.report.tables import ResultTable, Row, origin_line
from hebm.report.wording import number_text

__all__ = ["attack_curves_figure", "attack_table"]

SYSTEMS = ("without_defence", "with_defence")


def attack_table(run: RunFiles) -> ResultTable:
    """One number per attack, "without → with the defence", beside the Gaussian twin's where it has been attacked."""
    results = run.results("attack")
    twin = run.twin.results("attack") if run.twin is not None else {}
    rows = []
    for name, row in _per_level(results):
        other = dig(twin, "per_level", name)
        rows += _latent_rows(name, row, other)
        for entry, match in zip_longest(_entries(row), _entries(other)[: len(_entries(row))]):
            rows += _linf_rows(name, entry, match)
    rows += _clean_rows(results, twin)
    n_images, scales = number_text(results.get("n_images")), number_text(results.get("ms_ssim_scales"))
    pairs = number_text(results.get("n_pairs"))
    origin = (
        f"Without → with the defence, ±\u00a0standard error over {pairs} pairs and {n_images} images; "
        f"MS-SSIM of {scales} scales; {origin_line(run, 'attack')}"
    )
    return ResultTable("attack", rows, bool(twin), origin, _remark(results, twin))


@matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
def attack_curves_figure(results: Json) -> Figure:
    """What remains of the distance to the target against what the attacker spends; dashed: with the defence."""
    figure, axes = single_axis("change of the image, relative to the target", "distance left to the target")
    for number, (name, row) in enumerate(_per_level(results)):
        for system, dash in zip(SYSTEMS, ("-", "--"), strict=True):
            curve = dig(row, "latent", system, "curve")
            x, y = _array(dig(curve, "budget")), _array(dig(curve, "mean"))
            if len(x) == len(y) > 0:
                label = _level_words(name) if system == SYSTEMS[0] else "_nolegend_"
                axes.plot(x, y, dash, color=COLOURS[number % len(COLOURS)], label=label)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, handlelength=1.8)
    return figure


def _per_level(results: Json) -> list[tuple[str, Any]]:
    per_level = results.get("per_level")
    return list(per_level.items()) if isinstance(per_level, dict) else []


def _entries(row: Any) -> list[Any]:
    entries = dig(row, "linf")
    return entries if isinstance(entries, list) else []


def _latent_rows(name: str, row: Any, other: Any) -> list[Row]:
    meaning = (
        "Area under the curve above: 1 is untouched; 0: the least change gives the target. Higher is better."
    )
    return [
        Row(
            f"AUDDC, {_level_words(name)} attacked",
            _both(dig(row, "latent"), "auddc"),
            _both(dig(other, "latent"), "auddc"),
            meaning if name == "all" else "",
            name == "all",
        ),
        Row(
            "What the defence adds",
            _with_error(dig(row, "latent", "auddc_gain")),
            _with_error(dig(other, "latent", "auddc_gain")),
        ),
    ]


def _linf_rows(name: str, entry: Any, other: Any) -> list[Row]:
    where = f"{_level_words(name)} attacked within ±{number_text(dig(entry, 'radius'))}"
    seen = _with_error(dig(entry, "ms_ssim_input"))
    lines = {
        f"Likeness of reconstructions, {where}": (
            "ms_ssim_reconstruction",
            f"MS-SSIM; the images' own is {seen}.",
        ),
        f"Divergence of latents, {where}": ("latent_skl", "Symmetric KL of the attacked levels in nats."),
        f"Classifier's accuracy, {where}": ("accuracy", ""),
    }
    return [
        Row(line, _both(entry, key), _both(other, key), meaning)
        for line, (key, meaning) in lines.items()
        if dig(entry, SYSTEMS[0], key) is not None
    ]


def _clean_rows(results: Json, twin: Json) -> list[Row]:
    ours, theirs = results.get("clean"), twin.get("clean")
    lines = {"accuracy": "Classifier's accuracy, nothing attacked", "mse": "Squared error, nothing attacked"}
    return [
        Row(line, _both(ours, key), _both(theirs, key))
        for key, line in lines.items()
        if dig(ours, SYSTEMS[0], key) is not None
    ]


def _both(fields: Any, key: str) -> str:
    if not isinstance(fields, dict):
        return ""
    return " → ".join(_with_error(dig(fields, system, key)) for system in SYSTEMS)


def _with_error(found: Any) -> str:
    mean, se = dig(found, "mean"), dig(found, "se")
    if mean is None:
        return "–"
    return f"{mean:.3g}" if se is None else f"{mean:.3g} ±\u00a0{se:.2g}"


def _level_words(name: str) -> str:
    return "all levels" if name == "all" else name.replace("level_0", "level 0 (top)").replace("_", " ")


def _array(values: Any) -> Any:
    return series([{"value": value} for value in values] if isinstance(values, list) else [], "value")


def _remark(results: Json, twin: Json) -> str:
    """Why the columns must not be compared, and which pairs count nothing."""
    keys = ("n_pairs", "n_images", "penalties", "ms_ssim_scales")
    differing = [key for key in keys if twin and results.get(key) != twin.get(key)]
    left_out = max(
        (
            results.get("n_pairs", 0) - (dig(row, "latent", system, "auddc", "n") or 0)
            for _, row in _per_level(results)
            for system in SYSTEMS
        ),
        default=0,
    )
    texts = [
        f"The two columns do not compare: {', '.join(differing)} differ." if differing else "",
        f"{left_out} pairs have no curve: their reconstructions are no further from the target than the target's own."
        if left_out
        else "",
    ]
    return " ".join(text for text in texts if text)
