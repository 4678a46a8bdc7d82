"""Command lines that a listener has read before, and what they mean: clients say few things, and most of them again and again.

`DATA` comes with every message, one MAIL line with all mail of one sender, and much mail goes to few mailboxes. Only lines go in here
that mean the same whatever the session: without parameters, and in ASCII. Whether a command may come now is asked each time.
"""

from __future__ import annotations

from typing import Final

from upesi.protocol.smtp.events import Command, MailCommand, RcptCommand
from upesi.protocol.smtp.states import Kind

__all__ = ["KnownLines"]

# Some 200 kB for each listener. When they are so many all are forgotten: senders of millions of different lines pay 0.2 us for each,
# and those that are in use are back at once
_MAX_KNOWN: Final = 512
_LONGEST: Final = 128

_ALIKE: Final = frozenset((Kind.DATA, Kind.RSET, Kind.NOOP, Kind.QUIT))


class KnownLines(dict[bytes, tuple[Kind, Command]]):
    """One for each listener: what may be written depends on its `ServerLimits`. Keys are whole lines, with their CRLF."""

    __slots__ = ()

    def remember(self, line: bytes, kind: Kind, event: Command) -> None:
        """Note that `line`, which is plain ASCII, was read as `event`, if it always will be."""
        if len(line) > _LONGEST:
            return
        if type(event) is MailCommand or type(event) is RcptCommand:
            if event.parameters:
                return
        elif kind not in _ALIKE:
            return
        if len(self) >= _MAX_KNOWN:
            self.clear()
        self[line] = (kind, event)
