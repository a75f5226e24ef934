"""The report of a run: one HTML file with everything inside, and no script."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from hebm.files import write_atomically
from hebm.report.attack import attack_curves_figure, attack_table
from hebm.report.chain_plots import chain_distance_figure, chain_energy_figure
from hebm.report.convergence import convergence_table, convergence_verdict
from hebm.report.events import event_sentences
from hebm.report.facts import key_facts
from hebm.report.figure import to_svg
from hebm.report.history import History
from hebm.report.likelihood import likelihood_table
from hebm.report.ood_table import ood_section
from hebm.report.pictures import hierarchy_pictures, image_pair, prior_pictures, traversal_pictures
from hebm.report.plots import chain_figure, energy_figure, loss_figure, rate_figure
from hebm.report.run_files import RunFiles, dig, read_run
from hebm.report.sample_efficiency import sample_efficiency_figure
from hebm.report.tables import ResultTable, gap_sentence, generic_table, samples_table
from hebm.report.wording import number_text

__all__ = ["write_report"]

TOLD_APART = {"samples", "mcmc", "ood", "attack"}  # suites with a section of their own


@dataclass(frozen=True)
class Curve:
    """A plot with its words; `svg` is trusted markup."""

    svg: Markup
    title: str
    caption: str


@dataclass(frozen=True)
class Convergence:
    """The section on convergence."""

    is_warning: bool
    sentence: str
    curves: list[Curve]
    table: ResultTable | None


@dataclass(frozen=True)
class Robustness:
    """The section on attacks."""

    curve: Curve
    table: ResultTable


def write_report(run_dir: str | Path) -> Path:
    """Write ``report.html`` into a run directory; for missing files the command that makes them is named.

    Args:
        run_dir: A run directory; only its ``config.yaml`` has to be there.

    Returns:
        Path of the page.

    Raises:
        RunDirectoryError: If it has no readable ``config.yaml``.
    """
    run = read_run(Path(run_dir))
    path = run.directory / "report.html"
    write_atomically(path, _render(run).encode("utf-8"))
    return path


def _render(run: RunFiles) -> str:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("template.html.j2")).render(
        css=Markup(_resource("style.css")),
        run=run,
        data_name=dig(run.config, "data", "name") or "unnamed data",
        description=run.config.get("description") or "",
        facts=key_facts(run),
        pairs=image_pair(run),
        priors=prior_pictures(run),
        hierarchy=hierarchy_pictures(run),
        traversals=traversal_pictures(run),
        samples=samples_table(run) if run.results("samples") else None,
        gap=gap_sentence(run),
        tables=_other_tables(run),
        curves=_curves(run.history),
        energy_only_from=_energy_only_from(run.history),
        chain=_chain(run),
        convergence=_convergence(run),
        robustness=_robustness(run),
        labels=_labels(run),
        ood=ood_section(run),
        events=event_sentences(run.history),
    )


def _resource(name: str) -> str:
    return (files("hebm.report") / name).read_text(encoding="utf-8")


def _other_tables(run: RunFiles) -> list[ResultTable]:
    own = {"likelihood": likelihood_table}
    return [
        own[suite](run) if suite in own else generic_table(run, suite)
        for suite in run.suites
        if suite not in TOLD_APART
    ]


def _curves(history: History) -> list[Curve]:
    """The curves whose quantities were logged."""
    logged = {key for record in history.records for key in record}
    curves = []
    if logged & {"loss", "distortion"}:
        alt = "Loss and distortion in nats per image against the training step."
        caption = "Distortion is −log p(x|z); the loss adds the rate and the energy of the data's latents."
        curves.append(_curve(loss_figure(history), "loss", "Loss and distortion", caption, alt))
    if "rate_per_level" in logged:
        alt = "Rate of every level in nats per image against the training step."
        caption = "What each level tells about an image beyond the base prior. A level at zero is not in use."
        curves.append(_curve(rate_figure(history), "rate", "Rate per level", caption, alt))
    if {"energy_data", "energy_prior"} <= logged:
        alt = "Energy of data-side latents and of prior samples, and their gap, against the training step."
        caption = "Only differences mean something. The gap should settle near zero, not run away."
        curves.append(_curve(energy_figure(history), "energy", "Energy", caption, alt))
    return curves


def _energy_only_from(history: History) -> str:
    step = history.energy_only_from
    return "" if step is None else number_text(int(step))


def _chain(run: RunFiles) -> Curve | None:
    chain = run.results("samples").get("energy_along_chain")
    if not isinstance(chain, dict):
        return None
    alt = "Mean energy of prior chains ± sd against the Langevin step, and the band of held-out images."
    caption = (
        "Chains start from the base prior and should settle inside the band of held-out images. "
        "Still falling at the end: more steps are needed. Below the band: the chains sit where no data are."
    )
    return _curve(chain_figure(chain), "chain", "From noise to samples", caption, alt)


def _convergence(run: RunFiles) -> Convergence | None:
    results = run.results("mcmc")
    if not results:
        return None
    is_warning, sentence = convergence_verdict(results)
    if not results.get("samplers"):
        return Convergence(is_warning, sentence, [], None)
    starts = "Solid: from base draws; dashed: from posterior samples; dotted: from persistent chains."
    energy = _curve(
        chain_energy_figure(results),
        "convergence",
        "Energy against length",
        f"{starts} Converged chains are level, and meet wherever they started. The fall from noise is cut off.",
        "Mean energy of chains of several samplers against their length, on a logarithmic axis.",
    )
    distance = _curve(
        chain_distance_figure(results),
        "convergence-fd",
        "Samples against length",
        f"{starts} Distances from equally many samples; those of other samplers at their ends only.",
        "Fréchet distance of decoded positions against the length of the chain, on logarithmic axes.",
    )
    return Convergence(is_warning, sentence, [energy, distance], convergence_table(run))


def _robustness(run: RunFiles) -> Robustness | None:
    results = run.results("attack")
    if not results:
        return None
    curve = _curve(
        attack_curves_figure(results),
        "attack",
        "Latent attack",
        "Solid: the encoder alone; dashed: with the defence, which the attacker does not know. 1: the reconstruction "
        "is as far from the attacker's target as without an attack; 0: it is as near as the target's own.",
        "Distance left between reconstruction and target against the size of the change, per attacked level.",
    )
    return Robustness(curve, attack_table(run))


def _labels(run: RunFiles) -> Curve | None:
    results = run.results("sample_efficiency")
    if not results:
        return None
    return _curve(
        sample_efficiency_figure(results),
        "labels",
        "A linear probe with few labels",
        "± sd over subsets of the labelled images. Solid: this run's codes. Dashed in the same colour: those of a "
        "control that stand in the same place and are as many.",
        "Accuracy of a linear probe of every representation against the number of labelled images.",
    )


def _curve(figure: Figure, name: str, title: str, caption: str, alt: str) -> Curve:
    return Curve(Markup(to_svg(figure, name=name, alt=alt)), title, caption)
