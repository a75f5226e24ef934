"""How often a model's encoder is called, and with how many images."""

from collections.abc import Iterator
from contextlib import contextmanager

from hebm.models import JointModel


@contextmanager
def encoder_calls(model: JointModel) -> Iterator[list[int]]:
    """The number of images of every call, in order."""
    sizes: list[int] = []
    handle = model.encoder.register_forward_hook(lambda module, given, found: sizes.append(len(given[0])))
    try:
        yield sizes
    finally:
        handle.remove()
