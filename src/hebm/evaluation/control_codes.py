"""Codes of images that a run's are compared with: other ways to learn from the same images, and none at all.

``simclr`` and ``bigan`` train the run's own architecture from the first weights that the run's seed gives;
``untrained`` leaves it there. ``pca`` has as many components as the run has latents; ``pixels`` are where all start.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from hebm.build import build_model
from hebm.config import RunConfig
from hebm.data import ImageSet, ResidentImages
from hebm.evaluation.probe import inferred_codes
from hebm.latents import flatten_latents
from hebm.models import JointModel
from hebm.representations import train_bigan, train_simclr, trunk_features

__all__ = ["Codes", "ImagePair", "control_codes", "joined", "model_codes", "trunk_codes"]

ROWS = 500


class ImagePair(NamedTuple):
    """Images whose labels are learned from, and images that are judged."""

    train: ImageSet
    test: ImageSet


class Codes(NamedTuple):
    """Codes of both, [N, d] and [M, d], on the CPU."""

    train: Tensor
    test: Tensor


def model_codes(model: JointModel, images: ImagePair) -> tuple[Codes, ...]:
    """Posterior means of every level, top first."""
    train, test = (inferred_codes(model, image_set) for image_set in images)
    return tuple(Codes(a.cpu(), b.cpu()) for a, b in zip(train, test, strict=True))


def joined(levels: tuple[Codes, ...]) -> Codes:
    """Several levels side by side."""
    return Codes(*(flatten_latents(codes) for codes in zip(*levels, strict=True)))


@torch.no_grad()
def trunk_codes(model: JointModel, images: ImagePair) -> Codes:
    """What the encoder's top level reads its mean from."""
    found = []
    for image_set in images:
        resident = ResidentImages(image_set, model.device)
        rows = torch.split(torch.arange(len(resident)), ROWS)
        found.append(torch.cat([trunk_features(model.encoder, resident.batch(part)).cpu() for part in rows]))
    return Codes(*found)


def control_codes(
    name: str, config: RunConfig, images: ImagePair, *, seed: int, device: torch.device
) -> tuple[dict[str, Codes], dict[str, Any]]:
    """Learn one control's representation.

    Args:
        name: One of ``simclr``, ``bigan``, ``untrained``, ``pca``, ``pixels``.
        config: The run's configuration.
        images: The images; labels are not looked at.
        seed: Of weights, order and noise.
        device: Where to compute.

    Returns:
        Codes by name, and what is to be said of the training.

    Raises:
        DataError: If there are fewer images than one batch.
        NonFiniteError: If a loss is not finite.
    """
    return CONTROLS[name](_Control(config, images, seed, device))


@dataclass(frozen=True)
class _Control:
    config: RunConfig
    images: ImagePair
    seed: int
    device: torch.device

    def fresh(self) -> JointModel:
        """The run's architecture with its first weights."""
        return build_model(self.config.model_copy(update={"seed": self.seed})).to(self.device)

    @property
    def training_images(self) -> ResidentImages:
        return ResidentImages(self.images.train, self.device)

    def top_and_trunk(self, name: str, model: JointModel) -> dict[str, Codes]:
        return {
            f"{name}_top": model_codes(model, self.images)[0],
            f"{name}_trunk": trunk_codes(model, self.images),
        }

    def pixels(self) -> Codes:
        rows = (ResidentImages(s, "cpu").batch(torch.arange(len(s))).flatten(1) for s in self.images)
        return Codes(*rows)


_Made = tuple[dict[str, Codes], dict[str, Any]]


def _simclr(control: _Control) -> _Made:
    settings, model = control.config.evaluation.sample_efficiency, control.fresh()
    losses = train_simclr(
        model.encoder,
        control.training_images,
        n_steps=settings.simclr_steps,
        batch_size=settings.batch_size,
        lr=settings.simclr_lr,
        temperature=settings.simclr_temperature,
        seed=control.seed,
    )
    facts = {"n_steps": len(losses), "first_loss": losses[0], "last_loss": losses[-1]}
    return control.top_and_trunk("simclr", model), facts


def _bigan(control: _Control) -> _Made:
    settings, model = control.config.evaluation.sample_efficiency, control.fresh()
    losses = train_bigan(
        model.encoder,
        model.generator,
        control.training_images,
        n_steps=settings.bigan_steps,
        batch_size=settings.batch_size,
        lr=settings.bigan_lr,
        seed=control.seed,
    )
    facts = {
        "n_steps": len(losses.generator),
        "last_discriminator_loss": losses.discriminator[-1],
        "last_generator_loss": losses.generator[-1],
    }
    levels = model_codes(model, control.images)
    return {**control.top_and_trunk("bigan", model), "bigan_all": joined(levels)}, facts


def _untrained(control: _Control) -> _Made:
    return control.top_and_trunk("untrained", control.fresh()), {}


def _pca(control: _Control) -> _Made:
    pixels = control.pixels()
    n_latents = sum(level.latents for level in control.config.model.levels)
    pca = PCA(min(n_latents, *pixels.train.shape), svd_solver="covariance_eigh").fit(
        pixels.train.double().numpy()
    )
    codes = Codes(*(torch.from_numpy(pca.transform(part.double().numpy())) for part in pixels))
    return {"pca": codes}, {}


def _pixels(control: _Control) -> _Made:
    return {"pixels": control.pixels()}, {}


CONTROLS: dict[str, Callable[[_Control], _Made]] = {
    "simclr": _simclr,
    "bigan": _bigan,
    "untrained": _untrained,
    "pca": _pca,
    "pixels": _pixels,
}
