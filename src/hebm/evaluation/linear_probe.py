r"""Linear probes of codes, their regularisation chosen within the items they learn from.

.. math:: \max_{W, b} \sum_i \log p(y_i | z_i) - \frac{|W|^2}{2v}, \quad p(y|z) = \mathrm{softmax}(W z + b)

v is the variance that a normal prior gives each weight. It is chosen by the cross-entropy on every fourth item, of
2,000 items at most, when the others have been learned from; then all items are learned from. Items that are judged in
the end are not looked at.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

__all__ = ["LinearProbe", "chosen_variance", "fit_linear_probe"]

JUDGED_EVERY = 4
MOST_TO_CHOOSE = 2000
MAX_ITERATIONS = 100
LEAST_PROBABILITY = 1e-12  # also of a class that was not learned
Codes = NDArray[np.float64]
Labels = NDArray[np.int64]


class LinearProbe(NamedTuple):
    """A fitted probe.

    Args:
        classifier: scikit-learn's.
        variance: v, as it was chosen.
        has_converged: Whether the fit ended before the greatest number of iterations.
    """

    classifier: LogisticRegression
    variance: float
    has_converged: bool

    def accuracy(self, codes: Codes, labels: Labels) -> float:
        """Share of items whose class it finds; a class it has not learned is never found."""
        return float((self.classifier.predict(codes) == labels).mean())


def fit_linear_probe(codes: Codes, labels: Labels, variances: Sequence[float]) -> LinearProbe:
    """Choose the regularisation and fit.

    Args:
        codes: What it learns from, [N, d] in units of about one, in an order whose prefixes have all classes.
        labels: Their classes, [N], at least two of them.
        variances: Values of v to choose from.
    """
    variance = chosen_variance(codes[:MOST_TO_CHOOSE], labels[:MOST_TO_CHOOSE], variances)
    classifier, has_converged = _fit(codes, labels, variance)
    return LinearProbe(classifier, variance, has_converged)


def chosen_variance(codes: Codes, labels: Labels, variances: Sequence[float]) -> float:
    """The v under which three of four items say most of the fourth; the only one if there is one."""
    if len(variances) == 1:
        return variances[0]
    judged = np.arange(len(labels)) % JUDGED_EVERY == JUDGED_EVERY - 1
    losses = [
        _cross_entropy(_fit(codes[~judged], labels[~judged], v)[0], codes[judged], labels[judged])
        for v in variances
    ]
    return variances[int(np.argmin(losses))]


def _fit(codes: Codes, labels: Labels, variance: float) -> tuple[LogisticRegression, bool]:
    classifier = LogisticRegression(C=variance, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():  # told by the result instead
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(codes, labels)
    return classifier, bool(classifier.n_iter_.max() < MAX_ITERATIONS)


def _cross_entropy(classifier: LogisticRegression, codes: Codes, labels: Labels) -> float:
    is_own = classifier.classes_ == labels[:, None]
    own = (classifier.predict_proba(codes) * is_own).sum(1)
    return float(-np.log(np.maximum(own, LEAST_PROBABILITY)).mean())
