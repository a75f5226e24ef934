"""A document of headed sections, as Markdown or as one self-contained HTML page without a script."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

__all__ = ["Block", "Grid", "Section", "to_html", "to_markdown"]


@dataclass(frozen=True)
class Grid:
    """A table of texts."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Block = str | tuple[str, ...] | Grid
"""A paragraph, a list, or a table."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; the first section's heading is the title. `plot` is trusted SVG."""

    heading: str
    blocks: tuple[Block, ...]
    plot: str | None = None


def to_markdown(sections: Sequence[Section]) -> str:
    """Everything but the plots."""
    parts = []
    for number, section in enumerate(sections):
        parts.append(f"{'##' if number else '#'} {section.heading}")
        parts += [_block_text(block) for block in section.blocks if block]
    return "\n\n".join(parts) + "\n"


def to_html(sections: Sequence[Section]) -> str:
    """One page with the plots inside."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = (files("hebm.reproduce") / "template.html.j2").read_text(encoding="utf-8")
    kinds = [
        (s.heading, Markup(s.plot) if s.plot else None, [(_kind(b), b) for b in s.blocks if b])
        for s in sections
    ]
    return environment.from_string(template).render(sections=kinds)


def _kind(block: Block) -> str:
    return {str: "paragraph", tuple: "list", Grid: "grid"}[type(block)]


def _block_text(block: Block) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Grid):
        lines = [block.head, ("---",) * len(block.head), *block.rows]
        return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)
    return "\n".join(f"* {item}" for item in block)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")
