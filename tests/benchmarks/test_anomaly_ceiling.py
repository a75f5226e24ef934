"""What labels could make of scores: nothing of noise, everything of a pattern that no single score shows."""

import numpy as np
from benchmarks.anomaly_ceiling import ceiling

N = 1500


def test_noise_stays_at_the_base_rate() -> None:
    """Out of fold: labels that are learned by heart do not count. Three standard errors of a rate of 0.3."""
    generator = np.random.default_rng(0)
    is_anomalous = generator.random(N) < 0.3
    found = ceiling(generator.normal(size=(N, 4)), is_anomalous, seed=0)
    assert abs(found - is_anomalous.mean()) < 3 * (0.3 * 0.7 / (0.3 * N)) ** 0.5


def test_a_combination_is_found() -> None:
    """Anomalous where two scores have the same sign: each alone is uninformed."""
    scores = np.random.default_rng(0).normal(size=(N, 2))
    assert ceiling(scores, scores[:, 0] * scores[:, 1] > 0, seed=0) > 0.98
