"""Steps on a GPU do not wait for it: nothing that a step computes is read on the host before the next log line."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from tiny import tiny_config
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import hebm
from hebm.build import build_model
from hebm.learners import updates
from hebm.priors import EnergyNetwork
from hebm.training.state import TrainingState
from hebm.training.step import TrainingStep


class Reads(TorchDispatchMode):
    """Notes what hands a tensor's value to Python: on a GPU each would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        if name.startswith(("aten._local_scalar_dense", "aten.nonzero", "aten.equal")):
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at once."""
    for module in ("hebm.learners.updates", "hebm.learners.likelihood", "hebm.build_prior"):
        monkeypatch.setattr(f"{module}.looks_at_once", lambda _: False)


def one_step(*overrides: str, device: str = "cpu") -> Any:
    config = tiny_config(*overrides)
    state = TrainingState(config, build_model(config).to(device))
    step = TrainingStep(config, state, Fabric(accelerator=device, devices=1, precision="32-true"))
    x = torch.rand(20, 1, 8, 8).to(device)

    def run() -> None:
        state.means.add(step(x, kl_weight=1.0, learns_prior=True))
        state.ema.update(state.model, 0.99)

    return run


def test_on_a_cpu_numbers_are_looked_at_on_a_gpu_they_are_not() -> None:
    """Looking is free there alone."""
    assert updates.looks_at_once(torch.zeros(1))
    assert not updates.looks_at_once(torch.zeros(1, device="meta"))


KINDS = [
    ("prior.kind=joint",),
    ("prior.kind=joint", "sampler.path=reference"),
    ("prior.kind=joint", "prior.coupling=per_level", "prior.lipschitz=1"),
    ("prior.kind=persistent",),
    ("prior.kind=flow", "prior.training=joint"),
    ("prior.kind=recovery", "prior.training=joint"),
]


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("overrides", KINDS, ids=lambda texts: " ".join(texts))
def test_no_step_reads_a_number(overrides: tuple[str, ...]) -> None:
    """Nets, chains, energy, averages and running means; the first step sets up optimisers."""
    run = one_step(*overrides)
    run()
    with Reads() as reads:
        run()
    assert reads.found == []


def test_on_a_cpu_chains_and_gradient_are_looked_at() -> None:
    """What the test above would find: two looks at the chains, one at the gradient."""
    run = one_step()
    run()
    with Reads() as reads:
        run()
    assert reads.found == ["aten._local_scalar_dense.default"] * 3


@pytest.mark.gpu
def test_no_step_waits_for_a_gpu() -> None:
    """CUDA itself says so."""
    run = one_step(device="cuda")
    run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("as_on_a_gpu")
def test_an_update_that_is_not_finite_moves_nothing() -> None:
    """The norm tells; the next finite update goes on as if nothing had been."""
    weight, alone = (nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer, other = (torch.optim.Adam([p], lr=0.1, fused=True) for p in (weight, alone))
    for factor in (1.0, math.nan, 2.0):
        norm = updates.descend((weight.square() * factor).sum(), optimizer, max_norm=None)
        assert math.isnan(norm) == math.isnan(factor)
        if not math.isnan(factor):
            updates.descend((alone.square() * factor).sum(), other, max_norm=None)
    torch.testing.assert_close(weight, alone, rtol=0, atol=0)
    assert (weight < 1).all()


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_log_line_finds_it_and_training_rolls_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An energy that once is not a number: no error in the step, a rollback at the log line, a run that ends well."""
    forward, calls = EnergyNetwork.forward, 0

    def once_not_a_number(self: EnergyNetwork, latents: tuple[Tensor, ...]) -> Tensor:
        nonlocal calls
        calls += 1
        return forward(self, latents) * (math.nan if calls == 25 else 1.0)

    monkeypatch.setattr(EnergyNetwork, "forward", once_not_a_number)
    config = tiny_config("detection.calibrate_after_training=false")
    run = hebm.train(config, run_dir=tmp_path / "run", device="cpu")
    records = [json.loads(line) for line in run.metrics_file.read_text().splitlines()]
    events = [(record["event"], record.get("reason")) for record in records if "event" in record]
    assert events[:2] == [("diverged", "energy_data is not finite"), ("rollback", None)]
    assert len(events) == 2
    assert records[-1]["step"] == 30
    assert all(math.isfinite(r["energy_data"]) for r in records if "energy_data" in r)
