"""Which folder of a Maildir root belongs to a local part (ADR-11, ADR-18).

Lower-case letters, digits, "_", "+", "=", "-" and inner dots stand for themselves; every other octet is percent-encoded. So no name holds
a slash, none is "." or "..", none begins with a dot, and two mailboxes never share a folder.
"""

from __future__ import annotations

import hashlib
import re

__all__ = ["folder_name"]

_UNSAFE = re.compile(rb"[^a-z0-9_+=.-]|^\.|\.$")

# Octets a file name may have on every file system, with room to spare; a longer name (64 octets, all encoded, have 192) keeps a digest
MAX_NAME = 200


def folder_name(local: str) -> str:
    """Return the name of the folder of the mailbox `local`; raise ValueError for an empty one."""
    if not local:
        raise ValueError("a mailbox has a name")
    name = _UNSAFE.sub(lambda match: b"%%%02x" % match[0][0], local.lower().encode("utf-8", "surrogatepass")).decode()
    if len(name) <= MAX_NAME:
        return name
    return f"{name[:100]}%{hashlib.sha256(name.encode()).hexdigest()[:40]}"
