"""Numbers, durations and names as the report prints them."""

import math

__all__ = ["distance_name", "duration_text", "number_text"]


def number_text(value: object) -> str:
    """Four significant digits, thousands with commas; what is not finite is said in words."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _float_text(value)
    return str(value)


def duration_text(seconds: float) -> str:
    """Hours, minutes and seconds, the two largest."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def distance_name(results: dict[str, object]) -> str:
    """FID with the standard Inception weights and nothing else; otherwise the extractor is named."""
    if results.get("is_standard_inception") is True:
        return "FID"
    return f"Fréchet distance ({results.get('extractor') or 'extractor not recorded'})"


def _float_text(value: float) -> str:
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinite"
    if value == 0:
        return "0"
    if abs(value) >= 1e7 or abs(value) < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
