"""The measures of the samples suite: their names on the page, and what each says."""

__all__ = ["measure_names"]

MEASURES = {
    "prior_gap": (
        "Prior gap",
        "Distance of the samples over distance of the reconstructions. "
        "1 would mean samples as good as reconstructions.",
    ),
    "fd_prior": ("{distance}, samples", "The model's own prior against real images. Lower is better."),
    "fd_longer_chain": (
        "{distance}, longer chains",
        "Chains three times as long as a sample's. Larger than for the samples: "
        "short-run chains have not converged, and the number of steps belongs to the model.",
    ),
    "n_steps": ("Chain steps", "Steps of the chain from the base prior to a sample."),
    "fd_base": (
        "{distance}, base prior",
        "The same generator fed with draws of the base, where chains start.",
    ),
    "fd_reconstruction": (
        "{distance}, reconstructions",
        "Held-out images through encoder and generator: the floor of every prior.",
    ),
    "fd_train_posterior": (
        "{distance}, training images inferred",
        "Decoded posterior draws of training images: what a prior that knew the training images' latents would reach.",
    ),
    "prior_gap_attainable": (
        "Attainable prior gap",
        "That distance over the reconstructions'. Above 1 where training and held-out images differ.",
    ),
    "fd_halves": (
        "{distance}, real halves",
        "One half of the real images against the other: what the measure shows where nothing differs.",
    ),
    "kid_prior": (
        "Kernel distance, samples",
        "Mean ± sd over subsets. Unlike the Fréchet distance it is not biased when images are few.",
    ),
    "precision": (
        "Precision",
        "Share of the samples that lie among the real images. 1 is best; odd shapes lower it.",
    ),
    "recall": (
        "Recall",
        "Share of the real images that lie among the samples. 1 is best; missing variety lowers it.",
    ),
    "mse": (
        "Squared error, [0, 1] scale",
        "Per pixel, held-out images against their reconstructions. Lower is better.",
    ),
    "mse_pm1": ("Squared error, [−1, 1] scale", "The same on the other common scale: four times as large."),
    "psnr": ("Peak signal to noise, dB", "The same on a logarithmic scale. Higher is better."),
    "ssim": ("Structural similarity", "Likeness of local structure in reconstructions. 1 is best."),
}


def measure_names(distance: str) -> dict[str, tuple[str, str]]:
    """Name and meaning of every measure, in the order of the page.

    Args:
        distance: What to call the Fréchet distance.
    """
    return {key: (name.format(distance=distance), meaning) for key, (name, meaning) in MEASURES.items()}
