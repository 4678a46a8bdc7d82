"""Greeting and EHLO: from an open connection to what the server offers (RFC 5321 sections 3.1, 3.2; RFC 2033 for LHLO).

Once per connection, so it is written with awaits. HELO follows only where EHLO was refused for good (C26).
"""

from __future__ import annotations

from upesi.client.connection import Connection
from upesi.protocol.smtp.answers import ReceivedReply

__all__ = ["GreetingRefused", "greet", "introduce", "request_tls"]

# RFC 5321 section 4.5.3.2.1: five minutes for the greeting, and no less for the answer to EHLO
GREETING_TIMEOUT = 300.0
EHLO_TIMEOUT = 300.0
STARTTLS_TIMEOUT = 300.0


class GreetingRefused(Exception):
    """The server wants no mail from us now; `reply` is what it said."""

    def __init__(self, reply: ReceivedReply) -> None:
        super().__init__(f"{reply.code} {reply.text}")
        self.reply = reply


async def greet(connection: Connection, name: str) -> None:
    """Introduce us as `name`; afterwards the machine knows the server's extensions.

    Raises GreetingRefused for anything but 2xx, ConnectionLost where there is no answer.
    """
    reply = await connection.next_reply(GREETING_TIMEOUT)
    if not reply.positive:
        raise GreetingRefused(reply)
    await introduce(connection, name)


async def introduce(connection: Connection, name: str) -> None:
    """Say EHLO, also again behind the TLS handshake (RFC 3207 section 4.2); raises as `greet` does."""
    machine = connection.machine
    connection.write(machine.ehlo(name))
    reply = await connection.next_reply(EHLO_TIMEOUT)
    if reply.code >= 500 and not machine.lmtp:
        connection.write(machine.helo(name))
        reply = await connection.next_reply(EHLO_TIMEOUT)
    if not reply.positive:
        raise GreetingRefused(reply)


async def request_tls(connection: Connection) -> ReceivedReply:
    """Say STARTTLS and return the reply; after a 220 the handshake must come next. Raises ConnectionLost."""
    connection.write(connection.machine.starttls())
    return await connection.next_reply(STARTTLS_TIMEOUT)
