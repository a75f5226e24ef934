"""The energy along a prior's chain: what samples of that many steps have, whatever moves the chains."""

import pytest
import torch
from tests.training.tiny import tiny_config

from hebm.build import build_model
from hebm.evaluation.chain_energy import energy_along_chain
from hebm.evaluation.generate import BLOCK, latents_from_prior
from hebm.models import JointModel
from hebm.priors import EnergyNetwork

SAMPLERS = {
    "langevin": ("prior.kind=joint",),
    "white": ("prior.kind=joint", "prior.base=top_down"),
    "metropolis": ("prior.kind=joint", "sampler.kind=metropolis", "sampler.step_size=0.0005"),
    "independence": ("prior.kind=joint", "sampler.kind=independence"),
    "recovery": (
        "prior.kind=recovery",
        "prior.noise_levels=[0.5, 0.9]",
        "trainer.energy_only_steps=1",
        "sampler.step_size=0.3",
    ),
}


def tilted_model(name: str) -> JointModel:
    """Untrained, but for energies that pull the chains away from the base."""
    torch.manual_seed(0)
    model = build_model(tiny_config(*SAMPLERS[name])).eval().requires_grad_(False)
    for net in model.prior.modules():  # type: ignore[attr-defined]
        if isinstance(net, EnergyNetwork):
            net.spread.fill_(0.15)
            for weight in net.parameters():
                weight.mul_(2.0)
    return model


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_length_has_the_energy_of_samples_of_that_many_steps(name: str) -> None:
    """Mean and deviation, within five standard errors of independent samples; the beginning is the base's."""
    model = tilted_model(name)
    curve = energy_along_chain(model, torch.rand(4, 1, 8, 8), n_steps=24, n_points=5, seed=0)
    assert curve is not None
    assert curve["step"] == [0, 6, 12, 18, 24]
    for index in (0, 2, 4):
        n_steps = curve["step"][index]
        drawn = latents_from_prior(model, 2000, seed=1, n_steps=n_steps)
        energies = torch.cat([model.prior.energy(z) for z in drawn])  # type: ignore[misc]
        error = 5 * energies.std().item() * (1 / BLOCK + 1 / 2000) ** 0.5
        assert abs(curve["mean"][index] - energies.mean().item()) < error, n_steps
        assert curve["sd"][index] == pytest.approx(
            energies.std().item(), rel=0.35
        )  # 7 errors of a Gaussian's
    assert abs(curve["mean"][-1] - curve["mean"][0]) > 5 * (curve["sd"][0] / BLOCK**0.5)


@pytest.mark.parametrize("name", SAMPLERS)
def test_how_often_chains_are_looked_at_changes_nothing(name: str) -> None:
    """A sampler that tunes itself, or goes through noise levels, is not begun anew at every look."""
    model, x = tilted_model(name), torch.rand(4, 1, 8, 8)
    often, once = (energy_along_chain(model, x, n_steps=24, n_points=n, seed=0) for n in (5, 2))
    assert often is not None
    assert once is not None
    assert once["step"] == [0, 24]
    for key in ("mean", "sd"):
        assert once[key] == pytest.approx([often[key][0], often[key][-1]], rel=1e-5)
    assert (once["posterior_mean"], once["posterior_sd"]) == (often["posterior_mean"], often["posterior_sd"])
