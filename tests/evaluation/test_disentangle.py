"""The suite on codes that are the factors themselves, on levels known beforehand."""

import math

import numpy as np
import pytest
import torch
from tests.training.tiny import tiny_config

from hebm.build import build_model
from hebm.data.factors import FACTORS
from hebm.errors import DataError
from hebm.evaluation import disentangle
from hebm.evaluation.disentangle import evaluate_disentangle, factor_information, information_depth
from hebm.evaluation.probe_network import ProbeScore

BRIEF = ["data.name=factors", "evaluation.probe.n_epochs=1", "evaluation.probe.min_steps=40"]
CONFIG = tiny_config(*BRIEF, "data.limit=400")
NAMES = [factor.name for factor in FACTORS]


def test_codes_that_are_the_factors_are_seen_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shape, size and angle on top, the rest and an idle unit below: all scores but MIG-sup near 1, depths 0 and 1."""

    def codes(model: object, image_set: object) -> tuple[torch.Tensor, torch.Tensor]:
        factors = torch.from_numpy(image_set.factors).double()
        idle = torch.zeros(len(factors), 1).double()
        return factors[:, :3].float(), torch.cat([factors[:, 3:], idle], dim=1).float()

    monkeypatch.setattr(disentangle, "inferred_codes", codes)
    config = CONFIG.with_overrides(["evaluation.probe.min_steps=120"])
    model = build_model(config)
    results = evaluate_disentangle(model, config, seed=0)
    assert results["mig"] > 0.95
    assert results["mig_sup_active"] > 0.95
    assert results["mig_sup"] == pytest.approx(results["mig_sup_active"] * 8 / 9)
    assert results["dci_disentanglement"] > 0.95
    assert results["dci_completeness"] > 0.95
    assert results["dci_informativeness"] == pytest.approx(1)
    assert (results["n_active"], results["n_units"]) == (8, 9)
    assert list(results["depth"]) == NAMES
    for name in NAMES:
        on_top = name in NAMES[:3]
        above, below = results["information"][name]
        held, empty = (above, below) if on_top else (below, above)
        assert held > 0.6 * results["factor_entropy"][name]
        assert empty < 0.25 * results["factor_entropy"][name]
        assert results["accuracy"][name][0 if on_top else 1] > 0.8
        assert abs(results["depth"][name] - (0 if on_top else 1)) < 0.3


def test_information_is_entropy_minus_cross_entropy_and_never_negative() -> None:
    """[factor, level], each with its own factor's entropy."""
    factors = np.array([[0, 0], [1, 1], [0, 2], [1, 3]])
    scores = [[ProbeScore(1.0, 0.2), ProbeScore(0.5, 0.9)], [ProbeScore(1.0, 0.3), ProbeScore(0.2, 5.0)]]
    information = factor_information(scores, factors)
    np.testing.assert_allclose(information, [[math.log(2) - 0.2, 0], [math.log(4) - 0.3, 0]])


def test_depth_is_the_centre_of_the_information() -> None:
    """All on top 0, all at the bottom 1, half and half between; nothing anywhere, the middle."""
    information = np.array([[2.0, 0, 0], [0, 0, 3], [1, 0, 1], [0, 0, 0], [0, 1, 0], [3, 0, 1]])
    np.testing.assert_allclose(information_depth(information), [0, 1, 0.5, 0.5, 0.5, 0.25])


def test_an_untrained_run_is_evaluated_from_images_to_fields() -> None:
    """Same seed, same numbers."""
    first, again = (evaluate_disentangle(build_model(CONFIG), CONFIG, seed=3) for _ in range(2))
    assert first == again
    assert 0 <= first["mig"] <= 1
    assert (first["n_train"], first["n_test"]) == (400, 400)
    one = tiny_config(*BRIEF, "data.limit=100", "model.levels=[{latents: 3, channels: 16}]")
    assert evaluate_disentangle(build_model(one), one, seed=0)["depth"] is None


def test_images_without_known_factors_are_refused() -> None:
    """The message says on what to train."""
    config = tiny_config()
    with pytest.raises(DataError, match=r"digits.*data\.name=factors"):
        evaluate_disentangle(build_model(config), config, seed=0)
