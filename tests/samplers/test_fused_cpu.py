"""The fused step against the reference step, and the choice among paths."""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hebm.errors import LatentShapeError, NonFiniteError, UnsupportedError
from hebm.latents import Latents, flatten_latents
from hebm.nn import ACTIVATIONS, activation_named
from hebm.priors import EnergyNetwork, GaussianPrior, JointPrior, MixturePrior, StagedEnergy
from hebm.randomness import CommonGenerator, NoiseSource, ShardedGenerator
from hebm.samplers import ShortRunLangevin
from hebm.samplers.kernels import Target, choose_path, cpu, path, recognise, run_fused

pytestmark = pytest.mark.usefixtures("on_device")
Seeded = Callable[[int], torch.Generator]
DIMS = (3, 2, 4)


def energy(**options: object) -> EnergyNetwork:
    """An energy with biases and slopes large enough to matter."""
    network = EnergyNetwork(DIMS, **{"width": 12, "depth": 2, **options})  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter))
    return network


def prior(network: nn.Module | None = None, dtype: torch.dtype = torch.float64) -> JointPrior:
    torch.manual_seed(0)
    return JointPrior(GaussianPrior(DIMS), energy() if network is None else network).to(dtype)


def start(n: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> Latents:
    return GaussianPrior(DIMS).sample_base(n, like=torch.empty(0, dtype=dtype), generator=generator)


def both(
    joint: JointPrior,
    initial: Latents,
    source: Callable[[], NoiseSource],
    *,
    clamped: tuple[int, ...] = (),
    temperature: float = 1.0,
    n_steps: int = 60,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Positions and traces of the fused and of the reference path, on the same noise."""
    sampler = ShortRunLangevin(n_steps, temperature=temperature)
    ends = [
        replace(sampler, path=name)(joint.density(), initial, clamped=clamped, generator=source())
        for name in ("fused", "reference")
    ]
    (fused, reference) = [(flatten_latents(end.latents), end.log_density) for end in ends]
    return fused, reference


def assert_same_chain(fused: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> None:
    tolerance = 1e-12 if reference[0].dtype == torch.float64 else 1e-4
    for a, b in zip(fused, reference, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_fused_chain_is_the_reference_chain(activation: str, dtype: torch.dtype, seeded: Seeded) -> None:
    """After 60 steps, positions and every log-density of the trace: 1e-12 in float64, 1e-4 in float32."""
    torch.manual_seed(1)
    joint = prior(energy(activation=activation), dtype)
    assert_same_chain(*both(joint, start(7, seeded(0), dtype), lambda: seeded(1)))


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_any_depth(depth: int, seeded: Seeded) -> None:
    """One to four hidden layers; two is the other tests' case."""
    torch.manual_seed(depth)
    assert_same_chain(*both(prior(energy(depth=depth)), start(5, seeded(0)), lambda: seeded(1)))


@pytest.mark.parametrize("coupling", ["joint", "per_level"])
@pytest.mark.parametrize("clamped", [(), (1,), (0, 2)])
def test_levels_coupled_or_not_and_clamped_or_not(
    coupling: str, clamped: tuple[int, ...], seeded: Seeded
) -> None:
    """Clamped levels keep their values to the bit."""
    torch.manual_seed(2)
    initial = start(6, seeded(0))
    fused, reference = both(
        prior(energy(coupling=coupling)), initial, lambda: seeded(1), clamped=clamped, n_steps=20
    )
    assert_same_chain(fused, reference)
    ends = torch.split(fused[0], DIMS, dim=1)
    assert all(torch.equal(ends[level], initial[level]) for level in clamped)


def test_stages_with_their_constants(seeded: Seeded) -> None:
    """A sum of two energies over all levels, each with a learned constant."""
    torch.manual_seed(3)
    staged = StagedEnergy([energy(), energy()])
    staged.n_active.fill_(2)
    with torch.no_grad():
        for constant in staged.constants:
            constant.fill_(0.7)
    assert_same_chain(*both(prior(staged), start(5, seeded(0)), lambda: seeded(1)))


def test_input_units_and_a_lipschitz_bound(seeded: Seeded) -> None:
    """What is folded into the weights, a standardisation or a spectral norm, is folded here too."""
    torch.manual_seed(4)
    free, bounded = energy(), energy(lipschitz=2.0)
    free.standardise_(3 + 2 * torch.randn(50, sum(DIMS)))
    for network in (free, bounded):
        assert_same_chain(*both(prior(network), start(5, seeded(0)), lambda: seeded(1)))


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_temperature(temperature: float, seeded: Seeded) -> None:
    """0 is ascent, with the same ascent on both paths."""
    assert_same_chain(*both(prior(), start(5, seeded(0)), lambda: seeded(1), temperature=temperature))


def test_rows_in_tiles_are_the_same_rows(seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> None:
    """11 chains in tiles of 4, 4 and 3."""
    initial = start(11, seeded(0))
    monkeypatch.setattr(cpu, "TILE_ROWS", 4)
    assert_same_chain(*both(prior(), initial, lambda: seeded(1)))


def test_every_source_of_noise(seeded: Seeded) -> None:
    """Shards of a stream, and common draws, as the reference path draws them."""
    sources: list[Callable[[], NoiseSource]] = [
        lambda: ShardedGenerator(seeded(1), 1, 3),
        lambda: CommonGenerator(seeded(1), 2),
    ]
    for source in sources:
        assert_same_chain(*both(prior(), start(6, seeded(0)), source))


def test_the_generator_ends_in_the_same_state(seeded: Seeded) -> None:
    """Whoever draws next gets the same numbers after either path; the global stream is untouched."""
    generators, before = [], torch.random.get_rng_state()

    def source() -> torch.Generator:
        generators.append(seeded(1))
        return generators[-1]

    initial = start(5, seeded(0))
    sampler_before = torch.random.get_rng_state()
    both_density = prior().density()
    torch.random.set_rng_state(sampler_before)
    for name in ("fused", "reference"):
        ShortRunLangevin(7, path=name)(both_density, initial, generator=source())
    assert torch.equal(generators[0].get_state(), generators[1].get_state())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_start_and_the_energy_stay_as_they_are(seeded: Seeded) -> None:
    """Positions are not written to, no parameter or gradient moves, no graph is kept."""
    joint, initial = prior(energy(lipschitz=2.0)), start(5, seeded(0))
    copies, state = [z.clone() for z in initial], {k: v.clone() for k, v in joint.state_dict().items()}
    for one_level in (initial, (flatten_latents(initial),)):  # the second needs no copy to be flat
        end = ShortRunLangevin(9, path="fused")(joint.density(), one_level, generator=seeded(1))
        assert not end.latents[0].requires_grad
    flat = flatten_latents(initial)
    target = recognise(joint.density())
    assert isinstance(target, Target)
    end_flat, _ = run_fused(
        target, flat, n_steps=9, step_size=0.08, temperature=1.0, generator=seeded(1), free=None
    )
    assert torch.equal(end_flat, flatten_latents(end.latents))
    assert torch.equal(flat, flatten_latents(initial))
    assert all(torch.equal(a, b) for a, b in zip(copies, initial, strict=True))
    assert all(torch.equal(state[name], tensor) for name, tensor in joint.state_dict().items())
    assert all(p.grad is None for p in joint.parameters())


def test_no_steps(seeded: Seeded) -> None:
    """The start comes back, with an empty trace."""
    initial = start(3, seeded(0))
    end = ShortRunLangevin(0, path="fused")(prior().density(), initial)
    assert torch.equal(flatten_latents(end.latents), flatten_latents(initial))
    assert end.log_density.shape == (0, 3)


def test_lost_chains_stop_on_the_fused_path_too(seeded: Seeded) -> None:
    """A step that is far too large, and a level that does not exist."""
    with pytest.raises(NonFiniteError, match=r"lower `sampler\.step_size`"):
        ShortRunLangevin(2000, step_size=50.0, path="fused")(prior().density(), start(3, seeded(0)))
    with pytest.raises(LatentShapeError, match="levels 0"):
        ShortRunLangevin(path="fused")(prior().density(), start(2, seeded(0)), clamped=[3])


class Quartic:
    """A density that no fused path knows."""

    def __call__(self, latents: Latents) -> Tensor:
        return -latents[0].square().square().sum(1)


def test_other_targets_fall_back_to_the_reference_path(
    seeded: Seeded, caplog: pytest.LogCaptureFixture
) -> None:
    """With the same results as when it is asked for, and the reason said once."""
    path._say_once.cache_clear()
    initial = start(4, seeded(0))
    with caplog.at_level(logging.INFO, logger="hebm"):
        ends = [
            ShortRunLangevin(5, 0.01, path=name)(Quartic(), initial, generator=seeded(1)).latents
            for name in ("auto", "auto", "reference")
        ]
    assert all(torch.equal(flatten_latents(ends[0]), flatten_latents(end)) for end in ends)
    assert [r.message for r in caplog.records] == [
        f"Langevin chains on {initial[0].device}: path 'reference' (the target (Quartic) is not a base tilted by "
        "plain networks)"
    ]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Quartic(), "Quartic"),
        (lambda: JointPrior(MixturePrior(DIMS, 2), energy()).density(), "not N"),
        (lambda: prior(energy(depth=0)).density(), "linear"),
    ],
)
def test_a_path_asked_for_by_name_is_taken_or_refused(make: Callable[[], object], reason: str) -> None:
    """The reason is in the message; the reference path takes anything."""
    with pytest.raises(UnsupportedError, match=reason):
        choose_path("fused", make(), torch.zeros(2, 9))
    assert choose_path("reference", make(), torch.zeros(2, 9)) == ("reference", None)


def test_hidden_layers_of_different_widths_fall_back() -> None:
    """The fused sweep keeps one width."""
    density = prior().density()
    network = density.energy.networks[0]
    weights = (network.weights[0], torch.zeros(5, 12), torch.zeros(1, 5))
    uneven = replace(density, energy=replace(density.energy, networks=(replace(network, weights=weights),)))
    assert recognise(uneven) == "the energy's hidden layers differ in width"


def test_the_path_is_said_in_one_line(seeded: Seeded, caplog: pytest.LogCaptureFixture) -> None:
    """Once per process, whatever the number of chains."""
    path._say_once.cache_clear()
    with caplog.at_level(logging.INFO, logger="hebm"):
        for _ in range(3):
            ShortRunLangevin(1)(prior().density(), start(2, seeded(0)))
    (record,) = caplog.records
    assert "path 'fused'" in record.message or "path 'triton'" in record.message


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_into_memory_are_the_activations(name: str) -> None:
    """The function and its backward map, written where they are told, give the same bits."""
    activation = activation_named(name)
    a = torch.linspace(-25, 25, 41, dtype=torch.float64)
    g, out, back = torch.linspace(1, 2, 41, dtype=torch.float64), torch.empty_like(a), torch.empty_like(a)
    activation.forward_into(a, out)
    activation.backward_into(g, out if activation.keeps_output else a, back)
    assert torch.equal(out, activation.forward(a))
    assert torch.equal(back, activation.backward(g, a))
