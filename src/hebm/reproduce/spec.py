"""What a table or figure of the paper consists of, read from YAML shipped with the package.

A specification names *runs* (what is trained, as overrides of a preset), *columns* (data sets, held-out digits),
*measures* (where a number stands in a suite's results) and *rows* (a run seen through one choice of fields). A cell is
a run in a column under a seed. Sizes differ in preset, overrides, seeds, and in which runs and columns they have.
"""

import difflib
from collections.abc import Collection
from importlib.resources import files
from typing import Annotated, Self

import yaml
from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from hebm.config import Config, preset_names
from hebm.errors import ConfigError

__all__ = [
    "Column",
    "Measure",
    "Published",
    "Row",
    "RunSpec",
    "Size",
    "Spec",
    "load_spec",
    "parse_spec",
    "spec_names",
]

Overrides = tuple[str, ...]
DERIVED_KEYS = ("sampler.", "evaluation.")
GAUSSIAN = "prior.kind=gaussian"
SMOKE = "smoke"


def _as_tuple(value: object) -> object:
    """One key may stand without brackets."""
    return (value,) if isinstance(value, str) else value


class RunSpec(Config):
    """One thing that is trained, or one that takes the weights of another."""

    label: str
    overrides: Overrides = ()
    weights_of: str | None = None
    """Nothing is trained: the weights of this run, under other `sampler.*` or `evaluation.*` values, or with N(0, I) as
    prior (`prior.kind=gaussian`), which is the Gaussian twin where the prior was learned on nets at rest."""
    suites: tuple[str, ...] | None = None
    """What is evaluated of it; the specification's suites if null."""


class Column(Config):
    """One data set, or one part of it."""

    label: str
    preset: str | None = None
    """The size's preset if null."""
    overrides: Overrides = ()
    run_overrides: dict[str, Overrides] = Field(default_factory=dict)
    """Further overrides of single runs, such as the latents of one level that are as many as this column's in all."""
    instead: str | None = None
    """Another column, which is run where this one's images are missing."""


class Measure(Config):
    """One number of the results."""

    label: str
    path: str
    """`suite.field.field`, or `cost.field`; list items by number; `{name}` is filled in from the row's `fields`."""
    higher_is_better: bool | None = None
    decides: bool = True
    """Whether findings speak of it; other measures are in the tables for information."""
    digits: NonNegativeInt = 3


class Row(Config):
    """One line of the table."""

    key: str
    label: str
    run: str
    fields: dict[str, str] = Field(default_factory=dict)
    control: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Key of the row that this one is compared with, seed by seed, or a list of them."""
    measures: tuple[str, ...] | None = None
    """The measures it has; all if null."""
    sizes: tuple[str, ...] | None = None
    """The sizes it has numbers in; all if null."""


class Published(Config):
    """Numbers of the paper, never ours."""

    label: str
    measure: str
    values: dict[str, float]
    """By column."""
    sd: dict[str, float] = Field(default_factory=dict)
    row: str | None = None
    """Key of our row that it stands beside; a row of its own alone if null."""
    also: tuple[str, ...] = ()
    """Keys of further rows of ours that are measured against it, such as the declared one."""
    note: str = ""

    @property
    def rows(self) -> tuple[str, ...]:
        """Keys of all rows of ours that are measured against it."""
        return (*([self.row] if self.row else []), *self.also)


class Size(Config):
    """How large a reproduction is."""

    preset: str
    seeds: PositiveInt
    columns: Annotated[tuple[str, ...], Field(min_length=1)]
    runs: tuple[str, ...] | None = None
    """The runs it has; all if null."""
    overrides: Overrides = ()
    run_overrides: dict[str, Overrides] = Field(default_factory=dict)
    """Further overrides of single runs."""
    cost: str


class Spec(Config):
    """One name of ``hebm reproduce``."""

    name: str
    title: str
    paper: str
    """What of the paper it is, and where the published numbers were read."""
    protocol: str
    traps: tuple[str, ...] = ()
    """What went wrong, or may have, in published comparisons, and what is done about it here."""
    verdict: str
    """What the numbers can and cannot decide."""
    suites: Annotated[tuple[str, ...], Field(min_length=1)]
    runs: Annotated[dict[str, RunSpec], Field(min_length=1)]
    columns: Annotated[dict[str, Column], Field(min_length=1)]
    measures: Annotated[dict[str, Measure], Field(min_length=1)]
    rows: tuple[Row, ...] = ()
    """One per run, without control, if none are given."""
    published: tuple[Published, ...] = ()
    sizes: Annotated[dict[str, Size], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        keys = {row.key for row in self.all_rows}
        for where, name, known in self._references(keys):
            if name not in known:
                raise ValueError(f"{where} names {name!r}, which is not among {', '.join(known)}.")
        if len(keys) < len(self.all_rows):
            raise ValueError("two rows have the same key.")
        return self

    @model_validator(mode="after")
    def _derived_runs_need_no_training(self) -> Self:
        for key, run in self.runs.items():
            changed = [text for text in run.overrides if not text.startswith(DERIVED_KEYS)]
            if run.weights_of is not None and (
                set(changed) - {GAUSSIAN} or self.runs[run.weights_of].weights_of
            ):
                raise ValueError(
                    f"runs.{key} takes the weights of {run.weights_of!r}: that one has to be trained, and only "
                    f"sampler.*, evaluation.* and {GAUSSIAN} can differ, not {changed}."
                )
        return self

    def _references(self, rows: Collection[str]) -> list[tuple[str, str, Collection[str]]]:
        found: list[tuple[str, str, Collection[str]]] = []
        for key, run in self.runs.items():
            found += [(f"runs.{key}.weights_of", name, self.runs) for name in [run.weights_of] if name]
        for key, column in self.columns.items():
            found += [(f"columns.{key}.instead", name, self.columns) for name in [column.instead] if name]
            found += [(f"columns.{key}.run_overrides", name, self.runs) for name in column.run_overrides]
        for row in self.all_rows:
            found += [(f"the row {row.key}", row.run, self.runs)]
            found += [(f"the control of {row.key}", name, rows) for name in row.control]
            found += [(f"the row {row.key}", name, self.measures) for name in row.measures or ()]
            found += [(f"the row {row.key}", name, self.sizes) for name in row.sizes or ()]
        for published in self.published:
            found += [(f"published {published.label}", published.measure, self.measures)]
            found += [(f"published {published.label}", name, self.columns) for name in published.values]
            found += [(f"published {published.label}", name, rows) for name in published.rows]
        for key, size in self.sizes.items():
            found += [(f"sizes.{key}", name, self.columns) for name in size.columns]
            found += [(f"sizes.{key}", name, self.runs) for name in (*(size.runs or ()), *size.run_overrides)]
            found += [(f"sizes.{key}.preset", size.preset, preset_names())]
        found += [
            (f"columns.{k}.preset", c.preset, preset_names()) for k, c in self.columns.items() if c.preset
        ]
        return found

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The rows, or one per run."""
        return self.rows or tuple(Row(key=key, label=run.label, run=key) for key, run in self.runs.items())

    def sized(self, name: str) -> Size:
        """One size; whatever is called smoke is as small as ``smoke.yaml`` says, before its own overrides.

        Raises:
            ConfigError: If there is none of that name.
        """
        if name not in self.sizes:
            raise ConfigError(f"{self.name} has no size {name!r}; choose from {', '.join(self.sizes)}.")
        size = self.sizes[name]
        if name != SMOKE:
            return size
        shared = yaml.safe_load((files("hebm.reproduce") / "smoke.yaml").read_text(encoding="utf-8"))
        return size.model_copy(update={"overrides": (*shared["overrides"], *size.overrides)})


def spec_names() -> list[str]:
    """Everything ``hebm reproduce`` knows by name."""
    folder = files("hebm.reproduce") / "specs"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def load_spec(name: str) -> Spec:
    """Read a specification shipped with the package.

    Raises:
        ConfigError: If there is none of that name (the nearest one is named), or it is wrong.
    """
    if name not in spec_names():
        near = difflib.get_close_matches(name, spec_names(), n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(
            f"there is nothing called {name!r} to reproduce; {hint}known: {', '.join(spec_names())}."
        )
    return parse_spec((files("hebm.reproduce") / "specs" / f"{name}.yaml").read_text(encoding="utf-8"), name)


def parse_spec(text: str, name: str) -> Spec:
    """Check the YAML text of a specification.

    Raises:
        ConfigError: If it is not valid; the message says where.
    """
    try:
        return Spec.model_validate({"name": name, **yaml.safe_load(text)})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ConfigError(f"the specification {name}: {where}: {first['msg']}") from None
    except (yaml.YAMLError, TypeError) as error:
        raise ConfigError(f"the specification {name} is not a YAML mapping: {error}") from error
