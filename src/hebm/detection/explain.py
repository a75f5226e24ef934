r"""Why an image is anomalous, in pictures: what the model makes of it, what each level would have expected, and where.

* The reconstruction, decoded from z̄ = E_q z.
* For every level l, the image with *that* level drawn anew from the prior given the others, p(z_l | z̄ without l): what
  this level would have expected of an image that is the same in everything else.
* A map of the squared residual in units of what normal images have at that pixel,

.. math:: m_i = \frac{\sum_c (x_{ci} - \hat x_{ci})^2}{v_i + v_0}, \qquad
    v_i = \sum_c E_{\text{normals}} (x_{ci} - \hat x_{ci})^2, \quad v_0 = \tfrac{1}{10} \text{ of the mean of } v

  so that 1 is usual, and an edge that is hard to draw in every normal image does not light up; v₀ keeps pixels that are
  the same in all normal images from lighting up at a breath of noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.detection.detector import Detector
from hebm.detection.inference import evaluating
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["Explanation", "explain", "residual_map"]

FLOOR_SHARE = 0.1


@dataclass(frozen=True)
class Explanation:
    """Pictures of B images, on the CPU, in [0, 1] but for the map.

    Args:
        images: [B, C, H, W].
        reconstructions: [B, C, H, W].
        redrawn: Of every level, top first, the image with that level redrawn, [B, C, H, W] each.
        residual: The map, [B, H, W]; 1 is what normal images have.
    """

    images: Tensor
    reconstructions: Tensor
    redrawn: tuple[Tensor, ...]
    residual: Tensor


def explain(model: JointModel, detector: Detector, x: Tensor, *, seed: int = 0) -> Explanation:
    """Explain a few images.

    Args:
        model: The model that the detector was calibrated with.
        detector: The detector, for what normal images have.
        x: Images in [0, 1], [B, C, H, W].
        seed: Of the redrawn levels.
    """
    with evaluating(model):
        x = x.to(next(model.parameters()))
        latents = model.encode(x).mean
        reconstructions = model.decode(latents)
        redrawn = []
        for level in range(len(latents)):
            generator = named_generator(seed, "explain", level, device=x.device)
            redrawn.append(model.decode(model.resample(latents, [level], generator=generator)).cpu())
        x, reconstructions = x.cpu(), reconstructions.cpu()
        return Explanation(
            x, reconstructions, tuple(redrawn), residual_map(x, reconstructions, usual=detector.residual)
        )


def residual_map(x: Tensor, reconstructions: Tensor, *, usual: Tensor) -> Tensor:
    """Squared residuals in units of the usual ones, [B, H, W].

    Args:
        x: Images, [B, C, H, W].
        reconstructions: Theirs.
        usual: Mean squared residual of normal images, [C, H, W].
    """
    of_normals = usual.sum(0)
    floor = FLOOR_SHARE * of_normals.mean().clamp_min(torch.finfo(usual.dtype).tiny)
    return (x - reconstructions).square().sum(1) / (of_normals + floor)
