"""The standard Inception network: its weight file's format, its pools, and the check of its hash.

Random weights in the format of the public file stand in for it; no test downloads anything.
"""

import hashlib
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hebm.data import load_images
from hebm.errors import DataError, MissingDataError
from hebm.features import InceptionExtractor, build_extractor, load_inception
from hebm.features.inception import InceptionV3, average_pool_without_padding
from hebm.features.inception_weights import INCEPTION_FILE, INCEPTION_SHA256
from hebm.features.initialisation import build_empty, initialise_


def _random_network() -> InceptionV3:
    network = build_empty(InceptionV3)
    generator = torch.Generator().manual_seed(0)
    initialise_(network, generator)
    for name, values in network.named_buffers():  # a trained file has statistics of its own
        if name.endswith("running_mean"):
            values.copy_(0.1 * torch.randn(values.shape, generator=generator))
        elif name.endswith("running_var"):
            values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def network() -> InceptionV3:
    return _random_network()


@pytest.fixture(scope="module")
def weight_file(network: InceptionV3, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written as older torch versions did: without batch counters, not zipped."""
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    state = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def _parameters_by_hand() -> int:
    """Weights of the 94 convolutions, scale and shift of their outputs, and fc, block by block."""

    def chain(n_in: int, *steps: tuple[int, int]) -> int:
        total = 0
        for width, area in steps:
            total += n_in * area * width + 2 * width
            n_in = width
        return total

    def size_35(n: int, pool: int) -> int:
        towers = chain(n, (64, 1)) + chain(n, (48, 1), (64, 25)) + chain(n, (64, 1), (96, 9), (96, 9))
        return towers + chain(n, (pool, 1))

    def size_17(c: int) -> int:
        doubled = chain(768, (c, 1), (c, 7), (c, 7), (c, 7), (192, 7))
        return 2 * chain(768, (192, 1)) + chain(768, (c, 1), (c, 7), (192, 7)) + doubled

    def size_8(n: int) -> int:
        halves = 4 * chain(384, (384, 3))
        return (
            chain(n, (320, 1))
            + chain(n, (384, 1))
            + chain(n, (448, 1), (384, 9))
            + halves
            + chain(n, (192, 1))
        )

    stem = chain(3, (32, 9), (32, 9), (64, 9), (80, 1), (192, 9))
    halve_35 = chain(288, (384, 9)) + chain(288, (64, 1), (96, 9), (96, 9))
    halve_17 = chain(768, (192, 1), (320, 9)) + chain(768, (192, 1), (192, 7), (192, 7), (192, 9))
    mixed = size_35(192, 32) + size_35(256, 64) + size_35(288, 64) + halve_35
    mixed += size_17(128) + 2 * size_17(160) + size_17(192) + halve_17 + size_8(1280) + size_8(2048)
    return stem + mixed + 2048 * 1008 + 1008


def test_parameter_count_is_that_of_the_architecture(network: InceptionV3) -> None:
    """23,850,960 parameters; with 34,432 running statistics, the 23,885,392 numbers of the public file."""
    count = sum(parameter.numel() for parameter in network.parameters())
    statistics = sum(b.numel() for name, b in network.named_buffers() if "num_batches" not in name)
    assert count == _parameters_by_hand() == 23_850_960
    assert count + statistics == 23_885_392


def test_state_has_the_names_and_shapes_of_the_public_file(network: InceptionV3) -> None:
    """94 normalised convolutions of 5 tensors and fc; one shape of each kind of layer."""
    shapes = {name: list(v.shape) for name, v in network.state_dict().items() if "num_batches" not in name}
    assert len(shapes) == 94 * 5 + 2
    expected = {
        "Conv2d_1a_3x3.conv.weight": [32, 3, 3, 3],
        "Conv2d_4a_3x3.bn.running_var": [192],
        "Mixed_5b.branch1x1.conv.weight": [64, 192, 1, 1],
        "Mixed_5b.branch_pool.conv.weight": [32, 192, 1, 1],
        "Mixed_5d.branch5x5_2.conv.weight": [64, 48, 5, 5],
        "Mixed_5d.branch3x3dbl_3.bn.bias": [96],
        "Mixed_6a.branch3x3.conv.weight": [384, 288, 3, 3],
        "Mixed_6b.branch7x7_2.conv.weight": [128, 128, 1, 7],
        "Mixed_6c.branch7x7dbl_2.conv.weight": [160, 160, 7, 1],
        "Mixed_6e.branch7x7dbl_5.conv.weight": [192, 192, 1, 7],
        "Mixed_7a.branch7x7x3_4.conv.weight": [192, 192, 3, 3],
        "Mixed_7b.branch3x3_2a.conv.weight": [384, 384, 1, 3],
        "Mixed_7c.branch3x3dbl_3b.conv.weight": [384, 384, 3, 1],
        "Mixed_7c.branch_pool.conv.weight": [192, 2048, 1, 1],
        "fc.weight": [1008, 2048],
        "fc.bias": [1008],
    }
    assert {name: shapes.get(name) for name in expected} == expected


def test_average_pool_leaves_padding_out_of_its_count() -> None:
    """Of ones it is one everywhere, corners included; in a corner it is the mean of the four pixels there."""
    assert torch.equal(average_pool_without_padding(torch.ones(1, 2, 5, 5)), torch.ones(1, 2, 5, 5))
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert average_pool_without_padding(x)[0, 0, 0, 0] == (0 + 1 + 4 + 5) / 4


def _unit(network: InceptionV3, name: str, x: Tensor) -> Tensor:
    """One normalised convolution written out from the state: conv, (y - μ)/sqrt(v + 1e-3) γ + β, ReLU."""
    state = network.state_dict()
    weight = state[f"{name}.conv.weight"]
    y = F.conv2d(x, weight, padding=(weight.shape[2] // 2, weight.shape[3] // 2))
    mean, variance, scale, shift = (
        state[f"{name}.bn.{key}"][:, None, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return ((y - mean) / (variance + 1e-3).sqrt() * scale + shift).relu()


@pytest.mark.parametrize(("block", "maximum"), [("Mixed_7b", False), ("Mixed_7c", True)])
def test_last_blocks_follow_the_2015_graph(network: InceptionV3, block: str, maximum: bool) -> None:
    """Towers in file order; Mixed_7b pools by the average of existing pixels, Mixed_7c by the maximum."""
    n_in = 2048 if maximum else 1280
    x = torch.randn(1, n_in, 4, 4, generator=torch.Generator().manual_seed(1))

    def unit(name: str, value: Tensor) -> Tensor:
        return _unit(network, f"{block}.{name}", value)

    b, c = unit("branch3x3_1", x), unit("branch3x3dbl_2", unit("branch3x3dbl_1", x))
    padded = F.pad(x, (1, 1, 1, 1), value=-torch.inf if maximum else torch.nan)
    windows = F.unfold(padded, 3).reshape(1, n_in, 9, 4, 4)
    pooled = windows.amax(2) if maximum else windows.nanmean(2)
    towers = [unit("branch1x1", x), unit("branch3x3_2a", b), unit("branch3x3_2b", b)]
    towers += [unit("branch3x3dbl_3a", c), unit("branch3x3dbl_3b", c), unit("branch_pool", pooled)]
    with torch.no_grad():
        torch.testing.assert_close(
            network.get_submodule(block)(x), torch.cat(towers, 1), rtol=1e-3, atol=1e-4
        )


def test_images_are_resized_without_aligned_corners_and_scaled(network: InceptionV3) -> None:
    """A small image counts as its bilinear 299 x 299 form on [-1, 1], a grey one as three channels."""
    image = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    centres = (torch.arange(299) + 0.5) * 28 / 299 - 0.5
    low = centres.clamp(0, 27).floor().long().clamp(max=26)
    share = centres.clamp(0, 27) - low
    rows = image[0, 0, low] * (1 - share)[:, None] + image[0, 0, low + 1] * share[:, None]
    resized = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    extractor = InceptionExtractor(network, sha256="0" * 64)
    with torch.no_grad():
        expected = network.features((2 * resized - 1).expand(1, 3, -1, -1))
    torch.testing.assert_close(extractor(image), expected, rtol=1e-3, atol=1e-4)
    assert expected.shape == (1, extractor.dim) == (1, 2048)


def test_weights_of_another_hash_are_refused_or_not_called_standard(
    weight_file: Path, network: InceptionV3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default only the pinned file loads; others on request, under their own hash."""
    sha256 = hashlib.sha256(weight_file.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"{sha256}, expected {INCEPTION_SHA256}"):
        load_inception(weight_file)
    monkeypatch.setenv("HEBM_INCEPTION", str(weight_file))
    extractor = load_inception(expected_sha256=None)
    assert extractor.identifier == f"inception@{sha256[:12]}"
    assert not extractor.is_standard_inception
    assert InceptionExtractor(network, sha256=INCEPTION_SHA256).is_standard_inception
    loaded = extractor._network.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


def test_a_file_without_these_weights_is_refused(weight_file: Path, tmp_path: Path) -> None:
    """A missing tensor, another object and no torch file at all."""
    state = torch.load(weight_file, weights_only=True)
    del state["fc.bias"]
    for content in (state, [1, 2]):
        torch.save(content, tmp_path / "wrong.pth")
        with pytest.raises(DataError, match="does not hold the weights"):
            load_inception(tmp_path / "wrong.pth", expected_sha256=None)
    (tmp_path / "wrong.pth").write_bytes(b"no weights")
    with pytest.raises(DataError, match="does not hold the weights"):
        load_inception(tmp_path / "wrong.pth", expected_sha256=None)


def test_without_file_and_network_the_error_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the address, the place and the variable; a named file that is not there is said too."""
    import pooch

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.delenv("HEBM_INCEPTION", raising=False)
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(MissingDataError, match=f"{tmp_path}.*{INCEPTION_FILE}.*HEBM_INCEPTION"):
        build_extractor("inception", load_images("digits", limit=4), cache_dir=tmp_path)
    monkeypatch.setenv("HEBM_INCEPTION", str(tmp_path / "absent.pth"))
    with pytest.raises(MissingDataError, match=r"absent\.pth: no such file"):
        load_inception(cache_dir=tmp_path)
