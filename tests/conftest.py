"""Options and fixtures for all tests: `--device`, seeded generators, one thread."""

import os
from collections.abc import Callable, Iterator

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported, which torch may do in any test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device on which the numerical tests run, e.g. cuda")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """The device of `--device`."""
    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def on_device(device: torch.device) -> Iterator[None]:
    """Makes the device of `--device` the default one of every new tensor and module."""
    with torch.device(device):
        yield


@pytest.fixture
def seeded(device: torch.device) -> Callable[[int], torch.Generator]:
    """A function from a seed to a generator on the device of `--device`."""
    return lambda seed: torch.Generator(device=device).manual_seed(seed)
