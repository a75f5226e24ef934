"""Warm-up weight, free bits and the energy's penalty act as documented."""

import pytest
import torch
from torch import Tensor

from hebm.objectives import ElboTerms, autoencoder_loss, contrastive_loss

pytestmark = pytest.mark.usefixtures("on_device")


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def terms() -> ElboTerms:
    """Two items, three levels."""
    return ElboTerms(
        numbers(10.0, 20.0), (numbers(3.0, 0.1), numbers(0.2, 5.0), numbers(1.0, 1.0)), numbers(-2.0, 4.0)
    )


def test_the_loss_is_distortion_plus_rates_plus_energy() -> None:
    """Per item; the energy enters with a plus: low energy is likely."""
    assert autoencoder_loss(terms()).tolist() == pytest.approx([10 + 4.2 - 2, 20 + 6.1 + 4])


def test_the_kl_weight_multiplies_rate_and_energy_but_not_the_distortion() -> None:
    """At w = 0 only the distortion is left; at w the slopes are 1, w and w."""
    assert autoencoder_loss(terms(), kl_weight=0.0).tolist() == [10, 20]
    t = terms()
    inputs = (t.distortion, *t.rate_per_level, t.energy)
    grads = torch.autograd.grad(autoencoder_loss(t, kl_weight=0.25).sum(), inputs)
    assert [g.tolist() for g in grads] == [[1, 1], *[[0.25, 0.25]] * 4]


def test_free_bits_cost_nothing_and_pull_nothing_per_level_and_item() -> None:
    """A rate below its level's λ counts as λ and has no gradient; one above is untouched."""
    t = terms()
    loss = autoencoder_loss(t, free_bits=(0.5, 1.5, 0.0))
    assert loss.tolist() == pytest.approx([10 + (3 + 1.5 + 1) - 2, 20 + (0.5 + 5 + 1) + 4])
    grads = torch.autograd.grad(loss.sum(), t.rate_per_level)
    assert [g.tolist() for g in grads] == [[1, 0], [0, 1], [1, 1]]


def test_free_bits_do_not_touch_distortion_and_energy() -> None:
    """Their slopes stay 1."""
    t = terms()
    grads = torch.autograd.grad(
        autoencoder_loss(t, free_bits=(9.0, 9.0, 9.0)).sum(), (t.distortion, t.energy)
    )
    assert [g.tolist() for g in grads] == [[1, 1], [1, 1]]


def test_free_bits_for_another_number_of_levels_are_refused() -> None:
    """One number per level."""
    with pytest.raises(ValueError, match="zip"):
        autoencoder_loss(terms(), free_bits=(1.0, 1.0))


def test_the_contrastive_loss_lowers_data_and_raises_prior_energies() -> None:
    """Slope +1 in the energy of data-side latents, -1 in that of prior samples."""
    data, prior = numbers(1.0, -2.0), numbers(0.5, 3.0)
    loss = contrastive_loss(data, prior)
    assert loss.tolist() == [0.5, -5.0]
    grads = torch.autograd.grad(loss.sum(), (data, prior))
    assert [g.tolist() for g in grads] == [[1, 1], [-1, -1]]


def test_the_penalty_adds_the_squares_of_both_energies() -> None:
    """λ(E⁺² + E⁻²): slopes 1 + 2λE⁺ and -1 + 2λE⁻."""
    data, prior = numbers(1.0, -2.0), numbers(0.5, 3.0)
    loss = contrastive_loss(data, prior, l2=0.1)
    assert loss.tolist() == pytest.approx([0.5 + 0.1 * 1.25, -5 + 0.1 * 13])
    grads = torch.autograd.grad(loss.sum(), (data, prior))
    assert grads[0].tolist() == pytest.approx([1.2, 0.6])
    assert grads[1].tolist() == pytest.approx([-0.9, -0.4])
