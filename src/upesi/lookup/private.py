"""Files that hold secrets: read only where nobody else can read or change them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from upesi.lookup.failures import LookupFailed

__all__ = ["FORBIDDEN", "FileRefused", "read_private", "read_secret"]

# nobody but the owner and its group may read, nobody but the owner may write
FORBIDDEN = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_MAX_SECRET = 4096


class FileRefused(LookupFailed):
    """The file cannot be used; the text names it and what is wrong, and shows nothing that is in it."""

    temporary = False


def read_private(path: Path, most: int) -> tuple[bytes, os.stat_result]:
    """Return the octets of a file, at most `most` of them and one more, and what it is; raise FileRefused."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            _check(path, status)
            return file.read(most + 1), status
    except OSError as error:
        raise FileRefused(f"{path}: cannot be read: {error.strerror}") from error


def read_secret(path: Path) -> str:
    """Return the first line of a file: a password or token of ours; raise FileRefused."""
    data, _ = read_private(path, _MAX_SECRET)
    try:
        secret = data.split(b"\n", 1)[0].removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise FileRefused(f"{path}: is not UTF-8") from None
    if not secret or not secret.isprintable() or len(data) > _MAX_SECRET:
        raise FileRefused(f"{path}: must have a password or token in its first line, and nothing else")
    return secret


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise FileRefused(f"{path}: is no file")
    if status.st_mode & FORBIDDEN:
        raise FileRefused(f"{path}: others may read or change it: chmod 600 {path}")
    # whoever owns it can change it. Root looks after files of the user that the server will run as
    if os.geteuid() != 0 and status.st_uid not in (0, os.geteuid()):
        raise FileRefused(f"{path}: belongs to another user: chown it to the one that this runs as, or to root")
