"""Items made for delivery, levels redrawn, units swept."""

import pytest
import torch
from tests.training.tiny import tiny_config

from hebm.build import build_model
from hebm.evaluation import (
    hierarchy_images,
    images_from_prior,
    latents_from_prior,
    partial_reconstructions,
    reconstructions,
    traverse_images,
)
from hebm.evaluation.chain_energy import energy_along_chain
from hebm.evaluation.generate import BLOCK
from hebm.models import JointModel


@pytest.fixture
def model() -> JointModel:
    """An untrained model of two levels whose energy is made strong enough to matter."""
    model = build_model(tiny_config("sampler.n_steps=10")).eval().requires_grad_(False)
    for parameter in model.prior.parameters():
        parameter.mul_(3.0)
    return model


def test_item_i_does_not_depend_on_how_many_are_asked_for(model: JointModel) -> None:
    """Bit-equal beginnings, across a block's end."""
    few, many = (torch.cat(list(images_from_prior(model, n, seed=1))) for n in (BLOCK + 3, 2 * BLOCK + 7))
    assert len(few) == BLOCK + 3
    assert torch.equal(few, many[: len(few)])


def test_blocks_differ_and_seeds_differ(model: JointModel) -> None:
    """No block repeats another's noise."""
    (top, _), (other, _) = latents_from_prior(model, 2 * BLOCK, seed=1)
    again = next(latents_from_prior(model, 5, seed=2))[0]
    assert not torch.equal(top, other)
    assert not torch.equal(top[:5], again)


def test_no_chain_steps_give_the_base_prior(model: JointModel) -> None:
    """n_steps = 0 is N(0, I): mean 0 and variance 1 within five standard errors."""
    flat = torch.cat([torch.cat(z, 1) for z in latents_from_prior(model, 4000, seed=0, n_steps=0)])
    n = flat.numel()
    assert abs(flat.mean().item()) < 5 / n**0.5
    assert abs(flat.var().item() - 1) < 5 * (2 / n) ** 0.5


@pytest.mark.parametrize("mode", ["conditional", "pasted"])
@pytest.mark.parametrize("level", [0, 1])
def test_only_the_named_level_is_redrawn(model: JointModel, mode: str, level: int) -> None:
    """Every decoded item keeps the other level; the first column is the held item itself."""
    seen: list[tuple[torch.Tensor, ...]] = []
    decode = model.decode
    model.decode = lambda latents: (seen.append(latents), decode(latents))[1]  # type: ignore[method-assign]
    images = hierarchy_images(model, level, n_items=3, n_draws=4, mode=mode, seed=0)  # type: ignore[arg-type]
    assert images.shape == (3 * 5, 1, 8, 8)
    redrawn, held = sorted((latents for latents in seen), key=lambda z: -len(z[0]))[:2]
    other = 1 - level
    assert torch.equal(redrawn[other], held[other].repeat_interleave(4, 0))
    assert not torch.isclose(redrawn[level], held[level].repeat_interleave(4, 0)).all(1).any()
    torch.testing.assert_close(images[::5], decode(held))


def test_pasted_codes_come_from_other_samples_of_the_joint_prior(model: JointModel) -> None:
    """The same pasted codes for every held item: the columns of a pasted grid share them."""
    seen: list[tuple[torch.Tensor, ...]] = []
    decode = model.decode
    model.decode = lambda latents: (seen.append(latents), decode(latents))[1]  # type: ignore[method-assign]
    hierarchy_images(model, 0, n_items=2, n_draws=3, mode="pasted", seed=0)
    redrawn = max(seen, key=lambda z: len(z[0]))[0]
    assert torch.equal(redrawn[:3], redrawn[3:])
    whole = torch.cat([z[0] for z in latents_from_prior(model, 5, seed=0)])
    assert torch.equal(redrawn[:3], whole[2:5])


def test_traversal_sweeps_one_unit_per_row(model: JointModel) -> None:
    """Row u, column v: unit u at value v, all else as in the held sample."""
    values = torch.tensor([-2.0, 0.0, 2.0])
    images = traverse_images(model, 1, values=values, seed=3, item=1)
    held = tuple(z[1:2] for z in next(latents_from_prior(model, 2, seed=3)))
    for unit in range(2):
        for column, value in enumerate(values):
            bottom = held[1].clone()
            bottom[0, unit] = value
            expected = model.decode((held[0], bottom))[0]
            torch.testing.assert_close(images[unit * 3 + column], expected)


def test_keeping_all_levels_is_the_plain_reconstruction(model: JointModel) -> None:
    """And keeping none forgets the image; keeping the top keeps the top's code."""
    x = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    plain = next(reconstructions(model, iter([x])))[1]
    torch.testing.assert_close(partial_reconstructions(model, x, n_kept=2, seed=0), plain)
    none_kept = partial_reconstructions(model, x, n_kept=0, seed=0)
    torch.testing.assert_close(none_kept, partial_reconstructions(model, x.flip(0), n_kept=0, seed=0))
    one_kept = partial_reconstructions(model, x, n_kept=1, seed=0)
    assert not torch.allclose(one_kept, partial_reconstructions(model, x.flip(0), n_kept=1, seed=0))


def test_energy_along_the_chain_starts_at_the_base_and_falls(model: JointModel) -> None:
    """Step 0 is the base prior's mean energy; chains go downhill; a Gaussian prior has no such curve."""
    x = torch.rand(10, 1, 8, 8)
    curve = energy_along_chain(model, x, n_steps=30, n_points=4, seed=0)
    assert curve is not None
    assert model.prior.energy is not None
    assert curve["step"] == [0, 10, 20, 30]
    base = torch.cat([torch.cat(z, 1) for z in latents_from_prior(model, 20_000, seed=5, n_steps=0)])
    energies = model.prior.energy(tuple(base.split(list(model.level_dims), 1)))
    assert abs(curve["mean"][0] - energies.mean().item()) < 5 * energies.std().item() / BLOCK**0.5
    assert curve["mean"][-1] < curve["mean"][0]
    twin = build_model(tiny_config("prior.kind=gaussian"))
    assert energy_along_chain(twin, x, n_steps=30, seed=0) is None
