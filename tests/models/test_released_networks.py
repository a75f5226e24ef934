"""Our networks are the released ones: parameter counts, shapes, and values layer by layer."""

import pytest
import released_networks as released
import torch
from torch import Tensor

from hebm.models import LadderEncoder, LadderGenerator, LadderGeometry, LevelShape, make_likelihood
from hebm.priors import EnergyNetwork

SAMPLING_LEVELS = [(10, 256), (2, 64), (2, 64), (2, 32)]
FID_LEVELS = [(10, 1024), (10, 512), (10, 256), (10, 256), (10, 128)]


def networks(
    levels: list[tuple[int, int]], merge: str, top_width: int
) -> tuple[LadderGenerator, LadderEncoder]:
    geometry = LadderGeometry((3, 32, 32), [LevelShape(*level) for level in levels])
    likelihood = make_likelihood("gaussian", 3, 0.4)
    return LadderGenerator(geometry, likelihood, merge=merge, top_width=top_width), LadderEncoder(geometry)


def fid_networks(k: int = 1) -> tuple[LadderGenerator, LadderEncoder]:
    return networks([(d, c // k) for d, c in FID_LEVELS], "concat", 2048 // k)


def released_dense(names: list[str], ours: list[str], w: released.Weights) -> released.Weights:
    return {
        f"{our}.{part}": w[f"{name}.{part}"]
        for name, our in zip(names, ours, strict=True)
        for part in ("weight", "bias")
    }


def sampling_generator_state(w: released.Weights) -> released.Weights:
    names = ["gen3.0", "gen3.2", "gen3.4", "latent2_act.0", "latent1_act.0", "latent0_act.0", "gen2.0"]
    ours = [*(f"ladder.top.{i}" for i in range(3)), *(f"ladder.joins.{i}" for i in range(3)), "ladder.unfold"]
    kernels = {"widening": ("gen2.3", "gen1.0", "gen0.0"), "mixing": ("gen2.5", "gen1.2", "gen0.2")}
    return released_dense(names, ours, w) | {
        f"ladder.{kind}.{i}.weight": w[f"{name}.weight"]
        for kind, names in kernels.items()
        for i, name in enumerate(names)
    }


def fid_generator_state(w: released.Weights) -> released.Weights:
    names = [*(f"gen4.{i}" for i in (0, 2, 4)), *(f"latent{level}_act.0" for level in (3, 2, 1, 0))]
    ours = [*(f"ladder.top.{i}" for i in range(3)), *(f"ladder.joins.{i}" for i in range(4))]
    blocks = {
        f"ladder.blocks.{i}.{j}.weight": w[f"gen{3 - i}.{2 * j}.weight"] for i in range(4) for j in range(3)
    }
    return released_dense(names, ours, w) | blocks | {"ladder.last.weight": w["gen0.6.weight"]}


def encoder_state(w: released.Weights, top: int) -> released.Weights:
    names, ours = [f"ladder{top}.1.lin", f"ladder{top}.2.lin"], ["top.0", "top.1"]
    for level in range(top + 1):
        names += [f"ladder{level}_mean", f"ladder{level}_logvar"]
        ours += [f"heads.{level}.mean", f"heads.{level}.log_variance"]
    state = released_dense(names, ours, w)
    for i in range(top):
        trunk, ladder = w[f"inference{i}.0.convT.weight"], w[f"ladder{i}.0.convT.weight"]
        state[f"blocks.{i}.first.weight"] = torch.cat([trunk, ladder])
        state[f"blocks.{i}.trunk.weight"] = w[f"inference{i}.1.convT.weight"]
        state[f"blocks.{i}.ladder.weight"] = w[f"ladder{i}.1.convT.weight"]
    return state


def energy_state(w: released.Weights, level_dims: list[int], depth: int) -> released.Weights:
    """Ours reads the levels top first and is E = -f: columns in the other order, the last layer negated."""
    columns = torch.cat(list(reversed(torch.arange(sum(level_dims)).split(level_dims))))
    n = sum(level_dims)
    state = {
        "centre": torch.zeros(n),
        "spread": torch.ones(n),
    }  # the released energy sees the latents as they are
    for i, name in enumerate([*(f"energy.fc{i + 1}" for i in range(depth)), "energy.out"]):
        weight, bias, u, v = (w[f"{name}.{part}"] for part in ("weight_orig", "bias", "weight_u", "weight_v"))
        if i == 0:
            weight, v = weight[:, columns], v[columns]
        if i == depth:
            weight, bias, u = -weight, -bias, -u
        ours = f"networks.0.layers.{i}"
        state |= {f"{ours}.bias": bias, f"{ours}.parametrizations.weight.original": weight}
        state |= {f"{ours}.parametrizations.weight.0._u": u, f"{ours}.parametrizations.weight.0._v": v}
    return state


def n_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def draws(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same_posterior(ours: LadderEncoder, w: released.Weights, top: int) -> None:
    y = draws((2, 3, 32, 32), 1).tanh()
    posterior = ours(y)
    for level, (mean, log_variance) in enumerate(released.encoder(w, y, top)):
        q = posterior[top - level]
        torch.testing.assert_close(q.mean, mean, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(q.scale.square(), log_variance.exp() + 1e-6, rtol=1e-10, atol=1e-12)


def test_the_sampling_networks_have_the_released_parameter_counts() -> None:
    """392,288 in the generator, 752,160 in the encoder, 8,551 in the energy."""
    with torch.device("meta"):
        generator, encoder = networks(SAMPLING_LEVELS, "add", 256)
        energy = EnergyNetwork((10, 2, 2, 2), width=50, depth=4, lipschitz=1.0)
    assert n_parameters(generator) == 392_288
    assert n_parameters(encoder) == 752_160
    assert n_parameters(energy) == 8_551


def test_the_fid_networks_have_the_released_parameter_counts() -> None:
    """55,348,608 in the generator, 18,999,396 in the encoder, 15,301 in the energy."""
    with torch.device("meta"):
        generator, encoder = fid_networks()
        energy = EnergyNetwork((10,) * 5, width=100, depth=2, lipschitz=1.0)
    assert n_parameters(generator) == 55_348_608
    assert n_parameters(encoder) == 18_999_396
    assert n_parameters(energy) == 15_301


def test_the_fid_networks_have_the_released_shapes() -> None:
    """Every weight of the full-width networks, in meta tensors."""
    with torch.device("meta"):
        generator, encoder = fid_networks()
        shapes = released.fid_generator_shapes(), released.fid_encoder_shapes()
        weights = [{name: torch.empty(shape) for name, shape in table.items()} for table in shapes]
        states = fid_generator_state(weights[0]), encoder_state(weights[1], 4)
    for module, state in zip((generator, encoder), states, strict=True):
        assert {n: t.shape for n, t in module.state_dict().items()} == {n: t.shape for n, t in state.items()}


def test_the_sampling_generator_gives_the_released_images() -> None:
    """Random weights under the released keys, the same latents: the same images in float64."""
    w = released.random_weights(released.SAMPLING_GENERATOR, seed=0)
    generator, _ = networks(SAMPLING_LEVELS, "add", 256)
    generator.double().load_state_dict(sampling_generator_state(w))
    z0, z1, z2, z3 = (draws((2, d), seed) for seed, d in enumerate((2, 2, 2, 10)))
    expected = released.sampling_generator(w, z0, z1, z2, z3)
    assert expected.std() > 0.1
    torch.testing.assert_close(generator((z3, z2, z1, z0)).mean, expected, rtol=1e-10, atol=1e-12)


def test_the_sampling_encoder_gives_the_released_posterior() -> None:
    """Means and variances of all four levels; trunk and ladder first convolutions are computed as one."""
    w = released.random_weights(released.SAMPLING_ENCODER, seed=0)
    _, encoder = networks(SAMPLING_LEVELS, "add", 256)
    encoder.double().load_state_dict(encoder_state(w, 3))
    assert_same_posterior(encoder, w, 3)


def test_the_fid_generator_gives_the_released_images() -> None:
    """The same at a thirty-second of the width: join by concatenation, the stream first."""
    w = released.random_weights(released.fid_generator_shapes(32), seed=0)
    generator, _ = fid_networks(32)
    generator.double().load_state_dict(fid_generator_state(w))
    z0, z1, z2, z3, z4 = (draws((2, 10), seed) for seed in range(5))
    expected = released.fid_generator(w, z0, z1, z2, z3, z4)
    assert expected.std() > 0.1
    torch.testing.assert_close(generator((z4, z3, z2, z1, z0)).mean, expected, rtol=1e-10, atol=1e-12)


def test_the_fid_encoder_gives_the_released_posterior() -> None:
    """The same at a thirty-second of the width, five levels."""
    w = released.random_weights(released.fid_encoder_shapes(32), seed=0)
    _, encoder = fid_networks(32)
    encoder.double().load_state_dict(encoder_state(w, 4))
    assert_same_posterior(encoder, w, 4)


@pytest.mark.parametrize(("dims", "width", "depth"), [((2, 2, 2, 10), 50, 4), ((10,) * 5, 100, 2)])
def test_the_energy_is_minus_the_released_output(dims: tuple[int, ...], width: int, depth: int) -> None:
    """E = -f, with the released order of the levels turned top first and the stored u and v."""
    w = released.random_weights(released.energy_shapes(sum(dims), width, depth), seed=0)
    for name in [n for n in w if n.endswith("weight_orig")]:
        u, _, v = torch.linalg.svd(w[name], full_matrices=False)
        w[name.replace("orig", "u")], w[name.replace("orig", "v")] = u[:, 0], v[0]
    energy = EnergyNetwork(tuple(reversed(dims)), width=width, depth=depth, lipschitz=1.0).double().eval()
    energy.load_state_dict(energy_state(w, list(dims), depth))
    latents = [draws((3, d), seed) for seed, d in enumerate(dims)]
    expected = -released.negative_energy(w, latents, depth)
    torch.testing.assert_close(energy(tuple(reversed(latents))), expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(
        energy.frozen()(torch.cat(list(reversed(latents)), 1)), expected, rtol=1e-10, atol=1e-12
    )
