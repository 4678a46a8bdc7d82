"""The one way in which a lookup fails: for now. A source that cannot answer has said neither yes nor no (AUT-07)."""

from __future__ import annotations

from upesi.mail.errors import ServiceFailed

__all__ = ["LookupFailed"]


class LookupFailed(ServiceFailed):
    """A source is down, slow, overloaded, or speaks nonsense.

    The text is written here or by the operating system, never taken from what a client or a server sent: it goes to the log.
    """

    status = "4.7.0"
