"""Attacks on what an image's latents are taken to be, how much they achieve, and the defence by posterior chains."""

from hebm.attacks.defence import Defended, HMCDefence, posterior_density
from hebm.attacks.distance_curve import DistanceCurve, Reconstructions, distance_curves
from hebm.attacks.divergence import Encode, kl_over_levels, symmetric_kl, take_rows
from hebm.attacks.latent_attack import Attacked, LatentAttack
from hebm.attacks.linf_attack import LinfAttack, LinfAttacked

__all__ = [
    "Attacked",
    "Defended",
    "DistanceCurve",
    "Encode",
    "HMCDefence",
    "LatentAttack",
    "LinfAttack",
    "LinfAttacked",
    "Reconstructions",
    "distance_curves",
    "kl_over_levels",
    "posterior_density",
    "symmetric_kl",
    "take_rows",
]
