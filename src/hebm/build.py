"""Configuration to objects: the only place where names become classes."""

from functools import partial

import torch

from hebm.build_prior import build_prior, build_sampler
from hebm.config import RunConfig
from hebm.data import ImageSet, keep_labels, load_images, load_with_held_out_labels
from hebm.errors import ConfigError
from hebm.models import (
    JointModel,
    LadderEncoder,
    LadderGenerator,
    LadderGeometry,
    LevelShape,
    make_likelihood,
)
from hebm.randomness import derive_seed

__all__ = ["build_images", "build_model"]


def build_model(config: RunConfig) -> JointModel:
    """Build the untrained model of a configuration, on the CPU, initialised from its seed.

    The global random stream is left as it was.

    Raises:
        ConfigError: If the image size, channels or levels do not fit together.
    """
    geometry = LadderGeometry(
        (config.data.channels, config.data.size, config.data.size),
        [LevelShape(level.latents, level.channels) for level in config.model.levels],
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(config.seed, "init"))  # the CPU's stream alone
        likelihood = make_likelihood(
            config.model.likelihood, config.data.channels, config.model.likelihood_scale
        )
        generator = LadderGenerator(
            geometry, likelihood, merge=config.model.merge, top_width=config.model.top_width
        )
        encoder = LadderEncoder(geometry)
        prior = build_prior(config.prior, geometry.level_dims)
    model = JointModel(generator, encoder, prior, build_sampler(config))
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def build_images(config: RunConfig, split: str) -> ImageSet:
    """Load one split of a configuration's images.

    Raises:
        DataError: If the images are missing or cannot be read.
        ConfigError: If they do not have the configured size and channels.
    """
    section = config.data
    if section.held_out_labels:
        load = partial(load_with_held_out_labels, held_out=section.held_out_labels)
    else:
        load = partial(load_images, holdout=section.holdout, seed=config.seed)
    images = load(
        section.name,
        split,
        path=section.path,
        size=section.size,
        channels=section.channels,
        on_error=section.on_error,
        limit=section.limit if section.labels is None else None,
        download=section.download,
    )
    if section.labels is not None:
        images = keep_labels(images, section.labels, section.limit)
    expected = (section.channels, section.size, section.size)
    if images.image_shape != expected:
        raise ConfigError(
            f"the images of {section.name} are {images.image_shape} (channels, height, width), but the "
            f"configuration says {expected}; set data.size and data.channels."
        )
    return images
