"""Freed memory stays with the process, so that the next training step has it without asking the kernel.

glibc gives large blocks back as they are freed, and every step asks for the same ones again, page by page. What that
costs is measured by `python -m benchmarks.suite --only memory`.
"""

import ctypes
import logging
import os
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_BYTES = 2**31 - 1
_BLOCK_BYTES = (2**30, 2**25)  # the second is the most that older versions take
_USERS_OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")

log = logging.getLogger(__name__)


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GiB of freed memory, blocks of up to 1 GiB among it.

    Nothing that is computed changes. It holds until the process ends; its peak is the same, but afterwards it gives
    less back. Where the user has set ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_`` or glibc's malloc in
    ``GLIBC_TUNABLES``, that stands: ``MALLOC_TRIM_THRESHOLD_=131072 hebm train ...`` is how to switch this off.

    Returns:
        Whether it is so now; False on other systems than Linux with glibc, and where the user's setting stands.

    Source: mallopt(3).
    """
    if any(name in os.environ for name in _USERS_OWN) or "glibc.malloc" in os.environ.get(
        "GLIBC_TUNABLES", ""
    ):
        log.info("memory: the allocator is left as the environment has it")
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    blocks_are_kept = any(mallopt(_M_MMAP_THRESHOLD, size) for size in _BLOCK_BYTES)
    return blocks_are_kept and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
