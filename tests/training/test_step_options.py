"""Options of the training step that change how it computes, not what: compilation and the path of the chains."""

import pytest
import torch
from lightning_fabric import Fabric
from tiny import tiny_config
from torch import Tensor

from hebm.build import build_model
from hebm.training import step as step_module
from hebm.training.state import TrainingState
from hebm.training.step import AutoencoderPass, TrainingStep


def losses(*overrides: str, n_steps: int = 3, device: str = "cpu") -> list[float]:
    """The first losses of a run on fixed images."""
    config = tiny_config(*overrides)
    state = TrainingState(config, build_model(config).to(device))
    step = TrainingStep(config, state, Fabric(accelerator=device, devices=1, precision="32-true"))
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(device)
    return [step(x, kl_weight=1.0, learns_prior=True)["loss"].item() for _ in range(n_steps)]


def passes() -> tuple[AutoencoderPass, Tensor, Tensor]:
    config = tiny_config()
    y, eps = torch.rand(4, 1, 8, 8) * 2 - 1, torch.randn(4, 5)
    return AutoencoderPass(build_model(config), bf16=False), y, eps


@pytest.mark.slow
def test_both_passes_are_one_graph_each() -> None:
    """Nothing in generator, encoder and bound breaks the graph that a compiler sees; values and gradients agree."""
    module, y, eps = passes()
    expected = module(y, eps)
    sum(term.sum() for term in expected).backward()
    gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    module.zero_grad()
    whole = torch.compile(module, backend="aot_eager", fullgraph=True)
    found = whole(y, eps)
    sum(term.sum() for term in found).backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close([p.grad for p in module.parameters() if p.grad is not None], gradients)


def test_levels_reach_the_generator_times_their_weight() -> None:
    """The distortion is that of weighted latents; rates and the latents that the prior learns from are not weighted.
    In the compiler's eyes it is one graph too."""
    module, y, eps = passes()
    weights = torch.tensor([1.0, 0.25])
    latents, distortion, rates = module(y, eps, weights)
    plain_latents, plain_distortion, plain_rates = module(y, eps)
    torch.testing.assert_close((latents, rates), (plain_latents, plain_rates))
    top, bottom = latents.split([3, 2], dim=1)
    torch.testing.assert_close(distortion, -module.generator((top, 0.25 * bottom)).log_prob(y))
    assert (distortion != plain_distortion).any()
    whole = torch.compile(module, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(whole(y, eps, weights)[1], distortion)


def test_compilation_is_asked_for_by_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off unless `trainer.compile` is set; the weights keep their names."""
    asked: list[torch.device] = []

    def noted(module: AutoencoderPass, device: torch.device) -> AutoencoderPass:
        asked.append(device)
        return module

    monkeypatch.setattr(step_module, "compiled", noted)
    plain = losses(n_steps=1)
    assert asked == []
    assert losses("trainer.compile=true", n_steps=1) == plain
    assert asked == [torch.device("cpu")]


def test_the_path_of_the_chains_changes_no_loss_beyond_rounding() -> None:
    """Three steps of all nets, fused and reference: 1e-5 relative in float32."""
    fused, reference = losses("sampler.path=fused"), losses("sampler.path=reference")
    assert fused == pytest.approx(reference, rel=1e-5)
    assert losses() == fused


@pytest.mark.gpu
def test_a_compiled_step_on_a_gpu_has_the_same_losses() -> None:
    """CUDA graphs of both passes, against the plain step."""
    plain = losses(device="cuda")
    assert losses("trainer.compile=true", device="cuda") == pytest.approx(plain, rel=1e-3)
