"""Fetch a file with a pinned SHA-256; it appears under its name only when it is whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch

from hebm.errors import MissingDataError

__all__ = ["RemoteFile", "fetch"]

_TIMEOUT_S = (10, 60)  # to connect, between two packets


@dataclass(frozen=True)
class RemoteFile:
    """A file on the network.

    Args:
        file_name: What it is called in its folder.
        sha256: Its hash, 64 hexadecimal digits.
        urls: Where it is offered; tried in this order, each once.
    """

    file_name: str
    sha256: str
    urls: Sequence[str]


def fetch(remote: RemoteFile, folder: Path, *, set_name: str) -> Path:
    """Download a file into a folder.

    Args:
        remote: The file.
        folder: Where it goes; made if it is not there.
        set_name: Whose file it is, for the message.

    Returns:
        The path of the whole, verified file.

    Raises:
        MissingDataError: If no address gives the right file; nothing is left behind.
    """
    failures: list[str] = []
    cause: Exception | None = None
    for url in remote.urls:
        try:
            return _retrieve(url, remote, folder)
        except (OSError, ValueError) as error:  # network and disk; a wrong hash
            failures.append(f"{url}: {_reason(error)}")
            cause = error
    raise MissingDataError(
        f"{set_name}: the file {remote.file_name} is missing from {folder}; put it there, or set HEBM_DATA "
        f"to the folder that holds {set_name}/; tried to download it from {'; from '.join(failures)}."
    ) from cause


def _retrieve(url: str, remote: RemoteFile, folder: Path) -> Path:
    answers: list[Any] = []
    downloader = pooch.HTTPDownloader(
        timeout=_TIMEOUT_S,
        # A server that declares a .gz file as compressed *transfer* would have it unpacked on the way.
        headers={"Accept-Encoding": "identity"},
        hooks={"response": lambda answer, **_: answers.append(answer)},
    )
    try:
        path = pooch.retrieve(
            url, f"sha256:{remote.sha256}", fname=remote.file_name, path=folder, downloader=downloader
        )
    finally:
        for answer in answers:  # pooch leaves the connection of a failed download open
            answer.close()
    return Path(path)


def _reason(error: Exception) -> str:
    if "hash" in str(error) and isinstance(error, ValueError) and not isinstance(error, OSError):
        return "what came is not the pinned file (its SHA-256 differs), so it was not kept"
    inner = error.args[0] if error.args else error
    text = str(getattr(inner, "reason", None) or error)
    return text.rpartition("): ")[2] if text.startswith("HTTP") else text
