"""``metrics.jsonl``: one JSON object per log step or event, appended and flushed at once."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["MetricsFile"]


class MetricsFile:
    """Appends lines; can be cut back to where a checkpoint found it.

    Args:
        path: The file; None on processes that write nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @property
    def n_bytes(self) -> int:
        """Length so far."""
        return self.path.stat().st_size if self.path is not None and self.path.exists() else 0

    def cut(self, n_bytes: int) -> None:
        """Drop what was written after a checkpoint."""
        if self.path is not None and self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(n_bytes)

    def begin_with(self, lines: bytes) -> None:
        """Start the file with what another run wrote."""
        if self.path is not None:
            self.path.write_bytes(lines)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one object; non-finite numbers are written as text, so that every line is valid JSON."""
        if self.path is None:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(
                json.dumps({key: _plain(value) for key, value in record.items()}, allow_nan=False) + "\n"
            )


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value
