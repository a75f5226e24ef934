"""A specification small enough for tests: two runs and a derived one on the embedded digits."""

from collections.abc import Iterable
from typing import Any

from hebm.reproduce.cells import Record
from hebm.reproduce.spec import Spec, parse_spec

__all__ = ["TEXT", "found", "toy_spec"]

TEXT = """
title: A toy
paper: "Nowhere."
protocol: none
traps: ["beware of | bars"]
verdict: none
suites: [toy]
runs:
  joint: {label: with energy, overrides: [prior.kind=importance, prior.base=mixture]}
  gaussian: {label: twin, weights_of: joint, overrides: [prior.kind=gaussian]}
  other: {label: other, overrides: [prior.kind=gaussian, prior.base=standard]}
columns:
  digits: {label: digits}
  fashion: {label: Fashion-MNIST, preset: fashion_mnist, instead: digits, overrides: [data.download=false]}
measures:
  good: {label: goodness, path: "toy.{what}.0", higher_is_better: true}
  bad: {label: badness, path: toy.bad, higher_is_better: false}
rows:
  - {key: joint, label: with energy, run: joint, fields: {what: good}, control: gaussian}
  - {key: gaussian, label: twin, run: gaussian, fields: {what: good}}
  - {key: other, label: other, run: other, fields: {what: good}, measures: [bad]}
published:
  - {label: ours, measure: good, row: joint, values: {digits: 0.5, fashion: 0.9}}
  - {label: theirs, measure: good, note: copied, values: {digits: 0.25}}
sizes:
  smoke: {preset: digits, seeds: 1, columns: [digits], cost: seconds}
  small:
    preset: digits
    seeds: 3
    columns: [digits, fashion]
    runs: [joint, gaussian, other]
    overrides: [prior.width=16]
    run_overrides: {other: [data.limit=100]}
    cost: minutes
"""


def toy_spec(**changes: object) -> Spec:
    """The toy with other values of some keys."""
    return Spec.model_validate({**parse_spec(TEXT, "toy").model_dump(), **changes})


def found(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Results of every record, without the cost, which is another in every training."""
    return [{suite: r for suite, r in record["results"].items() if suite != "cost"} for record in records]
