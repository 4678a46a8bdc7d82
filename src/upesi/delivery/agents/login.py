"""AUTH at a smarthost (RFC 4954), inside TLS only: `ClientConnection.auth` refuses anything else (C52).

What the server says when it refuses us is not passed on: a hostile one could write the password into it, and the text of an outcome stands
in logs and in reports to senders. Mail waits then: an account that was mistyped must not bounce what is in the queue.
"""

from __future__ import annotations

import asyncio
import binascii
from base64 import b64decode
from pathlib import Path

from upesi.client.connection import Connection
from upesi.delivery.agents.mechanisms import CLIENT_MECHANISMS, Distrusted, Steps
from upesi.lookup.private import FileRefused, read_secret
from upesi.protocol.smtp.answers import ReceivedReply
from upesi.sasl.saslprep import PrepError

__all__ = ["LoginFailed", "log_in"]

# Seconds for each reply: the server may have to ask a directory
REPLY_TIMEOUT = 300.0

# Challenges of one exchange; SCRAM has two, LOGIN two
MAX_CHALLENGES = 5


# RFC 4954 sections 4 and 6: no other code means these
_CHALLENGE = 334
_SUCCESS = 235


class LoginFailed(Exception):
    """We were not let in. `reason` is for our log and shows nothing secret; the exception's text is for anybody."""

    def __init__(self, text: str, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text


async def log_in(connection: Connection, user: str, password_file: str, nonce: str) -> None:
    """Authenticate as `user`. Raises LoginFailed, ConnectionLost."""
    offered = connection.machine.extensions.auth
    name = next((name for name in CLIENT_MECHANISMS if name in offered), "")
    if not name:
        raise LoginFailed("the server offers no way to authenticate that we know")
    try:
        password = await asyncio.to_thread(read_secret, Path(password_file))
    except FileRefused as error:
        raise LoginFailed("our password for the server cannot be read", str(error)) from None
    try:
        reply = await _exchange(connection, name, CLIENT_MECHANISMS[name](user, password, nonce))
    except Distrusted as error:
        raise LoginFailed(f"AUTH {name}: {error}") from None
    except PrepError:
        raise LoginFailed("our password for the server cannot be used", f"AUTH {name}: no valid password") from None
    if reply.code != _SUCCESS:
        raise LoginFailed(f"AUTH {name} was answered {reply.code} {reply.status}".rstrip())


async def _exchange(connection: Connection, name: str, steps: Steps) -> ReceivedReply:
    """Say what `steps` say; return the reply that is no challenge. Raises Distrusted where the server wants less or more of us."""
    machine = connection.machine
    connection.write(machine.auth(name, next(steps)))
    reply = await connection.next_reply(REPLY_TIMEOUT)
    for _ in range(MAX_CHALLENGES):
        if reply.code != _CHALLENGE:
            break
        # in a thread: SCRAM computes for as long as the server likes, within bounds
        response = await asyncio.to_thread(_respond, steps, _challenge(reply))
        connection.write(machine.respond(response))
        reply = await connection.next_reply(REPLY_TIMEOUT)
    if reply.code == _SUCCESS and _unfinished(steps):
        raise Distrusted("the server lets us in without having shown that it knows us")
    return reply


def _respond(steps: Steps, challenge: bytes) -> bytes | None:
    try:
        return steps.send(challenge)
    except StopIteration:
        raise Distrusted("the server asks for more than the mechanism has") from None


def _unfinished(steps: Steps) -> bool:
    """Whether a mechanism still waits for something of the server."""
    try:
        steps.send(b"")
    except (StopIteration, Distrusted) as end:
        return isinstance(end, Distrusted)
    return True


def _challenge(reply: ReceivedReply) -> bytes:
    try:
        return b64decode(reply.text, validate=True)
    except (binascii.Error, ValueError):
        raise Distrusted("a challenge is no base64") from None
