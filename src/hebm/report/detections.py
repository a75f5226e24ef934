"""The most anomalous images of a folder, as one self-contained page and as a contact sheet: draws, computes nothing.

One row per image: the image, its reconstruction, where they differ, and the image with one level drawn anew after the
other. The map's colours are logarithmic in units of what normal images have at that pixel: black is no difference, dark
violet a usual one, near-white twenty times a usual one or more.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from hebm.files import write_atomically
from hebm.report.grid import CELL, image_grid

__all__ = ["Finding", "contact_sheet", "heat_map", "write_detections"]

BRIGHTEST = 20.0
"""Value of the map, in units of normal images, that is shown brightest."""
PAGE_CELL = 128


@dataclass(frozen=True)
class Finding:
    """One image and what was found.

    Args:
        name: Its file.
        score: Its anomaly score.
        p_value: Of the score.
        anomalous: Whether it is called anomalous.
        breaks_first: The part with the smallest p-value.
        part_p_values: Of every part.
        image: [C, H, W] in [0, 1], as all pictures.
        reconstruction: What the model makes of it.
        redrawn: By heading, the image with that level drawn anew.
        residual: The map, [H, W]; 1 is usual.
    """

    name: str
    score: float
    p_value: float
    anomalous: bool
    breaks_first: str
    part_p_values: Mapping[str, float]
    image: Tensor
    reconstruction: Tensor
    redrawn: Mapping[str, Tensor]
    residual: Tensor

    @property
    def pictures(self) -> dict[str, Tensor]:
        """All pictures by heading, each [3, H, W]."""
        own = {"image": self.image, "reconstruction": self.reconstruction}
        coloured = {name: _in_colour(picture) for name, picture in {**own, **self.redrawn}.items()}
        head = dict(list(coloured.items())[:2])
        return {**head, "difference": heat_map(self.residual), **dict(list(coloured.items())[2:])}


def heat_map(residual: Tensor) -> Tensor:
    """Colours of a map [H, W] of values ≥ 0: [3, H, W] in [0, 1]."""
    shade = (residual.double().clamp(0, BRIGHTEST).log1p() / math.log1p(BRIGHTEST)).numpy()
    return torch.from_numpy(np.asarray(colormaps["magma"](shade))[..., :3].copy()).permute(2, 0, 1).float()


def contact_sheet(findings: Sequence[Finding]) -> Image.Image:
    """One row per image, the columns of the page in their order."""
    rows = [list(finding.pictures.values()) for finding in findings]
    return image_grid(torch.stack([picture for row in rows for picture in row]), n_columns=len(rows[0]))


def write_detections(
    path: Path, findings: Sequence[Finding], *, title: str, lead: str, facts: Sequence[tuple[str, str]]
) -> None:
    """Write the page.

    Args:
        path: Of the HTML file.
        findings: The images to show, most anomalous first.
        title: What was looked at.
        lead: A sentence on what was found.
        facts: Short names and values for the head of the page.
    """
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = environment.from_string(_resource("detections.html.j2")).render(
        css=Markup(_resource("style.css")),
        title=title,
        lead=lead,
        facts=facts,
        rows=[_row(f) for f in findings],
    )
    write_atomically(path, text.encode("utf-8"))


def _row(finding: Finding) -> dict[str, object]:
    return {
        "finding": finding,
        "p_value": f"{finding.p_value:.2g}",
        "score": f"{finding.score:.2f}",
        "parts": [
            (name, f"{p:.2g}", name == finding.breaks_first) for name, p in finding.part_p_values.items()
        ],
        "pictures": [(name, _data_uri(picture)) for name, picture in finding.pictures.items()],
        "width": max(PAGE_CELL, finding.image.shape[2]),
    }


def _in_colour(picture: Tensor) -> Tensor:
    return picture.detach().float().cpu().clamp(0, 1).expand(3, -1, -1)


def _data_uri(picture: Tensor) -> str:
    buffer = io.BytesIO()
    image_grid(picture[None], n_columns=1, scale=max(1, CELL // picture.shape[2])).save(
        buffer, format="PNG", optimize=True
    )
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _resource(name: str) -> str:
    return (files("hebm.report") / name).read_text(encoding="utf-8")
