"""Evaluation: from a checkpoint to result files and images."""

from hebm.evaluation.generate import images_from_prior, latents_from_prior, reconstructions
from hebm.evaluation.likelihood import evaluate_likelihood
from hebm.evaluation.mcmc import evaluate_mcmc
from hebm.evaluation.ood import evaluate_ood
from hebm.evaluation.pictures import hierarchy_images, partial_reconstructions, traverse_images
from hebm.evaluation.samples import evaluate_samples, held_out_images
from hebm.evaluation.suites import SUITES, evaluate, suite_names, write_suite

__all__ = [
    "SUITES",
    "evaluate",
    "evaluate_likelihood",
    "evaluate_mcmc",
    "evaluate_ood",
    "evaluate_samples",
    "held_out_images",
    "hierarchy_images",
    "images_from_prior",
    "latents_from_prior",
    "partial_reconstructions",
    "reconstructions",
    "suite_names",
    "traverse_images",
    "write_suite",
]
