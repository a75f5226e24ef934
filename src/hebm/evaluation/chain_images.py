"""Held-out images beside what the positions of chains decode to, and distances from equally many samples."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hebm.build import build_images
from hebm.config import RunConfig
from hebm.errors import DataError
from hebm.evaluation.chain_traces import CHAIN_BLOCK
from hebm.features import FeatureExtractor, build_extractor, extract_features, image_batches
from hebm.latents import flatten_latents, unflatten_latents
from hebm.metrics import GaussianStatistics, frechet_distance, precision_recall
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["ChainImages"]

DECODED_AT_ONCE = 250


@dataclass(frozen=True)
class ChainImages:
    """Held-out images, and distances to them.

    Args:
        model: Decodes.
        extractor: Makes features.
        real: Features of all held-out images, [N, D].
        held_out: Images that posterior samples and reconstructions come from, [n, C, H, W] in [0, 1].
        nearest_k: Neighbours of precision and recall.
        seed: The user's seed.
    """

    model: JointModel
    extractor: FeatureExtractor
    real: Tensor
    held_out: Tensor
    nearest_k: int
    seed: int

    @classmethod
    def of(cls, model: JointModel, config: RunConfig, seed: int) -> "ChainImages":
        """Load the held-out images of a configuration, in random order, and the features of all.

        Raises:
            DataError: If they are missing, or too few.
        """
        test = build_images(config, "test")
        n = min(config.evaluation.mcmc.n_samples_fd, len(test))
        if n < 2 * (config.evaluation.nearest_k + 1):
            raise DataError(
                f"only {len(test)} held-out images are there, too few to compare with; "
                "raise data.holdout or data.limit."
            )
        train = build_images(config, config.data.split)
        extractor = build_extractor(config.evaluation.extractor, train, test, device=model.device)
        order = torch.randperm(len(test), generator=named_generator(seed, "mcmc", "held out"))[:n]
        held_out = torch.cat(list(image_batches(test.images[order.numpy()])))
        real = extract_features(extractor, image_batches(test.images))
        return cls(model, extractor, real, held_out, config.evaluation.nearest_k, seed)

    def features(self, flat: Tensor) -> Tensor | None:
        """Features of decoded flat latents, [n, D]; None if one is not finite."""
        levels = (
            unflatten_latents(part.to(self.model.device), self.model.level_dims)
            for part in torch.split(flat, DECODED_AT_ONCE)
        )
        features = extract_features(self.extractor, (self.model.decode(z) for z in levels))
        return features if torch.isfinite(features).all() else None

    def distance(self, features: Tensor | None) -> float | None:
        """Fréchet distance to all held-out images."""
        if features is None or len(features) < 2:
            return None
        return frechet_distance(GaussianStatistics.of(self.real), GaussianStatistics.of(features))

    def precision_recall(self, features: Tensor | None) -> tuple[float | None, float | None]:
        """Precision and recall against as many held-out images."""
        if features is None or len(features) <= self.nearest_k:
            return None, None
        generator = named_generator(self.seed, "mcmc", "precision")
        found = precision_recall(self.real, features, k=self.nearest_k, generator=generator)
        return found.precision, found.recall

    def posterior(self, block: int) -> Tensor:
        """Posterior samples of held-out images, [CHAIN_BLOCK, D]; beyond their number they begin anew."""
        rows = torch.arange(block * CHAIN_BLOCK, (block + 1) * CHAIN_BLOCK) % len(self.held_out)
        generator = named_generator(self.seed, "mcmc", "posterior", block, device=self.model.device)
        posterior = self.model.encode(self.held_out[rows].to(self.model.device))
        return flatten_latents(posterior.sample(generator))

    def reconstructions(self) -> Tensor:
        """Posterior means of the held-out images, flat [n, D]."""
        parts = torch.split(self.held_out, DECODED_AT_ONCE)
        return torch.cat(
            [flatten_latents(self.model.encode(x.to(self.model.device)).mean).cpu() for x in parts]
        )
