"""What is stored of a message that plugins changed: our fields in front, and a body that is copied only where it has to be.

A large body is a file that the session has written. Where only its beginning was changed (header fields, nearly always), the changed
beginning is written over the old one, and what does not fit goes in front with our own fields: 25 MB are not written again for a
field. Where parts were changed, the spool writes a new file of the view.
"""

from __future__ import annotations

from typing import Final

from upesi.hooks.session import Transaction
from upesi.mail.body import Body, MemoryBody
from upesi.mail.edits import Edit, EditedBody
from upesi.mail.headers import MAX_HEADER
from upesi.spool.body_file import FileBody

__all__ = ["stored_form"]

_EMPTY: Final = MemoryBody(b"")
_BLANKS: Final = (b" ", b"\t")


def stored_form(tx: Transaction, prefix: bytes) -> tuple[bytes, Body]:
    """Return what goes in front of the body, beginning with `prefix`, and the body; raise SpoolError."""
    body = tx.body or _EMPTY
    if not tx.has_edits:
        if tx.added:
            prefix += b"".join(tx.added)
        # it begins with a continuation, which must not continue the last field of ours: an empty line ends the section before it
        return prefix + b"\r\n" if body.read(0, 1) in _BLANKS else prefix, body
    edits = tx.edits
    prefix += edits.head(body)
    if isinstance(body, FileBody) and edits.changes[-1].end <= MAX_HEADER:
        written = _written_over(tx, body, prefix)
        if written is not None:
            return written, body
    return prefix, edits.message(body)


def _written_over(tx: Transaction, body: FileBody, prefix: bytes) -> bytes | None:
    """Change the beginning of the file; return what stands in front of it then, None where the new beginning is too short."""
    changes = tx.edits.changes
    length = changes[-1].end
    old = body.read(0, length)
    new = prefix + b"".join(EditedBody(MemoryBody(old), b"", list(changes)).chunks())
    if len(new) < length:
        return None
    cut = len(new) - length
    body.begin_with(new[cut:])
    # whoever looks later sees what came in
    tx.restore(EditedBody(body, b"", [Edit(0, length, old)]))
    return new[:cut]
