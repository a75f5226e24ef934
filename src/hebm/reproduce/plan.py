"""From a specification to the cells to be run: which images are there, and what each cell's configuration is."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from hebm.build import build_images
from hebm.config import RunConfig, load_config
from hebm.data import list_sources
from hebm.errors import ConfigError, MissingDataError
from hebm.evaluation import suite_names
from hebm.reproduce.spec import Size, Spec

__all__ = ["Cell", "Plan", "make_plan"]


@dataclass(frozen=True)
class Cell:
    """One run in one column under one seed.

    Args:
        run: Key of the run.
        column: Key of the column that is run, which may stand in for another.
        seed: Of training and evaluation.
        config: What is trained, or what the weights of the parent are seen under.
        suites: What is evaluated.
        parent: The cell whose weights it takes; None if it is trained.
    """

    run: str
    column: str
    seed: int
    config: RunConfig
    suites: tuple[str, ...]
    parent: "Cell | None" = None

    @property
    def place(self) -> tuple[str, str, int]:
        """Where it stands in the tables: run, column and seed."""
        return self.run, self.column, self.seed

    @property
    def key(self) -> str:
        """Name of its folder; another configuration has another."""
        text = (
            self.config.hash()
            if self.parent is None
            else f"{self.config.hash()[:4]}{self.parent.config.hash()[:4]}"
        )
        return f"{self.column}-{self.run}-seed{self.seed}-{text[:8]}"


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Args:
        spec: The specification.
        size: Name of the size.
        columns: Keys of the columns that are run.
        n_seeds: Seeds 0 to n - 1.
        cells: All cells; those that take others' weights come last.
        notes: What is missing, and what stands in for it.
        asked_runs: The runs that were asked for; empty: all.
        asked_columns: The columns that were asked for; empty: all.
    """

    spec: Spec
    size: str
    columns: tuple[str, ...]
    n_seeds: int
    cells: tuple[Cell, ...]
    notes: tuple[str, ...] = ()
    asked_runs: tuple[str, ...] = ()
    asked_columns: tuple[str, ...] = ()


def make_plan(
    spec: Spec,
    size: str,
    *,
    n_seeds: int | None = None,
    runs: Collection[str] = (),
    columns: Collection[str] = (),
) -> Plan:
    """Resolve all configurations and look for all images, before any work is done.

    Args:
        spec: The specification.
        size: One of its sizes.
        n_seeds: Number of seeds; the size's own if None.
        runs: Only these runs; all of the size's if empty.
        columns: Only these columns; all of the size's if empty.

    Raises:
        ConfigError: If a suite, size, run or column is not there, or a configuration is wrong.
        MissingDataError: If no column's images are there.
    """
    _require_suites(spec)
    sized = spec.sized(size)
    n_seeds = n_seeds or sized.seeds
    wanted_columns = _chosen("column", columns, sized.columns, spec.name)
    wanted_runs = _chosen("run", runs, sized.runs or tuple(spec.runs), spec.name)
    here, notes = _columns_with_images(spec, sized, wanted_columns)
    cells = [
        cell
        for seed in range(n_seeds)
        for column in here
        for cell in _cells(spec, sized, column, wanted_runs, seed)
    ]
    cells.sort(key=lambda cell: cell.parent is not None)
    return Plan(spec, size, here, n_seeds, tuple(cells), notes, tuple(runs), tuple(columns))


def _require_suites(spec: Spec) -> None:
    try:
        suite_names([*spec.suites, *(suite for run in spec.runs.values() for suite in run.suites or ())])
    except ConfigError as error:
        raise ConfigError(f"{spec.name} cannot be run with this version: {error}") from None


def _chosen(what: str, asked: Collection[str], there: tuple[str, ...], name: str) -> tuple[str, ...]:
    if unknown := [key for key in asked if key not in there]:
        raise ConfigError(
            f"{name} has no {what} {unknown[0]!r} at this size; choose from {', '.join(there)}."
        )
    return tuple(key for key in there if key in asked) if asked else there


def _cells(spec: Spec, size: Size, column: str, runs: tuple[str, ...], seed: int) -> list[Cell]:
    """The cells of one column and seed: what is trained, then what takes weights."""
    made: dict[str, Cell] = {}
    for key in runs:
        trained = spec.runs[key].weights_of or key
        if trained not in made:
            config = _trained_config(spec, size, column, trained, seed)
            made[trained] = Cell(trained, column, seed, config, spec.runs[trained].suites or spec.suites)
    for key in runs:
        run = spec.runs[key]
        if run.weights_of is not None:
            parent = made[run.weights_of]
            config = parent.config.with_overrides([*run.overrides, *_of_run(spec, size, column, key)])
            _require_resting_nets(spec, key, parent, config)
            suites = run.suites or spec.suites
            made[key] = replace(parent, run=key, config=config, suites=suites, parent=parent)
    return list(made.values())


def _trained_config(spec: Spec, size: Size, column: str, run: str, seed: int) -> RunConfig:
    place = spec.columns[column]
    overrides = (
        *size.overrides,
        *place.overrides,
        *spec.runs[run].overrides,
        *_of_run(spec, size, column, run),
    )
    return load_config(place.preset or size.preset, [*overrides, f"seed={seed}"])


def _of_run(spec: Spec, size: Size, column: str, run: str) -> tuple[str, ...]:
    """What the size says of a run, then what the column says of it."""
    return (*size.run_overrides.get(run, ()), *spec.columns[column].run_overrides.get(run, ()))


def _require_resting_nets(spec: Spec, key: str, parent: Cell, config: RunConfig) -> None:
    changed = parent.config.prior.kind != config.prior.kind
    if changed and (not parent.config.prior.is_two_phase or parent.config.trainer.finetune_steps > 0):
        raise ConfigError(
            f"{spec.name}: the nets of {parent.run} learned with its prior, so they are not those of {key}; train "
            f"{key} on its own, or set prior.training=two_phase and trainer.finetune_steps=0."
        )


def _columns_with_images(
    spec: Spec, size: Size, wanted: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    here: list[str] = []
    notes: list[str] = []
    missing: MissingDataError | None = None
    for key in wanted:
        for name in filter(None, (key, spec.columns[key].instead)):
            config = _trained_config(spec, size, name, _first_trained(spec), 0)
            missing = _missing_images(config)
            if missing is None:
                if name not in here:
                    here.append(name)
                break
            notes.append(f"{spec.columns[name].label} is not run: {missing}")
        stand_in = spec.columns[key].instead
        if stand_in in here and key not in here:
            notes.append(f"{spec.columns[stand_in].label} stands in for {spec.columns[key].label}.")
    if not here:
        assert missing is not None
        raise missing
    return tuple(here), tuple(notes)


def _first_trained(spec: Spec) -> str:
    return next(key for key, run in spec.runs.items() if run.weights_of is None)


def _missing_images(config: RunConfig) -> MissingDataError | None:
    """What is missing, if anything; what can be fetched is fetched."""
    there = {source.name for source in list_sources() if source.present}
    if config.data.name in there and config.data.path is None:
        return None
    try:
        build_images(config, config.data.split)
    except MissingDataError as error:
        return error
    return None
