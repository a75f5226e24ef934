"""A suite that costs nothing, for reproductions of the toy."""

from typing import Any

import pytest

from hebm.evaluation import SUITES


def toy_suite(model: Any, config: Any, *, seed: int) -> dict[str, Any]:
    """Numbers that tell who was evaluated under which seed."""
    has_energy = model.prior.energy is not None
    weight = float(next(model.encoder.parameters()).detach().sum())
    return {"good": [0.5 + 0.25 * has_energy + seed / 100], "bad": weight, "steps": config.sampler.n_steps}


@pytest.fixture(autouse=True)
def _toy_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUITES, "toy", toy_suite)
