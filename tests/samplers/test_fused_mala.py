"""MALA in the Triton kernel: against the reference step with injected noise, and its own uniforms against Philox."""

from typing import Any

import pytest
import torch
from tests.samplers.test_fused_triton import (
    DEVICE,
    DIMS,
    TOLERANCE,
    D,
    joint,
    normal,
    philox_normal,
    philox_words,
    target_of,
)
from torch import Tensor

from hebm.errors import UnsupportedError
from hebm.latents import flatten_latents
from hebm.priors import JointPrior
from hebm.samplers import MALA, MetropolisChains, evaluate_state
from hebm.samplers.kernels import path, run_triton_mala

ETA = 0.35  # where some moves are accepted and some are not
N_STEPS = 4


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator(DEVICE).manual_seed(seed)


def launch(prior: JointPrior, start: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    arguments: dict[str, Any] = {
        "n_steps": N_STEPS, "step_size": ETA, "generator": seeded(), "free": None, **options,
    }  # fmt: skip
    return run_triton_mala(target_of(prior), start, **arguments)


def reference(
    prior: JointPrior, start: Tensor, noise: Tensor, uniforms: Tensor, free: Tensor | None,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """MALA's own steps on the same noise and uniforms: positions, trace, accepted."""
    rows, levels = iter(noise), iter(uniforms.log())
    monkeypatch.setattr("hebm.samplers.mala.standard_normal", lambda like, generator: next(rows))
    monkeypatch.setattr("hebm.samplers.metropolis.log_uniform", lambda like, generator: next(levels))
    density, trace, accepted = prior.density(), [], []
    state = evaluate_state(density, (start,))
    for _ in range(len(noise)):
        trace.append(state.log_density)
        state, info = MALA(ETA).step(density, state, free=None if free is None else (free,))
        accepted.append(info.accepted)
    return state.latents[0], torch.stack(trace), torch.stack(accepted)


@pytest.mark.parametrize(
    ("options", "n", "clamped"),
    [
        ({}, 19, []),
        ({"coupling": "per_level", "activation": "silu"}, 9, [3, 4]),
        ({"depth": 4, "activation": "tanh"}, 5, [0]),
        ({"width": 30}, 40, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_with_injected_noise_it_is_the_reference_move(
    options: dict[str, Any], n: int, clamped: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions, trace and share of accepted moves; of all moves some are accepted and some are not."""
    prior, start, noise = joint(**options), normal(n, D, seed=2), normal(N_STEPS, n, D, seed=3)
    uniforms = torch.rand(N_STEPS, n, generator=torch.Generator().manual_seed(4)).to(DEVICE)
    free = torch.ones(D, device=DEVICE)
    free[clamped] = 0
    mask = free if clamped else None
    end, trace, share = launch(prior, start, noise=noise, uniforms=uniforms, free=mask)
    expected, expected_trace, accepted = reference(prior, start, noise, uniforms, mask, monkeypatch)
    assert 0 < accepted.float().mean() < 1
    torch.testing.assert_close(end, expected, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(trace, expected_trace, rtol=TOLERANCE, atol=TOLERANCE)
    torch.testing.assert_close(share, accepted.float().mean(0))


def test_its_uniforms_are_philox_on_a_counter_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same chain as with Philox's noise and uniforms injected, written out."""
    prior, start, n = joint(), normal(18, D, seed=2), 18
    seed = int(torch.randint(2**63 - 1, (1,), generator=seeded(), device=DEVICE))
    noise = torch.stack([philox_normal(seed, range(n), step, D) for step in range(N_STEPS)]).to(DEVICE)
    words = [[philox_words(seed, [0, step, chain, 1])[0] for chain in range(n)] for step in range(N_STEPS)]
    signed = torch.tensor(words, dtype=torch.float64)
    signed = torch.where(signed < 2**31, signed, 2**32 - 1 - signed)
    uniforms = (signed * 4.6566127342e-10).float().to(DEVICE)
    end, trace, share = launch(prior, start)
    given = launch(prior, start, noise=noise, uniforms=uniforms)
    for own, injected in zip((end, trace, share), given, strict=True):
        torch.testing.assert_close(own, injected, rtol=1e-4, atol=1e-4)
    assert 0 < share.mean() < 1


def test_a_proposal_beyond_the_finite_numbers_is_rejected() -> None:
    """A proposal so far out that its log-density overflows: the chain stays where it was, and stays finite."""
    prior, start = joint(), normal(4, D, seed=2)
    noise = torch.zeros(N_STEPS, 4, D, device=DEVICE)
    noise[:, 0] = 3e19  # its square is beyond float32
    end, trace, share = launch(
        prior, start, noise=noise, uniforms=torch.zeros(N_STEPS, 4, device=DEVICE), step_size=1e-3
    )
    assert torch.equal(end[0], start[0])
    assert share[0] == 0
    assert (share[1:] == 1).all()
    assert torch.isfinite(trace).all()


def test_a_sampler_asked_for_it_by_name_runs_on_it() -> None:
    """Through MetropolisChains: reproducible, clamped levels to the bit, a trace of the second half."""
    prior = joint()
    initial = tuple(normal(4, d, seed=d) for d in DIMS)
    chains = MetropolisChains(6, 0.2, path="triton")
    first, again, other = (
        chains(prior.density(), initial, clamped=[1], generator=seeded(s)) for s in (1, 1, 2)
    )
    assert torch.equal(flatten_latents(first.latents), flatten_latents(again.latents))
    assert not torch.equal(first.latents[0], other.latents[0])
    assert torch.equal(first.latents[1], initial[1])
    assert first.log_density.shape == (3, 4)
    loop = MetropolisChains(6, 0.2, path="reference")(
        prior.density(), initial, clamped=[1], generator=seeded(1)
    )
    torch.testing.assert_close(first.log_density[0], loop.log_density[0], rtol=1e-5, atol=1e-5)


def test_what_cannot_run_it_takes_the_reference_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """In silence of results: the same draws as the loop; asked for by name it is refused with the reason."""
    prior = joint(width=300)
    initial = tuple(normal(4, d, seed=d) for d in DIMS)
    ends = [
        MetropolisChains(4, 0.2, path=name)(prior.density(), initial, generator=seeded())  # type: ignore[arg-type]
        for name in ("auto", "reference", "fused")
    ]
    assert all(
        torch.equal(flatten_latents(end.latents), flatten_latents(ends[0].latents)) for end in ends[1:]
    )
    with pytest.raises(UnsupportedError, match="4 hidden layers of 128"):
        MetropolisChains(4, 0.2, path="triton")(prior.density(), initial, generator=seeded())
    with pytest.raises(UnsupportedError, match="not a base tilted"):
        MetropolisChains(4, 0.2, path="triton")(
            lambda latents: -sum(z.square().sum(1) for z in latents), initial, generator=seeded()
        )

    def full(*arguments: object, **options: object) -> None:
        raise UnsupportedError("no room")

    monkeypatch.setattr(path, "run_triton_mala", full)
    with pytest.raises(UnsupportedError, match="no room"):
        MetropolisChains(4, 0.2, path="triton")(joint().density(), initial, generator=seeded())


@pytest.mark.gpu
def test_sixty_moves_on_a_gpu_sample_the_target() -> None:
    """An energy of zero on a GPU: 20,000 chains from N(2, I) end at the moments of N(0, I)."""
    prior = joint()
    with torch.no_grad():
        for parameter in prior.energy.parameters():
            parameter.zero_()
    initial = tuple(normal(20_000, d, seed=d) + 2 for d in DIMS)
    end = flatten_latents(
        MetropolisChains(400, 0.2, path="triton")(prior.density(), initial, generator=seeded()).latents
    )
    assert end.mean(0).abs().max() < 5 / 20_000**0.5
    assert (end.var(0) - 1).abs().max() < 5 * (2 / 20_000) ** 0.5
