r"""An adversarial representation: pairs (x, E(x)) of images with their codes and (G(z), z) of codes with their images
are told apart by a discriminator D(x, z), a logit, and generator and encoder learn until they cannot be.

.. math:: \ell_D = -\log s(D(x, E(x))) - \log\big(1 - s(D(G(z), z))\big), \quad
          \ell_{GE} = -\log\big(1 - s(D(x, E(x)))\big) - \log s(D(G(z), z)),
          \quad s = \mathrm{sigmoid}, \quad z \sim N(0, I)

At the optimum E inverts G, without any error in pixels having been looked at. Generator and encoder have the shapes of
the run's and start from scratch. While learning, E(x) is a draw from q(z|x) over all levels, so that codes spread from
the first step on as z does (the means alone sent all digits to nearly one code); what is compared are the means.
G(z) is the mean image. The discriminator's layers but the last are spectrally normalised.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hebm.data import ResidentImages
from hebm.latents import flatten_latents, unflatten_latents
from hebm.models import LadderEncoder, LadderGenerator
from hebm.randomness import derive_seed, named_generator
from hebm.representations.discriminator import JointDiscriminator
from hebm.representations.steps import SteppedAdam, batch_rows, require_finite_loss

__all__ = ["BiganLosses", "discriminator_loss", "generator_loss", "train_bigan"]

BETA_1 = 0.5
FASTER = 4  # than the nets the discriminator learns: equal rates let codes run away before it notices


class BiganLosses(NamedTuple):
    """Mean losses of every step, nats."""

    discriminator: list[float]
    generator: list[float]


def discriminator_loss(encoded: Tensor, generated: Tensor) -> Tensor:
    r"""What the discriminator minimises, from its logits of both kinds of pairs.

    .. math:: \mathrm{softplus}(-D(x, E(x))) + \mathrm{softplus}(D(G(z), z))

    Args:
        encoded: D(x, E(x)), [B].
        generated: D(G(z), z), [B].

    Returns:
        [B] nats; 2 log 2 where nothing is told apart.

    Source: Donahue et al. (2017), arXiv:1605.09782.
    """
    return F.softplus(-encoded) + F.softplus(generated)


def generator_loss(encoded: Tensor, generated: Tensor) -> Tensor:
    r"""What generator and encoder minimise: the discriminator's loss with the two kinds exchanged.

    .. math:: \mathrm{softplus}(D(x, E(x))) + \mathrm{softplus}(-D(G(z), z))

    Its gradient does not fade where the discriminator is right; that of the negative :func:`discriminator_loss` does.

    Args:
        encoded: D(x, E(x)), [B].
        generated: D(G(z), z), [B].

    Returns:
        [B] nats.

    Source: Donahue et al. (2017), arXiv:1605.09782, the inverse objective.
    """
    return discriminator_loss(generated, encoded)


def train_bigan(
    encoder: LadderEncoder,
    generator: LadderGenerator,
    images: ResidentImages,
    *,
    n_steps: int,
    batch_size: int,
    lr: float = 2e-4,
    seed: int,
) -> BiganLosses:
    """Train encoder and generator against a discriminator, one step of each in turn; labels are not looked at.

    The same seed gives the same weights, on a CPU to the last bit.

    Args:
        encoder: Of the run's shape, with its first weights, on the images' device; its weights are changed.
        generator: Likewise.
        images: The training images.
        n_steps: Number of steps.
        batch_size: Images per step.
        lr: First learning rate of generator and encoder; the discriminator's is four times that.
        seed: Of the discriminator's first weights, the order of the images and the codes that are drawn.

    Returns:
        Losses of every step.

    Raises:
        DataError: If there are fewer images than one batch.
        NonFiniteError: If a loss is not finite.

    Source: Donahue et al. (2017), arXiv:1605.09782; the drawn codes as in Dumoulin et al. (2017), arXiv:1606.00704; the
    normalisation of Miyato et al. (2018), arXiv:1802.05957; two rates as in Heusel et al. (2017), arXiv:1706.08500.
    """
    geometry, device = encoder.geometry, images.device
    rows = batch_rows(len(images), batch_size, n_steps=n_steps, seed=seed)
    noise = named_generator(seed, "bigan", "codes", device=device)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "bigan", "init"))  # the CPU's stream alone
        discriminator = JointDiscriminator(geometry).to(device)
    of_discriminator = SteppedAdam(discriminator, lr=FASTER * lr, n_steps=n_steps, beta_1=BETA_1)
    of_nets = SteppedAdam(encoder, generator, lr=lr, n_steps=n_steps, beta_1=BETA_1)
    losses = BiganLosses([], [])
    for step, chosen in enumerate(rows):
        real = 2 * images.batch(chosen) - 1
        drawn = torch.randn(batch_size, sum(geometry.level_dims), generator=noise, device=device)
        code = flatten_latents(encoder(real).sample(noise))
        made = generator(unflatten_latents(drawn, geometry.level_dims)).mean
        images_of_both, codes_of_both = torch.cat([real, made]), torch.cat([code, drawn])
        logits = discriminator(images_of_both.detach(), codes_of_both.detach())
        loss = discriminator_loss(*logits.chunk(2)).mean()
        losses.discriminator.append(require_finite_loss(loss, "BiGAN's discriminator", step))
        of_discriminator.step(loss)
        loss = generator_loss(*discriminator(images_of_both, codes_of_both).chunk(2)).mean()
        losses.generator.append(require_finite_loss(loss, "BiGAN's generator and encoder", step))
        of_nets.step(loss)
    return losses
