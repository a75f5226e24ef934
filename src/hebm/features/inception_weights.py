"""The standard FID extractor: Inception-v3 with weights whose hash is checked."""

import hashlib
import os
import pickle
from pathlib import Path

import torch
from torch import Tensor

from hebm.errors import DataError, ImageShapeError, MissingDataError
from hebm.features.cache import default_cache_dir
from hebm.features.inception import InceptionV3
from hebm.features.initialisation import build_empty

__all__ = ["INCEPTION_FILE", "INCEPTION_SHA256", "INCEPTION_URL", "InceptionExtractor", "load_inception"]

INCEPTION_FILE = "pt_inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
INCEPTION_URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION_FILE}"


class InceptionExtractor:
    """Inception-v3 as a feature extractor: 2048 features; grey images are repeated to three channels.

    Args:
        network: The network with its weights.
        sha256: Hash of the weight file; the extractor is the standard one only where this is the pinned one.
        device: Where it lives.
    """

    name = "inception"
    dim = InceptionV3.dim

    def __init__(self, network: InceptionV3, *, sha256: str, device: torch.device | str = "cpu") -> None:
        self.hash = sha256
        self._device = device
        self._network = network.eval().requires_grad_(False).to(device)

    @property
    def identifier(self) -> str:
        """``name@hash``, the hash cut to 12 digits."""
        return f"{self.name}@{self.hash[:12]}"

    @property
    def is_standard_inception(self) -> bool:
        """Whether the weight file is the one every published FID uses."""
        return self.hash == INCEPTION_SHA256

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Features of images, [B, 1 or 3, H, W] in [0, 1] to [B, 2048] float32."""
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ImageShapeError(f"images must be [B, 1 or 3, H, W], got {list(images.shape)}.")
        images = images.to(self._device, torch.float32).expand(-1, 3, -1, -1)
        features: Tensor = self._network(images)
        return features


def load_inception(
    path: Path | None = None,
    *,
    cache_dir: Path | None = None,
    expected_sha256: str | None = INCEPTION_SHA256,
    device: torch.device | str = "cpu",
) -> InceptionExtractor:
    """Load the weights from a file; without one, download it (91 MB).

    Args:
        path: The weight file; by default ``$HEBM_INCEPTION``, else the file of that name in the cache folder.
        cache_dir: The cache folder; by default ``$HEBM_CACHE/features`` or ``~/.cache/hebm/features``.
        expected_sha256: What the file must hash to; None takes any weights of this network, which are then
            not the standard ones.
        device: Where to put the network.

    Raises:
        MissingDataError: If the file is not there and cannot be downloaded.
        DataError: If the file has another hash, or does not hold this network's weights.
    """
    path = path or _find(cache_dir or default_cache_dir())
    if not path.is_file():
        raise MissingDataError(f"{path}: no such file; it should hold the weights {INCEPTION_FILE}.")
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if expected_sha256 is not None and sha256 != expected_sha256:
        raise DataError(
            f"{path} has the SHA-256 {sha256}, expected {expected_sha256}; get it again from {INCEPTION_URL}."
        )
    return InceptionExtractor(_read(path), sha256=sha256, device=device)


def _read(path: Path) -> InceptionV3:
    network = build_empty(InceptionV3)
    counters = {
        name: torch.tensor(0) for name in network.state_dict() if name.endswith("num_batches_tracked")
    }
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(counters | state)  # older files lack the counters, which nothing reads
    except (RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise DataError(f"{path} does not hold the weights of this network: {error}") from error
    return network


def _find(cache_dir: Path) -> Path:
    """The file the user names, the one in the cache folder, or a fresh download into it."""
    named = os.environ.get("HEBM_INCEPTION")
    if named:
        return Path(named).expanduser()
    path = cache_dir / INCEPTION_FILE
    return path if path.is_file() else _download(path)


def _download(path: Path) -> Path:
    import pooch

    try:
        pooch.retrieve(INCEPTION_URL, f"sha256:{INCEPTION_SHA256}", fname=path.name, path=path.parent)
    except (OSError, ValueError) as error:  # no network, a full disk, or another hash
        raise MissingDataError(
            f"the Inception weights are not at {path} and could not be downloaded ({error}); download "
            f"{INCEPTION_URL} elsewhere and put it there, or name its place in HEBM_INCEPTION."
        ) from error
    return path
