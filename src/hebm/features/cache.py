"""Where trained extractors and reference statistics are kept, and how files get there in one piece."""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["cache_name", "default_cache_dir", "publish"]

_LOGGER = logging.getLogger("hebm")


def default_cache_dir() -> Path:
    """``$HEBM_CACHE/features``, or ``~/.cache/hebm/features`` where that is not set."""
    root = os.environ.get("HEBM_CACHE")
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "hebm") / "features"


def cache_name(*parts: str | int) -> str:
    """Join parts into one file name; what a file name should not hold becomes ``_``."""
    return re.sub(r"[^\w.=-]+", "_", "-".join(str(part) for part in parts))


def publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Write files into a folder that appears whole or not at all.

    Another process may have put the same folder there meanwhile: the first one stays. A cache that cannot be
    written to is logged and costs only the time to compute its contents again.

    Args:
        folder: What to create.
        write: Writes every file into the folder it is given.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
    except OSError as error:
        _LOGGER.warning(
            "%s cannot be written to (%s); set HEBM_CACHE to another folder", folder.parent, error
        )
        return
    try:
        write(partial)
        os.rename(partial, folder)
    except OSError as error:
        if not folder.is_dir():
            _LOGGER.warning("%s could not be stored: %s", folder, error)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
