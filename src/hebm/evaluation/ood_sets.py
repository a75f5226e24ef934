"""The images of the suite ``ood``: normal ones in three parts that share none, and those that do not belong.

The test split is halved at random: the calibration half is what recipes see, the evaluation half is what is scored.
Images that do not belong are never fitted to.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.build import build_images
from hebm.config import DataConfig, OodSetConfig, RunConfig
from hebm.data import ImageSet, ResidentImages, load_images
from hebm.data.sources import find_source
from hebm.data.splits import HELD_OUT_SPLITS
from hebm.errors import DataError, MissingDataError
from hebm.randomness import named_generator

__all__ = ["GENERATED", "NormalImages", "load_ood_sets", "split_normals", "usual_sets"]

GENERATED = ("constant", "noise", "inverted", "shuffled")
USUAL = {
    "fashion_mnist": ("mnist", "kmnist"),
    "mnist": ("fashion_mnist", "kmnist"),
    "kmnist": ("mnist", "fashion_mnist"),
    "cifar10": ("svhn_sample", "constant", "noise"),
    "svhn": ("cifar10", "constant", "noise"),
    "svhn_sample": ("cifar10", "constant", "noise"),
}
OF_OTHERS = ("constant", "noise", "inverted", "shuffled")


@dataclass(frozen=True)
class NormalImages:
    """Normal images in [0, 1], [N, C, H, W] each, on the CPU; no image is in two parts.

    Args:
        train: Of the training split; for the pixel controls.
        calibration: Half of the test split or less; for recipes.
        evaluation: Of the other half; what is scored.
    """

    train: Tensor
    calibration: Tensor
    evaluation: Tensor


def split_normals(config: RunConfig, *, seed: int) -> NormalImages:
    """Load a run's own images and divide them.

    Args:
        config: The run's configuration; ``evaluation.ood`` has the largest numbers of images.
        seed: Of the division.

    Raises:
        DataError: If images are missing, or the test split has fewer than four.
    """
    settings = config.evaluation.ood
    train, test = build_images(config, config.data.split), build_images(config, "test")
    half = len(test) // 2
    if half < 2:
        raise DataError(
            f"the test split has {len(test)} images, but its halves need two each; raise data.holdout or data.limit."
        )
    order = torch.randperm(len(test), generator=named_generator(seed, "ood", "split"))
    return NormalImages(
        _chosen(train, settings.n_train, seed, "train"),
        _pixels(test, order[:half][: settings.n_calibration]),
        _pixels(test, order[half:][: settings.n_in]),
    )


def usual_sets(data_name: str) -> tuple[OodSetConfig, ...]:
    """What a data set is usually told from; made images for a set of one's own."""
    return tuple(OodSetConfig(data=name) for name in USUAL.get(data_name, OF_OTHERS))


def load_ood_sets(
    config: RunConfig, normals: NormalImages, *, seed: int
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Images that do not belong, in the shape of the run's own, by the name that results call them.

    Args:
        config: The run's configuration.
        normals: Its own images; some sets are made of those of training.
        seed: Chooses images and draws those that are made.

    Returns:
        Images [M, C, H, W] in [0, 1] on the CPU; and why a usual set was left out.

    Raises:
        MissingDataError: If a set that the configuration names is not there.
        DataError: If its name or split is wrong.
    """
    settings = config.evaluation.ood
    sets, left_out = {}, {}
    for pair in settings.pairs if settings.pairs is not None else usual_sets(config.data.name):
        try:
            sets[pair.label] = _ood_images(pair, config.data, normals, settings.n_out, seed)
        except MissingDataError as error:
            if settings.pairs is not None:
                raise
            left_out[pair.label] = str(error)
    return sets, left_out


def _ood_images(pair: OodSetConfig, data: DataConfig, normals: NormalImages, n: int, seed: int) -> Tensor:
    if pair.data in GENERATED:
        return _made(pair.data, normals.train, n, seed)
    source = find_source(pair.data)
    images = load_images(
        pair.data,
        pair.split or ("all" if source.splits == HELD_OUT_SPLITS else "test"),
        path=pair.path,
        size=data.size,
        channels=data.channels,
        on_error=data.on_error,
        seed=seed,
        download=data.download,
    )
    return _chosen(images, n, seed, pair.label)


def _made(kind: str, like: Tensor, n: int, seed: int) -> Tensor:
    """8-bit images that no camera takes: see the configuration."""
    generator = named_generator(seed, "ood", kind)
    if kind == "inverted":
        return 1 - like[:n]
    if kind == "shuffled":
        flat = like[:n].flatten(2)
        places = torch.rand(len(flat), 1, flat.shape[2], generator=generator).argsort(2)
        return flat.gather(2, places.expand_as(flat)).view_as(like[:n])
    n_channels, *size = like.shape[1:]
    shape = (n, n_channels, 1, 1) if kind == "constant" else (n, n_channels, *size)
    levels = torch.randint(256, shape, generator=generator) / 255
    return levels.expand(n, n_channels, *size).contiguous()


def _chosen(images: ImageSet, n: int, seed: int, name: str) -> Tensor:
    """n images at random; all, in random order, if there are no more."""
    order = torch.randperm(len(images), generator=named_generator(seed, "ood", "choice", name))
    return _pixels(images, order[:n])


def _pixels(images: ImageSet, items: Tensor) -> Tensor:
    return ResidentImages(images, "cpu").batch(items)
