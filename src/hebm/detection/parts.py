r"""What an image is anomalous in: its pixels, one level of its latents, or how the levels go together.

.. math:: r_l(x) \quad(\text{level } l), \qquad -\log p(x | \bar z) \quad(\text{pixels}), \qquad
    E(\bar z) \quad(\text{energy})

with z̄ = E_q z and r_l the rate of a level given those above it (a flow cannot tell them apart: there the rate of all
levels is one part, ``latents``). The parts are not on one scale; each has a p-value of its own, and the part that
*breaks first* is the one whose p-value is smallest. Where several are as small, as beyond every calibration image,
the one farthest out counts: the largest (value - median) / (upper quartile - median), both of the calibration values.
Each p-value is valid by itself; their minimum is not, so whether an image is anomalous is the score's to say.
"""

import torch
from torch import Tensor

from hebm.detection.base import InferredScore
from hebm.detection.calibration import conformal_p_values
from hebm.detection.distortion import Distortion
from hebm.detection.energy import LatentEnergy
from hebm.detection.inference import Inferred, infer
from hebm.detection.rate import Rate
from hebm.models import JointModel
from hebm.priors import FlowPrior, base_of

__all__ = [
    "ENERGY",
    "LATENTS",
    "PIXELS",
    "anomaly_parts",
    "breaks_first",
    "level_name",
    "part_names",
    "part_p_values",
    "parts_of",
]

LATENTS = "latents"
PIXELS = "pixels"
ENERGY = "energy"


def level_name(level: int) -> str:
    """Name of a level's part; 0 is the top."""
    return f"level_{level}"


def part_names(model: JointModel) -> list[str]:
    """Names of a model's parts: the levels, top first, the pixels, and the energy where there is one."""
    return list(_part_scores(model))


def anomaly_parts(model: JointModel, x: Tensor) -> dict[str, Tensor]:
    """Every part of every image, [B] nats each; higher is more anomalous.

    Args:
        model: The model, in eval mode.
        x: Images in [0, 1], [B, C, H, W].
    """
    return parts_of(infer(model, x))


def parts_of(inferred: Inferred) -> dict[str, Tensor]:
    """Every part of checked images, [B] nats each."""
    return {name: score.of(inferred) for name, score in _part_scores(inferred.model).items()}


def part_p_values(calibration: dict[str, Tensor], parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The conformal p-value of every part, [B] each."""
    return {name: conformal_p_values(calibration[name], values) for name, values in parts.items()}


def breaks_first(calibration: dict[str, Tensor], parts: dict[str, Tensor]) -> list[str]:
    """Name of the part with the smallest p-value, of every image; of several, the one farthest beyond the normals."""
    names = list(parts)
    p_values = torch.stack(list(part_p_values(calibration, parts).values()), 1)
    excess = torch.stack([_excess(calibration[name], parts[name]) for name in names], 1)
    tied = p_values == p_values.min(1, keepdim=True).values
    chosen = excess.masked_fill(~tied, -torch.inf).argmax(1)
    return [names[i] for i in chosen.tolist()]


def _part_scores(model: JointModel) -> dict[str, InferredScore]:
    scores: dict[str, InferredScore] = {level_name(i): Rate(level=i) for i in range(len(model.level_dims))}
    if isinstance(base_of(model.prior), FlowPrior):
        scores = {LATENTS: Rate()}
    scores[PIXELS] = Distortion()
    if model.prior.energy is not None:
        scores[ENERGY] = LatentEnergy()
    return scores


def _excess(calibration: Tensor, values: Tensor) -> Tensor:
    quartiles = torch.tensor([0.5, 0.75], dtype=torch.float64, device=calibration.device)
    median, upper = torch.quantile(calibration.double(), quartiles)
    spread = (upper - median).clamp_min(torch.finfo(torch.float64).tiny)
    excess: Tensor = (values.double() - median) / spread
    return excess
