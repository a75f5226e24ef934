"""Downloads from a server on this machine: whole and verified, or not there at all."""

import gzip
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from data_files import idx_bytes, pictures

from hebm.data import load_images, sources
from hebm.data.download import RemoteFile, fetch
from hebm.errors import MissingDataError

CONTENT = gzip.compress(idx_bytes(pictures(3, 28, 28)[:, 0]), mtime=0)
LABELS = gzip.compress(idx_bytes(np.asarray([7, 8, 9], np.uint8)), mtime=0)


class _Handler(BaseHTTPRequestHandler):
    requests: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.requests.append(self.path)
        body = {"/images": CONTENT, "/labels": LABELS, "/other": b"x" * 99, "/cut": CONTENT}.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write((body or b"")[: 50 if self.path == "/cut" else None])

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on a free port, reached without any proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    _Handler.requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_missing_set_is_fetched_once_and_read(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files land in root/mnist under their official names; the second load asks nobody."""
    remote = [
        RemoteFile("train-images-idx3-ubyte.gz", _sha256(CONTENT), [f"{server}/images"]),
        RemoteFile("train-labels-idx1-ubyte.gz", _sha256(LABELS), [f"{server}/labels"]),
    ]
    mnist = replace(sources.SOURCES["mnist"], downloads={"train": remote})
    monkeypatch.setattr(sources, "SOURCES", {"mnist": mnist})
    for _ in range(2):
        loaded = load_images("mnist", "train", root=tmp_path)
        np.testing.assert_array_equal(loaded.images, pictures(3, 28, 28))
        np.testing.assert_array_equal(loaded.labels, [7, 8, 9])
    assert _Handler.requests == ["/images", "/labels"]
    assert _files(tmp_path) == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize(
    ("address", "reason"),
    [("/other", "SHA-256 differs"), ("/cut", "IncompleteRead|Connection broken"), ("/nowhere", "404")],
)
def test_a_bad_download_leaves_nothing_behind(tmp_path: Path, server: str, address: str, reason: str) -> None:
    """Another file, half a file, no file: the reason is said, and a second try can succeed."""
    remote = RemoteFile("a.gz", _sha256(CONTENT), [server + address])
    with pytest.raises(MissingDataError, match=rf"a\.gz is missing from .*{address}: .*({reason})"):
        fetch(remote, tmp_path / "set", set_name="set")
    assert _files(tmp_path) == []
    whole = fetch(replace(remote, urls=[server + "/images"]), tmp_path / "set", set_name="set")
    assert whole.read_bytes() == CONTENT


def test_the_next_address_is_tried(tmp_path: Path, server: str) -> None:
    """One mirror is gone, the other has the file."""
    remote = RemoteFile("a.gz", _sha256(CONTENT), [f"{server}/nowhere", f"{server}/images"])
    assert fetch(remote, tmp_path, set_name="set").read_bytes() == CONTENT


def test_without_a_server_the_message_says_what_to_put_where(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens: at once, with the file, the folder, HEBM_DATA, the address and the cause."""
    remote = RemoteFile("a.gz", _sha256(CONTENT), ["http://127.0.0.1:1/a.gz"])
    with pytest.raises(
        MissingDataError, match=r"set: the file a\.gz is missing from .*HEBM_DATA.*refused"
    ) as caught:
        fetch(remote, tmp_path, set_name="set")
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value, FileNotFoundError)


def test_nothing_is_fetched_unless_allowed(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """download=False names the files instead."""
    remote = [RemoteFile("train-images-idx3-ubyte.gz", _sha256(CONTENT), [f"{server}/images"])]
    mnist = replace(sources.SOURCES["mnist"], downloads={"train": remote})
    monkeypatch.setattr(sources, "SOURCES", {"mnist": mnist})
    with pytest.raises(
        MissingDataError, match=r"put train-images-idx3-ubyte\.gz, train-labels-idx1-ubyte\.gz there"
    ):
        load_images("mnist", "train", root=tmp_path, download=False)
    assert _Handler.requests == []


def test_sets_without_a_download_say_which_files_they_need(tmp_path: Path) -> None:
    """CelebA has to be placed by hand."""
    with pytest.raises(
        MissingDataError, match=r"celeba: .*img_align_celeba/\*\.jpg, list_eval_partition\.txt there"
    ):
        load_images("celeba", root=tmp_path)
