"""The grids of a run as figures of the page: what is shown, and what one should look for."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from hebm.report.prior_words import base_words, drawing_words
from hebm.report.run_files import RunFiles

__all__ = ["Picture", "hierarchy_pictures", "image_pair", "prior_pictures", "traversal_pictures"]

CRISP_WIDTH = 530
"""Widest picture, in pixels, that the page shows without shrinking it."""


@dataclass(frozen=True)
class Picture:
    """An image with its words; `source` is a data URI."""

    source: str
    title: str
    caption: str
    alt: str
    width: int
    height: int

    @property
    def crisp(self) -> bool:
        """Whether it is shown at its own size, so that pixels may stay hard-edged."""
        return self.width <= CRISP_WIDTH


def image_pair(run: RunFiles) -> list[Picture]:
    """Real images and their reconstructions."""
    return _present(
        _picture(run, "real.png", "Real images", "Held-out images. The measure of everything below."),
        _picture(
            run,
            "reconstruction.png",
            "Reconstructions",
            "The same images through encoder and generator. What is lost here, no prior can bring back.",
        ),
    )


def prior_pictures(run: RunFiles) -> list[Picture]:
    """Samples of the model's prior, of the base prior with the same generator, and of the Gaussian twin."""
    base = base_words(run)
    caption = f"Latents from {base}. Look for shapes that are whole and for variety."
    if run.has_energy:
        caption = (
            f"Latents from the energy-based prior: {drawing_words(run) or 'chains'}. "
            "They should look more like the reconstructions than the base samples do, and be as varied."
        )
    pictures = [
        _picture(run, "prior.png", "Samples of the model", caption),
        _picture(
            run,
            "base.png",
            "Same generator, base prior",
            f"Latents from {base}, where the chains start. What the samples do better, the energy did.",
        )
        if run.has_energy
        else None,
    ]
    if run.twin is not None:
        caption = "The same nets trained without an energy: the fair rival, whose generator expects N(0, I)."
        pictures.append(_picture(run.twin, "prior.png", "Gaussian twin", caption))
    return _present(*pictures)


def hierarchy_pictures(run: RunFiles) -> list[Picture]:
    """One grid per level: that level redrawn, the others held; top first."""
    pictures = []
    for level, path in _level_files(run, "hierarchy-level-"):
        caption = _hierarchy_caption(level, len(run.levels))
        pictures.append(_embedded(path, f"{_level_name(run, level)} redrawn", caption))
    return _present(*pictures)


def traversal_pictures(run: RunFiles) -> list[Picture]:
    """One grid per level: single units swept; top first."""
    caption = "Units of this level swept from low to high, all else held. A row without change is idle."
    files = _level_files(run, "traverse-level-")
    return _present(*(_embedded(path, f"{_level_name(run, level)} swept", caption) for level, path in files))


def _present(*pictures: Picture | None) -> list[Picture]:
    return [picture for picture in pictures if picture is not None]


def _picture(run: RunFiles, name: str, title: str, caption: str) -> Picture | None:
    return _embedded(run.directory / "samples" / name, title, caption)


def _embedded(path: Path, title: str, caption: str) -> Picture | None:
    """A picture with its bytes inside; None if there is none that can be read."""
    size = _png_size(path)
    if size is None:
        return None
    source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    return Picture(source, title, caption, f"Grid of images: {title}. {caption}", *size)


def _png_size(path: Path) -> tuple[int, int] | None:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.size
    except OSError:
        return None


def _level_files(run: RunFiles, prefix: str) -> list[tuple[int, Path]]:
    found = []
    for path in (run.directory / "samples").glob(f"{prefix}*.png"):
        match = re.fullmatch(r"(\d+)", path.stem.removeprefix(prefix))
        if match and _png_size(path) is not None:
            found.append((int(match[1]), path))
    return sorted(found)


def _level_name(run: RunFiles, level: int) -> str:
    n_levels = len(run.levels)
    place = {0: ", the top,", n_levels - 1: ", the bottom,"}.get(level, "") if n_levels > 1 else ""
    return f"Level {level}{place}"


def _hierarchy_caption(level: int, n_levels: int) -> str:
    start = "First column: the image held. Beside it, this level drawn anew given the others. "
    if n_levels == 1:
        return start + "With one level only, everything may change."
    if level == 0:
        return start + "Look for a change of what is shown, its identity."
    if level == n_levels - 1:
        return start + "Look for the same thing in another stroke or detail; its identity should stay."
    return start + "Look for something between the two ends: shape and slant, more than stroke."
