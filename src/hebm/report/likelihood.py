"""The likelihood suite as a table: what log Z leaves open as "a to b", the error over images as "± c"."""

import math
from collections.abc import Callable
from typing import Any

from hebm.report.history import as_float
from hebm.report.run_files import Json, RunFiles
from hebm.report.tables import ResultTable, Row, origin_line
from hebm.report.wording import number_text

__all__ = ["interval_text", "likelihood_table"]

HOW_TO_READ = (
    "in nats per image; “a to b” is what the unknown log Z leaves open, ± the standard error over images"
)
COMPARED = ("n_images", "n_importance", "likelihood_measure")


def likelihood_table(run: RunFiles) -> ResultTable:
    """Bounds, densities and gains in words, beside the Gaussian twin's where it has been evaluated."""
    results = run.results("likelihood")
    twin = run.twin.results("likelihood") if run.twin is not None else {}
    rows = [
        Row(name, text(results), text(twin) if twin else "", meaning, name == "Bound on log p(x)")
        for name, meaning, text in _rows(results)
        if text(results) != "–" or (twin and text(twin) != "–")
    ]
    images = number_text(results.get("n_images"))
    origin = f"{HOW_TO_READ[0].upper()}{HOW_TO_READ[1:]}; {images} held-out images, {origin_line(run, 'likelihood')}"
    return ResultTable("likelihood", rows, bool(twin), origin, _remark(results, twin))


def interval_text(interval: Any, se: Any = None) -> str:
    """``[a, b]`` as "a to b", as one number where they agree to two decimals; with "± se" behind.

    A dash where there is no interval.
    """
    if not isinstance(interval, list) or len(interval) != 2:
        return "–"
    ends = [as_float(end) for end in interval]
    if not all(math.isfinite(end) for end in ends):
        return " to ".join(number_text(end) for end in ends)
    low, high = (f"{end:,.2f}".replace("-0.00", "0.00") for end in ends)
    text = low if low == high else f"{low} to {high}"
    return text if se is None else f"{text} ±\u00a0{as_float(se):.2g}"


def _rows(results: Json) -> list[tuple[str, str, Callable[[Json], str]]]:
    """Name, meaning and value of every row, in the order of the page."""
    measure = results.get("likelihood_measure") or "not recorded"
    long_images = number_text((results.get("iwae_k_n_images") or {}).get("1000"))
    return [
        (
            "Bound on log p(x)",
            f"The ELBO of held-out images. Higher is better. Bounded is the {measure}.",
            _interval("elbo"),
        ),
        *(
            (f"Tighter bound, {k} draws", "The same with an average of importance weights inside the logarithm.",
             _importance(k))
            for k in ("10", "100")
        ),
        (
            "Tighter bound, 1000 draws",
            f"On {long_images} images only, so it does not compare with the rows above.",
            _importance("1000"),
        ),
        ("Bits per dimension", "The best of these bounds per pixel value. Lower is better.", _interval("bits_per_dim")),
        ("Distortion", "−log p(x|z): what the generator leaves unexplained. Lower is better.", _number("distortion")),
        (
            "Rate per level",
            "What each level tells about an image beyond N(0, I), top level first. At zero it is not in use.",
            _list("rate_per_level"),
        ),
        ("Active units", "Units whose posterior mean differs between images, top level first.", _active),
        ("log Z", "Normaliser of the prior; 0 without an energy.", _log_z),
        (
            "What the energy adds",
            "How much likelier held-out latents are than under the base alone: this much the bound gains.",
            _interval("gain_over_base"),
        ),
        (
            "What it adds on each level",
            "The same for one level given the others, top level first; a dash where the base cannot be drawn so.",
            _gains,
        ),
        (
            "Distance of prior and base",
            "KL divergence between them, by samples of the prior's chains.",
            _interval("kl_joint_base"),
        ),
        (
            "Log-density of held-out latents",
            "Under the prior. Well below that of training latents: the prior has over-fitted.",
            _interval("held_out_log_prior"),
        ),
        ("Log-density of training latents", "Under the prior.", _interval("train_log_prior")),
    ]  # fmt: skip


def _interval(key: str) -> Callable[[Json], str]:
    return lambda results: interval_text(results.get(key), results.get(f"{key}_se"))


def _importance(k: str) -> Callable[[Json], str]:
    return lambda results: interval_text(
        (results.get("iwae_k") or {}).get(k), (results.get("iwae_k_se") or {}).get(k)
    )


def _number(key: str) -> Callable[[Json], str]:
    return lambda results: number_text(results.get(key))


def _list(key: str) -> Callable[[Json], str]:
    return lambda results: ", ".join(number_text(item) for item in results.get(key) or []) or "–"


def _active(results: Json) -> str:
    counts = zip(results.get("active_units") or [], results.get("n_units") or [], strict=False)
    return ", ".join(f"{active} of {n}" for active, n in counts) or "–"


def _log_z(results: Json) -> str:
    return interval_text([results.get("log_z_lower"), results.get("log_z_upper")]) if results else "–"


def _gains(results: Json) -> str:
    gains = results.get("gain_per_level") or []
    texts = [interval_text(gain["interval"], gain.get("se")) if gain else "–" for gain in gains]
    return "; ".join(texts) or "–"


def _remark(results: Json, twin: Json) -> str:
    """Why the columns must not be compared, and what the suite itself warns of."""
    differing = [key for key in COMPARED if twin and results.get(key) != twin.get(key)]
    comparison = f"The two columns do not compare: {', '.join(differing)} differ." if differing else ""
    return " ".join(text for text in (comparison, results.get("note") or "") if text)
