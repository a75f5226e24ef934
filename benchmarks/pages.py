"""Pages of docs/ that commands fill: a block ``<!-- NAME -->`` ... ``<!-- end -->`` is replaced, nothing else."""

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["fill_page", "filled"]


def filled(page: str, name: str, text: str) -> tuple[str, bool]:
    """The page with a text in the place of that name, and whether there is such a place."""
    block = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
    found, n = block.subn(lambda match: f"{match[1]}{text}\n{match[2]}", page)
    return found, n > 0


def fill_page(path: Path, blocks: Mapping[str, str]) -> None:
    """Put every text into its place, and say which had none."""
    page = path.read_text(encoding="utf-8")
    for name, text in blocks.items():
        page, found = filled(page, name, text)
        print(f"{name}: {'written' if found else f'has no place in {path}'}")
    path.write_text(page, encoding="utf-8")
