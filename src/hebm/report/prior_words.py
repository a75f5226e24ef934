"""The run's prior in words: what it is, what its chains start from, how it is drawn from."""

from hebm.report.run_files import RunFiles, dig
from hebm.report.wording import number_text

__all__ = ["base_words", "drawing_words", "prior_words"]

ENERGIES = {
    "joint": "short-run chains",
    "persistent": "persistent chains",
    "importance": "importance weights",
    "nce": "noise-contrastive estimation",
    "recovery": "diffusion recovery",
}
BASES = {
    "standard": "N(0, I)",
    "top_down": "a chained Gaussian",
    "mixture": "a mixture of Gaussians fitted to the latents",
    "vamp": "a mixture of encoder outputs",
}
PLAIN = {
    "gaussian": "Gaussian, N(0, I)",
    "full_gaussian": "one full-covariance Gaussian",
    "mixture": "mixture of Gaussians",
    "vamp": "mixture of encoder outputs",
    "flow": "neural spline flow",
    "top_down": "chained Gaussian",
}


def base_words(run: RunFiles) -> str:
    """What the energy tilts, and where chains start; for a prior without energy the prior itself."""
    if not run.has_energy:
        return PLAIN[run.prior_kind]
    return BASES.get(str(dig(run.config, "prior", "base") or "standard"), BASES["standard"])


def prior_words(run: RunFiles) -> str:
    """The prior in one line."""
    if not run.has_energy:
        return PLAIN[run.prior_kind]
    scope = (
        "one energy per level"
        if dig(run.config, "prior", "coupling") == "per_level"
        else "one energy over all levels"
    )
    width, depth = dig(run.config, "prior", "width"), dig(run.config, "prior", "depth")
    net = f", width {width}, depth {depth}" if width is not None and depth is not None else ""
    base = "" if base_words(run) == BASES["standard"] else f", on {base_words(run)}"
    return f"{scope}{net}{base}; learned by {ENERGIES.get(run.prior_kind, run.prior_kind)}"


def drawing_words(run: RunFiles) -> str | None:
    """How a sample is drawn; None where that is exact."""
    n_steps, step_size = dig(run.config, "sampler", "sampling_steps"), dig(run.config, "sampler", "step_size")
    if n_steps is None:
        n_steps = dig(run.config, "sampler", "n_steps")
    if not run.has_energy or n_steps is None:
        return None
    is_diffused = run.prior_kind == "recovery"  # its chains are of one kind, whatever the configuration says
    kind = "langevin" if is_diffused else dig(run.config, "sampler", "kind") or "auto"
    proposes = dig(run.config, "prior", "base") in ("mixture", "vamp")
    if kind == "independence" or (kind == "auto" and proposes):
        return f"{n_steps} proposals from the base"
    if kind == "metropolis":
        return f"{n_steps} Metropolis-adjusted Langevin steps"
    per_level = " per noise level" if is_diffused else ""
    return f"{n_steps} Langevin steps{per_level}, η\u00a0=\u00a0{number_text(step_size)}"
