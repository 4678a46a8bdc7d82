"""Greeting and EHLO: from an open connection to what the server offers (RFC 5321 sections 3.1, 3.2; RFC 2033 for LHLO).

Once per connection, so it is written with awaits. HELO follows only where EHLO was refused for good (C26).
"""

from __future__ import annotations

from upesi.client.connection import Connection, ConnectionLost
from upesi.mail.reply import Reply

__all__ = ["GreetingRefused", "greet"]

# RFC 5321 section 4.5.3.2.1: five minutes for the greeting, and no less for the answer to EHLO
GREETING_TIMEOUT = 300.0
EHLO_TIMEOUT = 300.0


class GreetingRefused(Exception):
    """The server wants no mail from us now; `reply` is what it said."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


async def greet(connection: Connection, name: str, *, lmtp: bool = False) -> Reply:
    """Introduce us as `name` and return the server's answer, whose lines are its extensions.

    Raises GreetingRefused for anything but 2xx, ConnectionLost where there is no answer.
    """
    greeting = await connection.next_reply(GREETING_TIMEOUT)
    if not 200 <= greeting.code < 300:
        raise GreetingRefused(greeting)
    reply = await _say(connection, "LHLO" if lmtp else "EHLO", name)
    if reply.code >= 500 and not lmtp:
        helo = await _say(connection, "HELO", name)
        # what follows the name in an answer to HELO is no extension
        reply = Reply(helo.code, helo.status, helo.lines[:1], b"")
    if not 200 <= reply.code < 300:
        raise GreetingRefused(reply)
    return reply


async def _say(connection: Connection, verb: str, name: str) -> Reply:
    connection.write(f"{verb} {name}\r\n".encode())
    reply = await connection.next_reply(EHLO_TIMEOUT)
    if reply.code // 100 == 3:
        raise ConnectionLost("3xx reply to EHLO")
    return reply
