"""The sets known by name: what they are, which files they need, and who reads them."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType

from hebm.data.arrays import KMNIST_NPZ_FILES, find_array, find_kmnist_npz, read_array, read_kmnist_npz
from hebm.data.cifar_binary import (
    CIFAR10_ARCHIVE,
    CIFAR10_FOLDER,
    find_cifar_binary,
    read_cifar_binary,
)
from hebm.data.digits import read_digits
from hebm.data.download import RemoteFile
from hebm.data.factors import read_factors
from hebm.data.folder import (
    CELEBA_FOLDER,
    CELEBA_PARTITION,
    find_celeba,
    find_folder,
    read_celeba,
    read_folder,
)
from hebm.data.idx import IDX_FILES, find_idx, read_idx
from hebm.data.mat import SVHN_FILES, find_svhn, read_svhn
from hebm.data.parquet import find_parquet, find_split_parquet, read_parquet, read_parquet_files
from hebm.data.reading import Decoded, Finder, Reader, ReadOptions
from hebm.data.shapes3d import SHAPES3D_FILE, find_shapes3d, read_shapes3d
from hebm.data.splits import HELD_OUT_SPLITS
from hebm.errors import DataError

__all__ = ["SOURCES", "Source", "find_source"]

_CIFAR_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Source:
    """One set.

    Args:
        name: The name that users write.
        description: One line.
        splits: The splits there are.
        licence: What its authors state.
        read: Reads the files of a split.
        find: Finds the files of a split in the set's folder; None if the set needs no file.
        expected: Which files each split needs, for messages.
        downloads: Files with a pinned hash, per split.
        image_shape: [C, H, W], or None if it depends on the files.
        needs_path: Whether the user says where it is.
    """

    name: str
    description: str
    splits: tuple[str, ...]
    licence: str
    read: Reader
    find: Finder | None = None
    expected: Mapping[str, Sequence[str]] = field(default_factory=dict)
    downloads: Mapping[str, Sequence[RemoteFile]] = field(default_factory=dict)
    image_shape: tuple[int, int, int] | None = None
    needs_path: bool = False


def find_source(name: str) -> Source:
    """Look a set up by name.

    Raises:
        DataError: If there is none; the message has the nearest name.
    """
    if name not in SOURCES:
        near = difflib.get_close_matches(name, SOURCES, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise DataError(f"there is no image set called '{name}'; {hint}known: {', '.join(SOURCES)}.")
    return SOURCES[name]


def _find_kmnist(folder: Path, split: str) -> Sequence[Path]:
    return find_idx(folder, split) or find_kmnist_npz(folder, split)


def _read_kmnist(files: Sequence[Path], options: ReadOptions) -> Decoded:
    return (read_kmnist_npz if files[0].suffix == ".npz" else read_idx)(files, options)


def _find_cifar10(folder: Path, split: str) -> Sequence[Path]:
    return find_cifar_binary(folder, split) or find_split_parquet(folder, split)


def _read_cifar10(files: Sequence[Path], options: ReadOptions) -> Decoded:
    if files[0].suffix == ".parquet":
        return read_parquet_files(files, options, official=True, image_shape=_CIFAR_SHAPE)
    return read_cifar_binary(files, options)


def _idx_downloads(bases: Sequence[str], hashes: Sequence[str]) -> dict[str, list[RemoteFile]]:
    """Pin images and labels of both splits, in the order of ``IDX_FILES``."""
    pins = iter(hashes)
    return {
        split: [RemoteFile(name, next(pins), [base + name for base in bases]) for name in names]
        for split, names in IDX_FILES.items()
    }


def _single_download(base: str, name: str, sha256: str) -> list[RemoteFile]:
    return [RemoteFile(name, sha256, [base + name])]


_idx_set = partial(
    Source,
    splits=("train", "test"),
    find=find_idx,
    read=read_idx,
    expected=IDX_FILES,
    image_shape=(1, 28, 28),
)
_CIFAR10_DOWNLOAD = _single_download(
    "https://www.cs.toronto.edu/~kriz/",
    CIFAR10_ARCHIVE,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_SVHN_HASHES = {
    "train": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
    "test": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    "extra": "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
}

_ALL = (
    Source(
        name="digits",
        description="scikit-learn's handwritten digits, 1,437 + 360",
        splits=("train", "test"),
        licence="CC BY 4.0",
        read=read_digits,
        image_shape=(1, 8, 8),
    ),
    Source(
        name="factors",
        description="generated figures with known factors, any size, 20,000 + 4,000",
        splits=("train", "test"),
        licence="that of this software",
        read=read_factors,
    ),
    Source(
        name="shapes3d",
        description="3DShapes, 480,000 renderings with known factors (needs h5py); 'test' is a held-out share",
        splits=HELD_OUT_SPLITS,
        licence="none stated beside the data; the authors ask to be cited",
        find=find_shapes3d,
        read=read_shapes3d,
        expected=dict.fromkeys(HELD_OUT_SPLITS, (SHAPES3D_FILE,)),
        image_shape=(3, 64, 64),
    ),
    _idx_set(
        name="mnist",
        description="handwritten digits, 60,000 + 10,000",
        licence="CC BY-SA 3.0",
        downloads=_idx_downloads(
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            (
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    _idx_set(
        name="fashion_mnist",
        description="articles of clothing, 60,000 + 10,000",
        licence="MIT",
        downloads=_idx_downloads(
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            (
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
    _idx_set(
        name="kmnist",
        description="cursive Japanese characters, 60,000 + 10,000",
        licence="CC BY-SA 4.0",
        find=_find_kmnist,
        read=_read_kmnist,
        expected={
            split: (*names, f"(or {' and '.join(KMNIST_NPZ_FILES[split])})")
            for split, names in IDX_FILES.items()
        },
        downloads=_idx_downloads(
            ("https://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
            (
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
                "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            ),
        ),
    ),
    Source(
        name="svhn",
        description="street view house numbers, cropped digits, 73,257 + 26,032 + 531,131 extra",
        splits=("train", "test", "extra"),
        licence="non-commercial use only",
        find=find_svhn,
        read=read_svhn,
        expected=SVHN_FILES,
        downloads={
            split: _single_download("http://ufldl.stanford.edu/housenumbers/", SVHN_FILES[split][0], sha256)
            for split, sha256 in _SVHN_HASHES.items()
        },
        image_shape=_CIFAR_SHAPE,
    ),
    Source(
        name="svhn_sample",
        description="a small part of SVHN as parquet; 'test' is a held-out share",
        splits=HELD_OUT_SPLITS,
        licence="non-commercial use only",
        find=find_parquet,
        read=read_parquet,
        expected=dict.fromkeys(HELD_OUT_SPLITS, ("*.parquet",)),
        image_shape=_CIFAR_SHAPE,
    ),
    Source(
        name="cifar10",
        description="photographs of ten classes, 50,000 + 10,000",
        splits=("train", "test"),
        licence="none stated; the authors ask to be cited",
        find=_find_cifar10,
        read=_read_cifar10,
        expected={
            split: (CIFAR10_ARCHIVE, f"(or {CIFAR10_FOLDER}/*.bin, or {split}-*.parquet)")
            for split in ("train", "test")
        },
        downloads=dict.fromkeys(("train", "test"), _CIFAR10_DOWNLOAD),
        image_shape=_CIFAR_SHAPE,
    ),
    Source(
        name="celeba",
        description="aligned faces, centre crop 148 resized to 64; without its list, 'test' is held out",
        splits=("train", "valid", "test", "all"),
        licence="non-commercial research only",
        find=find_celeba,
        read=read_celeba,
        expected=dict.fromkeys(
            ("train", "valid", "test", "all"), (f"{CELEBA_FOLDER}/*.jpg", CELEBA_PARTITION)
        ),
        image_shape=(3, 64, 64),
    ),
    Source(
        name="folder",
        description="any folder of images, sub-folders included; 'test' is a held-out share",
        splits=HELD_OUT_SPLITS,
        licence="yours",
        find=find_folder,
        read=read_folder,
        needs_path=True,
    ),
    Source(
        name="parquet",
        description="parquet with the Hugging Face image schema; 'test' is test-* or a held-out share",
        splits=HELD_OUT_SPLITS,
        licence="yours",
        find=find_parquet,
        read=read_parquet,
        needs_path=True,
    ),
    Source(
        name="array",
        description="a .npz or .npy file of images; 'test' is a held-out share",
        splits=HELD_OUT_SPLITS,
        licence="yours",
        find=find_array,
        read=read_array,
        needs_path=True,
    ),
)
SOURCES: Mapping[str, Source] = MappingProxyType({source.name: source for source in _ALL})
