r"""How far codes are one to one with known factors: MIG, MIG-sup and DCI. Each is 1 for a perfect code.

With :math:`\bar I_{jk} = I(z_j; v_k) / H(v_k)`,

.. math:: \mathrm{MIG} = \frac1F \sum_k \big(\bar I_{j(k)k} - \max_{j \ne j(k)} \bar I_{jk}\big), \qquad
    \mathrm{MIG\text{-}sup} = \frac1D \sum_j \big(\bar I_{jk(j)} - \max_{k \ne k(j)} \bar I_{jk}\big)

where j(k) is the code that tells most about factor k, and k(j) the factor of which code j tells most. MIG asks that
a factor sits in one code, MIG-sup that a code holds one factor.

DCI asks random forests that predict each factor from all codes: their importances R (rows codes, columns factors) give

.. math:: D = \sum_j \rho_j \Big(1 + \sum_k p_{jk} \log_F p_{jk}\Big), \quad p_{jk} = R_{jk} / \sum_k R_{jk}, \quad
    C = \frac1F \sum_k \Big(1 + \sum_j \tilde p_{jk} \log_D \tilde p_{jk}\Big),
    \quad \tilde p_{jk} = R_{jk} / \sum_j R_{jk}

with :math:`\rho_j = \sum_k R_{jk} / \sum_{jk} R_{jk}`; informativeness is here the share of the majority guess's errors
that the forests avoid on items they have not seen.

Source: Chen et al. (2018), arXiv:1802.04942 (MIG); Li et al. (2020), arXiv:2002.10549 (MIG-sup); Eastwood and
Williams (2018), "A framework for the quantitative evaluation of disentangled representations" (DCI).
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from hebm.metrics.inputs import ArrayLike, MetricInputError, as_features
from hebm.metrics.mutual_information import check_factors, discrete_information, entropy

__all__ = ["Dci", "MutualInformationGaps", "dci", "mutual_information_gaps"]

_N_TREES = 20
_MIN_LEAF = 5


class MutualInformationGaps(NamedTuple):
    """MIG over factors and MIG-sup over codes, with their terms ([F] and [D])."""

    mig: float
    mig_sup: float
    per_factor: NDArray[np.float64]
    per_code: NDArray[np.float64]


class Dci(NamedTuple):
    """Disentanglement, completeness, informativeness; and the accuracy of each factor's forest, [F]."""

    disentanglement: float
    completeness: float
    informativeness: float
    accuracy: NDArray[np.float64]


def mutual_information_gaps(
    codes: ArrayLike, factors: ArrayLike, *, n_bins: int = 20
) -> MutualInformationGaps:
    """MIG and MIG-sup. A single code has no second, so its gap is to zero; so has a single factor.

    Args:
        codes: [N, D].
        factors: Discrete, [N, F].
        n_bins: Bins of equal width that each code is cut into.

    Raises:
        MetricInputError: If the shapes do not fit, or a factor is constant.
        NonFiniteError: If a code is not finite.
    """
    information = discrete_information(codes, factors, n_bins=n_bins)
    shares = information / np.array([entropy(factor) for factor in np.asarray(factors).T])
    per_factor, per_code = _gaps(shares), _gaps(shares.T)
    return MutualInformationGaps(float(per_factor.mean()), float(per_code.mean()), per_factor, per_code)


def dci(
    train_codes: ArrayLike,
    train_factors: ArrayLike,
    test_codes: ArrayLike,
    test_factors: ArrayLike,
    *,
    generator: torch.Generator | None = None,
) -> Dci:
    """Disentanglement, completeness and informativeness by random forests.

    Args:
        train_codes: [N, D], D and F above 1.
        train_factors: Discrete, [N, F].
        test_codes: Items that the forests do not see, [M, D].
        test_factors: [M, F].
        generator: Of the forests; the global stream if None.

    Raises:
        MetricInputError: If the shapes do not fit, or a factor is constant.
        NonFiniteError: If a code is not finite.
    """
    train, test = (as_features(codes, "codes").numpy() for codes in (train_codes, test_codes))
    known, unknown = np.asarray(train_factors), np.asarray(test_factors)
    check_factors(len(train), known)
    check_factors(len(test), unknown)
    if train.shape[1] != test.shape[1] or min(train.shape[1], known.shape[1]) < 2:
        raise MetricInputError(
            "DCI needs two or more codes and factors, as many codes of both sets, got "
            f"{train.shape[1]} and {test.shape[1]} codes, {known.shape[1]} factors."
        )
    importances, accuracy, majority = [], [], []
    for factor, truth in zip(known.T, unknown.T, strict=True):
        forest = _forest(generator).fit(train, factor)
        importances.append(forest.feature_importances_)
        accuracy.append(forest.score(test, truth))
        values, counts = np.unique(factor, return_counts=True)
        majority.append((truth == values[counts.argmax()]).mean())
    matrix, right, guessed = np.stack(importances, axis=1), np.array(accuracy), np.array(majority)
    of_codes = matrix.sum(1) / matrix.sum()
    return Dci(
        float(of_codes @ _concentration(matrix)),
        float(_concentration(matrix.T).mean()),
        float(((right - guessed) / (1 - guessed)).mean()),
        right,
    )


def _forest(generator: torch.Generator | None) -> RandomForestClassifier:
    seed = int(torch.randint(2**31 - 1, (), generator=generator))
    # every split may choose among all codes: otherwise it must at times take one that tells nothing
    return RandomForestClassifier(_N_TREES, max_features=None, min_samples_leaf=_MIN_LEAF, random_state=seed)


def _gaps(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest minus second largest entry of each column."""
    padded = np.vstack([information, np.zeros(information.shape[1])])
    ordered = np.sort(padded, axis=0)
    gaps: NDArray[np.float64] = ordered[-1] - ordered[-2]
    return gaps


def _concentration(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """One minus the entropy of each row's shares, in units of the greatest possible."""
    totals = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.full_like(matrix, 1 / matrix.shape[1]), where=totals > 0)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    concentration: NDArray[np.float64] = 1 + (shares * logs).sum(1) / np.log(matrix.shape[1])
    return concentration
