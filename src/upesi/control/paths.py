"""Unix socket addresses in folders of any depth.

The kernel takes 107 octets of path (unix(7)); a spool may lie deeper. A name relative to an open folder, through /proc, is always short.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["socket_address"]

_MAX_PATH = 107


@contextmanager
def socket_address(path: str) -> Iterator[str]:
    """Give an address for `path` that bind() and connect() take, for the time of the block; raise OSError if its folder is missing."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield path
        return
    folder, name = os.path.split(path)
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{name}"
    finally:
        os.close(fd)
