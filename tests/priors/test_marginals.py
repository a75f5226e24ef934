"""Densities of some levels of a base, and draws weighted by the energy: what likelihood ratios of levels need."""

import pytest
import torch
from tests.priors.test_bases_contract import DTYPE, base_named
from torch import Tensor

from hebm.errors import LatentShapeError, UnsupportedError
from hebm.latents import Latents, flatten_latents, unflatten_latents
from hebm.priors import EnergyNetwork, JointPrior, base_of, weighted_draws_given
from hebm.randomness import CommonGenerator, standard_normal

DIMS = (1, 1, 1)
AXIS = torch.linspace(-12, 12, 121, dtype=DTYPE)
STEP = (AXIS[1] - AXIS[0]).item()
KEPT = [(0,), (1,), (2,), (0, 1), (0, 2), (2, 1)]


def points() -> Latents:
    flat = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=DTYPE)
    return unflatten_latents(flat, DIMS)


def integrated(name: str, latents: Latents, kept: tuple[int, ...]) -> Tensor:
    """log of the sum of p over a grid of the other levels."""
    prior, flat = base_named(name, DIMS), flatten_latents(latents)
    others = [i for i in range(3) if i not in kept]
    grid = torch.cartesian_prod(*[AXIS] * len(others)).view(-1, len(others))
    rows = flat.repeat_interleave(len(grid), 0)
    rows[:, others] = grid.repeat(len(flat), 1)
    values = prior.log_prob(unflatten_latents(rows, DIMS)).view(len(flat), -1)
    return values.logsumexp(1) + len(others) * torch.tensor(STEP).log()


@pytest.mark.parametrize("name", ["gaussian", "full_gaussian", "mixture", "vamp", "top_down"])
@pytest.mark.parametrize("kept", KEPT)
@torch.no_grad()
def test_a_marginal_is_the_density_with_the_other_levels_integrated_out(
    name: str, kept: tuple[int, ...]
) -> None:
    """By quadrature; what the other levels hold is not looked at."""
    z, prior = points(), base_named(name, DIMS)
    if name == "top_down" and kept not in ((0,), (0, 1)):
        with pytest.raises(UnsupportedError, match="uppermost levels in closed form"):
            prior.marginal_log_prob(z, kept)
        return
    values = prior.marginal_log_prob(z, kept)
    torch.testing.assert_close(values, integrated(name, z, kept), rtol=1e-3, atol=1e-3)
    elsewhere = tuple(part if level in kept else part + 3 for level, part in enumerate(z))
    torch.testing.assert_close(prior.marginal_log_prob(elsewhere, kept), values)


@pytest.mark.parametrize("name", ["gaussian", "full_gaussian", "mixture", "vamp", "top_down", "flow"])
@torch.no_grad()
def test_the_marginal_of_all_levels_is_the_density(name: str) -> None:
    """And no level, or one that does not exist, is refused; a flow has no other marginal."""
    z, prior = points(), base_named(name, DIMS)
    torch.testing.assert_close(prior.marginal_log_prob(z, [0, 1, 2]), prior.log_prob(z))
    for levels, message in [([], "at least one level"), ([3], r"levels \[3\] do not exist")]:
        with pytest.raises(LatentShapeError, match=message):
            prior.marginal_log_prob(z, levels)
    if name == "flow":
        with pytest.raises(UnsupportedError, match="no density of some levels"):
            prior.marginal_log_prob(z, [0, 1])


def tilted() -> JointPrior:
    torch.manual_seed(1)
    return JointPrior(base_named("mixture", DIMS), EnergyNetwork(DIMS, width=8, depth=1).double())


@torch.no_grad()
def test_weighted_draws_hold_levels_and_weigh_by_the_energy() -> None:
    """Rows of one item stand together; log-weights are -E of each draw; without an energy they are zero."""
    z, prior = points(), tilted()
    generator = torch.Generator().manual_seed(0)
    draws, log_weights = weighted_draws_given(prior, z, [2], 5, generator=generator)
    assert log_weights.shape == (4, 5)
    assert torch.equal(draws[0].view(4, 5), z[0].expand(4, 5))
    assert torch.equal(draws[1].view(4, 5), z[1].expand(4, 5))
    assert len(draws[2].unique()) == 20
    torch.testing.assert_close(log_weights.flatten(), -prior.energy(draws))
    _, plain = weighted_draws_given(base_of(prior), z, [2], 5, generator=generator)
    assert torch.equal(plain, torch.zeros(4, 5, dtype=DTYPE))


def test_the_base_of_a_prior_is_what_its_energy_tilts() -> None:
    """And a prior without an energy is its own."""
    prior = tilted()
    assert base_of(prior) is prior.base
    assert base_of(prior.base) is prior.base


def test_common_noise_is_the_same_for_every_item_and_any_precision() -> None:
    """Rows are items × copies; the second draw differs from the first; the dtype is the template's."""

    def noise(n_items: int, dtype: torch.dtype) -> list[Tensor]:
        source = CommonGenerator(torch.Generator().manual_seed(0), 3)
        like = torch.empty(3 * n_items, 2, dtype=dtype)
        return [standard_normal(like, source), standard_normal(like[:, 0], source)]

    many, one, single = noise(4, DTYPE), noise(1, DTYPE), noise(4, torch.float32)
    for a, b, c in zip(many, one, single, strict=True):
        assert torch.equal(a, torch.cat([b] * 4))
        assert c.dtype == torch.float32
        assert torch.equal(a.float(), c)
    assert len(torch.cat([many[0].flatten(), many[1]]).unique()) == 9


@pytest.mark.parametrize("name", ["gaussian", "full_gaussian", "mixture", "vamp", "top_down"])
@torch.no_grad()
def test_conditional_draws_by_common_noise_do_not_depend_on_the_other_items(name: str) -> None:
    """The draws of an item alone are those it gets in a batch."""
    z, prior = points(), base_named(name, DIMS)

    def draws(rows: slice) -> Tensor:
        source = CommonGenerator(torch.Generator().manual_seed(0), 6)
        return weighted_draws_given(prior, tuple(p[rows] for p in z), [2], 6, generator=source)[0][2].view(
            -1, 6
        )

    torch.testing.assert_close(draws(slice(0, 4))[2:3], draws(slice(2, 3)))
