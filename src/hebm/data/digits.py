"""scikit-learn's 1,797 handwritten digits, 8x8: part of that package, so nothing has to be there.

Source: ALPAYDIN and KAYNAK, "Optical recognition of handwritten digits" (1998), UCI.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from hebm.data.reading import Decoded, ReadOptions

__all__ = ["read_digits"]

_N_TEST = 360
_FULL_SCALE = 16  # the pixels count the dark points of 4x4 blocks


def read_digits(files: Sequence[Path], options: ReadOptions) -> Decoded:
    """Give one part of the fixed stratified split, 1,437 + 360 items; values v become round(255 v / 16)."""
    digits = load_digits()
    parts = train_test_split(
        np.arange(len(digits.target)), test_size=_N_TEST, stratify=digits.target, random_state=0
    )
    members = np.sort(parts[1 if options.selection.split == "test" else 0])
    chosen = members[options.selection.of_split(len(members))]
    pixels = np.rint(digits.images[chosen] * (255 / _FULL_SCALE)).astype(np.uint8)
    return Decoded(pixels[:, None], digits.target[chosen].astype(np.int64))
