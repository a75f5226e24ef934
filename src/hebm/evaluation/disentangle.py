r"""Suite ``disentangle``: how codes and levels relate to factors that are known (data sets ``factors``, ``shapes3d``).

MIG, MIG-sup and DCI take single units of all levels together (posterior means). ``mig_sup_active`` leaves out units
whose posterior mean hardly differs between images: a unit not in use tells nothing, and lowers MIG-sup.
``information`` bounds :math:`I(z_l; v_k)` of each level and factor from below by the cross-entropy of a probe, in
nats; ``depth`` is where on the ladder a factor's information sits, from 0 (all on the top level) to 1 (all on the
bottom one).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hebm.build import build_images
from hebm.config import RunConfig
from hebm.data import ImageSet
from hebm.errors import DataError
from hebm.evaluation.likelihood import ACTIVE_VARIANCE
from hebm.evaluation.probe import inferred_codes
from hebm.evaluation.probe_network import LabelledCodes, ProbeScore, probe_score, standardised, train_probe
from hebm.latents import Latents, flatten_latents
from hebm.metrics import dci, entropy, label_information, mutual_information_gaps
from hebm.models import JointModel
from hebm.randomness import named_generator

__all__ = ["evaluate_disentangle", "factor_information", "information_depth"]

N_FOREST = 10_000  # items that the forests of DCI learn from


def evaluate_disentangle(model: JointModel, config: RunConfig, *, seed: int) -> dict[str, Any]:
    """Compare codes with the factors that generated the images.

    Args:
        model: The trained model, on the device to use.
        config: Its configuration.
        seed: Of probes and forests.

    Returns:
        The fields of the ``disentangle`` result file; lists per level are top first.

    Raises:
        DataError: If the images are missing, or their factors are not known.
    """
    train_set, test_set = (build_images(config, split) for split in (config.data.split, "test"))
    known, unknown = _factors(train_set), _factors(test_set)
    train, test = inferred_codes(model, train_set), inferred_codes(model, test_set)
    codes = flatten_latents(test).cpu()
    gaps = mutual_information_gaps(codes, unknown)
    is_active = codes.double().var(0) > ACTIVE_VARIANCE
    forests = dci(
        flatten_latents(train)[:N_FOREST].cpu(),
        known[:N_FOREST],
        codes,
        unknown,
        generator=named_generator(seed, "disentangle", "forests"),
    )
    scores = _probe_scores(train, known, test, unknown, config, seed)
    information = factor_information(scores, unknown)
    names = train_set.factor_names
    return {
        "mig": gaps.mig,
        "mig_sup": gaps.mig_sup,
        "mig_sup_active": float(gaps.per_code[is_active.numpy()].mean()) if is_active.any() else 0.0,
        "dci_disentanglement": forests.disentanglement,
        "dci_completeness": forests.completeness,
        "dci_informativeness": forests.informativeness,
        "mig_per_factor": _by_name(names, gaps.per_factor),
        "dci_accuracy_per_factor": _by_name(names, forests.accuracy),
        "information": _by_name(names, information),
        "depth": _by_name(names, information_depth(information)) if len(train) > 1 else None,
        "accuracy": {
            name: [score.accuracy for score in row] for name, row in zip(names, scores, strict=True)
        },
        "factor_entropy": {name: entropy(column) for name, column in zip(names, unknown.T, strict=True)},
        "n_active": int(is_active.sum()),
        "n_units": codes.shape[1],
        "n_train": len(train_set),
        "n_test": len(test_set),
        "codes": "posterior mean",
    }


def factor_information(scores: list[list[ProbeScore]], factors: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lower bounds on what each level tells of each factor, [F, L] nats; never below zero, as no information is.

    Args:
        scores: Of the probes, per factor and level.
        factors: Of the items they were judged on, [N, F].
    """
    bounds = [
        [label_information(score.cross_entropy, column) for score in row]
        for row, column in zip(scores, factors.T, strict=True)
    ]
    information: NDArray[np.float64] = np.maximum(np.array(bounds), 0)
    return information


def information_depth(information: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Where each factor's information sits, [F]: :math:`\sum_l \tfrac{l}{L-1} I_l / \sum_l I_l`, l from 0 at the top.

    A factor that no level tells of is put in the middle.

    Args:
        information: [F, L] with L above 1, not negative.
    """
    positions = np.linspace(0, 1, information.shape[1])
    totals = information.sum(1)
    depth: NDArray[np.float64] = np.divide(
        information @ positions, totals, out=np.full(len(totals), 0.5), where=totals > 0
    )
    return depth


def _factors(image_set: ImageSet) -> NDArray[np.int64]:
    if image_set.factors is None:
        raise DataError(
            f"{image_set.name}: the factors that generated these images are not known; train a run on "
            "data.name=factors or shapes3d."
        )
    return image_set.factors


def _probe_scores(
    train: Latents,
    known: NDArray[np.int64],
    test: Latents,
    unknown: NDArray[np.int64],
    config: RunConfig,
    seed: int,
) -> list[list[ProbeScore]]:
    """One probe per factor and level."""
    settings, device = config.evaluation.probe, train[0].device
    levels = [standardised(*codes) for codes in zip(train, test, strict=True)]
    scores = []
    for k in range(known.shape[1]):
        labels = [torch.tensor(factors[:, k], device=device) for factors in (known, unknown)]
        row = []
        for level, codes in enumerate(levels):
            learn, judge = (LabelledCodes(*pair) for pair in zip(codes, labels, strict=True))
            generator = named_generator(seed, "disentangle", k, level)
            probe = train_probe(learn, int(known[:, k].max()) + 1, settings, generator=generator)
            row.append(probe_score(probe, judge))
        scores.append(row)
    return scores


def _by_name(names: tuple[str, ...], values: NDArray[np.float64]) -> dict[str, Any]:
    return dict(zip(names, values.tolist(), strict=True))
