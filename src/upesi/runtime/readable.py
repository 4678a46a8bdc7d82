"""Whether workers, which run as `node.user`, will be able to read what a check has read as root."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from upesi.config.problems import SOMEWHERE, Problem
from upesi.mail.errors import UpesiError

__all__ = ["Unreadable", "check_readable", "unknown_user"]


class Unreadable(UpesiError):
    """Workers could not read a file."""

    temporary = False


def check_readable(path: Path, user: str) -> None:
    """Raise Unreadable where `user` may not read the file, or not come to it, by the modes on its way (no access lists)."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        # said elsewhere
        return
    groups = os.getgrouplist(user, entry.pw_gid)
    for part in (*reversed(path.parents), path):
        if not _open_to(part, entry.pw_uid, groups):
            raise Unreadable(
                f"{path} cannot be read by {user} (node.user), as whom workers run: see the rights of {part}"
            )


def unknown_user(user: str) -> list[Problem]:
    """Return a warning where there is no such user: the start will be refused, but the check may be on another machine or come first."""
    if not user:
        return []
    try:
        pwd.getpwnam(user)
    except KeyError:
        text = f"there is no user {user!r} on this machine; make it before the start"
        return [Problem(SOMEWHERE, 0, "node.user", text)]
    return []


def _open_to(path: Path, uid: int, groups: list[int]) -> bool:
    """Whether a user may read a file, or go through a folder."""
    status = path.stat()
    wanted = 0o1 if path.is_dir() else 0o4
    if status.st_uid == uid:
        return bool(status.st_mode & wanted << 6)
    return bool(status.st_mode & (wanted << 3 if status.st_gid in groups else wanted))
