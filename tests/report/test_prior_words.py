"""The run's prior in words, from its configuration alone."""

from pathlib import Path

import pytest
import yaml

from hebm import load_config
from hebm.report.prior_words import base_words, drawing_words, prior_words
from hebm.report.run_files import RunFiles, read_run

STEPS = "trainer.energy_only_steps=1"
NET = "one energy over all levels, width 64, depth 2"


def run_with(folder: Path, *overrides: str) -> RunFiles:
    """The run of a resolved configuration: the digits preset with another prior."""
    config = load_config("digits", ["prior.kind=joint", "prior.base=standard", *overrides])
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    return read_run(folder)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("gaussian", "Gaussian, N(0, I)"),
        ("full_gaussian", "one full-covariance Gaussian"),
        ("mixture", "mixture of Gaussians"),
        ("vamp", "mixture of encoder outputs"),
        ("flow", "neural spline flow"),
        ("top_down", "chained Gaussian"),
    ],
)
def test_a_prior_without_energy_is_drawn_from_exactly(tmp_path: Path, kind: str, words: str) -> None:
    """It is its own base, and nothing is said of chains."""
    run = run_with(tmp_path, f"prior.kind={kind}", STEPS)
    assert prior_words(run) == base_words(run) == words
    assert drawing_words(run) is None


@pytest.mark.parametrize(
    ("overrides", "prior", "base"),
    [
        ((), f"{NET}; learned by short-run chains", "N(0, I)"),
        (("prior.kind=persistent",), f"{NET}; learned by persistent chains", "N(0, I)"),
        (
            ("prior.kind=importance", "prior.base=mixture"),
            f"{NET}, on a mixture of Gaussians fitted to the latents; learned by importance weights",
            "a mixture of Gaussians fitted to the latents",
        ),
        (
            ("prior.kind=nce", "prior.base=vamp"),
            f"{NET}, on a mixture of encoder outputs; learned by noise-contrastive estimation",
            "a mixture of encoder outputs",
        ),
        (
            ("prior.base=top_down",),
            f"{NET}, on a chained Gaussian; learned by short-run chains",
            "a chained Gaussian",
        ),
        (("prior.kind=recovery",), f"{NET}; learned by diffusion recovery", "N(0, I)"),
        (
            ("prior.coupling=per_level",),
            "one energy per level, width 64, depth 2; learned by short-run chains",
            "N(0, I)",
        ),
    ],
)
def test_an_energy_is_told_with_its_base_and_its_learner(
    tmp_path: Path, overrides: tuple[str, ...], prior: str, base: str
) -> None:
    run = run_with(tmp_path, STEPS, *overrides)
    assert prior_words(run) == prior
    assert base_words(run) == base


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), "60 Langevin steps, η\u00a0=\u00a00.08"),
        (("prior.kind=importance", "prior.base=mixture"), "60 proposals from the base"),
        (("prior.base=vamp",), "60 proposals from the base"),
        (("prior.base=mixture", "sampler.kind=langevin"), "60 Langevin steps, η\u00a0=\u00a00.08"),
        (("sampler.kind=independence",), "60 proposals from the base"),
        (("sampler.kind=metropolis",), "60 Metropolis-adjusted Langevin steps"),
        (("prior.kind=recovery",), "60 Langevin steps per noise level, η\u00a0=\u00a00.08"),
        (
            ("prior.kind=recovery", "sampler.kind=metropolis"),
            "60 Langevin steps per noise level, η\u00a0=\u00a00.08",
        ),
        (("sampler.sampling_steps=200",), "200 Langevin steps, η\u00a0=\u00a00.08"),
        (("sampler.sampling_steps=0",), "0 Langevin steps, η\u00a0=\u00a00.08"),
    ],
)
def test_how_a_sample_is_drawn(tmp_path: Path, overrides: tuple[str, ...], words: str) -> None:
    """By the sampler that the configuration builds, with its steps when sampling."""
    assert drawing_words(run_with(tmp_path, STEPS, *overrides)) == words


def test_a_configuration_with_gaps_is_told_as_far_as_it_goes(tmp_path: Path) -> None:
    """Of an older version: no base, no width, no sampler."""
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"prior": {"kind": "joint"}}), encoding="utf-8")
    run = read_run(tmp_path)
    assert prior_words(run) == "one energy over all levels; learned by short-run chains"
    assert base_words(run) == "N(0, I)"
    assert drawing_words(run) is None
