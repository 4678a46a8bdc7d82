"""`[smtp.timeouts]`: how long the server side waits for a client."""

from __future__ import annotations

from upesi.config.section import Section
from upesi.config.units import Duration

__all__ = ["Timeouts"]


class Timeouts(Section, frozen=True, kw_only=True):
    """How long the server side waits (RFC 5321 section 4.5.3.2.7: at least five minutes for a command)."""

    # for the next command
    command: Duration = Duration("5m")
    # between two pieces of message data (RFC 5321 section 4.5.3.2.5: three minutes)
    data_block: Duration = Duration("3m")
    # a whole session; nothing honest needs longer
    session: Duration = Duration("6h")
    # from the first octet to the login, on a listener with the role submission: a mail program needs seconds, and who does not log in
    # keeps a place from those who would
    login: Duration = Duration("2m")
    # a TLS handshake from its first octet to its last
    handshake: Duration = Duration("30s")
    # a PROXY header: the first octets of a machine that is near (its specification: three seconds at least, for one lost packet)
    proxy: Duration = Duration("5s")
