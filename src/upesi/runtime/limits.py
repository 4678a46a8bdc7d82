"""The process's own limits."""

from __future__ import annotations

import resource

__all__ = ["raise_file_limit"]


def raise_file_limit() -> int:
    """Allow as many open files as the system lets us, for us and the workers; return that number.

    The soft limit of 1,024 that shells set is for programs that use select(); thousands of sessions need more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
