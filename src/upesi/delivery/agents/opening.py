"""Reaching a destination: its hosts in order, each with all its addresses, until one greets us (C23, C26).

A connection that fails, a greeting or EHLO answered 4xx or 5xx, TLS that is not what the policy wants, and a silent server each lead to
the next address, then the next host. Only when every one refused for good is the outcome FAILED.
"""

from __future__ import annotations

import asyncio

from upesi.client.connecting import Connector, Endpoint, LoopsBack, NoAddress
from upesi.client.connection import Connection, ConnectionLost
from upesi.client.handshake import GreetingRefused
from upesi.delivery.agents.securing import Insecure, Securing
from upesi.delivery.outcomes import deferred, failed, from_reply
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import LmtpRoute
from upesi.protocol.smtp.answers import ReceivedReply
from upesi.scheduler.work import Destination, Host

__all__ = ["Unreachable", "reach"]

# Seconds after which no further address is tried: two hundred silent ones would take hours
GIVE_UP = 600.0

# RFC 7504: 521 says that this host never takes mail. Any other 5xx greeting is about us or about now (a block list, say): try later
NO_MAIL = 521


class Unreachable(Exception):
    """No host of the destination could be spoken to."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


async def reach(
    loop: asyncio.AbstractEventLoop, connector: Connector, securing: Securing, destination: Destination
) -> Connection:
    """Return a connection that is as secure as its host's policy wants, whose machine knows the server's extensions; raise Unreachable."""
    outcomes: list[Outcome] = []
    until = loop.time() + GIVE_UP
    for host in destination.hosts:
        try:
            endpoints = await connector.endpoints(host.name, host.port, known=host.addresses, private=host.private)
        except LoopsBack:
            # C22: nobody from here on is better than we are
            outcomes.append(failed("5.4.6", f"mail loops back to this server: {host.name} leads here"))
            break
        except NoAddress as error:
            text = f"{host.name}: {error}"
            outcomes.append(deferred("4.4.3", text) if error.temporary else failed("5.4.4", text))
            continue
        while endpoints and loop.time() < until:
            result = await _try(connector, securing, host, endpoints, destination)
            if not isinstance(result, Outcome):
                return result
            outcomes.append(result)
    raise Unreachable(_worst(outcomes))


async def _try(
    connector: Connector, securing: Securing, host: Host, endpoints: list[Endpoint], destination: Destination
) -> Connection | Outcome:
    before = tuple(endpoints)
    lmtp = isinstance(destination.route, LmtpRoute)
    try:
        connection = await connector.open(endpoints, lmtp=lmtp, implicit=host.implicit)
    except ConnectionLost as error:
        return deferred("4.4.1", str(error))
    try:
        await securing.prepare(connection, host, requiretls=destination.requiretls)
        return connection
    except Insecure as error:
        connection.abort()
        if error.again:
            # once: `securing` remembers that this server is not asked for TLS now
            endpoints[:0] = [endpoint for endpoint in before if str(endpoint) == connection.remote]
        return error.outcome
    except GreetingRefused as error:
        connection.close()
        return _greeting(error.reply, connection.remote)
    except ConnectionLost as error:
        connection.abort()
        return deferred("4.4.2", f"{error} before mail could be sent", connection.remote)
    except BaseException:
        connection.abort()  # told to stop
        raise


def _greeting(reply: ReceivedReply, remote: str) -> Outcome:
    if reply.code < 500 or reply.code == NO_MAIL:
        return from_reply(reply, remote)
    return Outcome(OutcomeKind.DEFERRED, reply.code, "4.3.2", reply.text, remote)


def _worst(outcomes: list[Outcome]) -> Outcome:
    """Return the last temporary outcome, or else the last: one host that may come back is enough to wait for."""
    temporary = [outcome for outcome in outcomes if outcome.kind is OutcomeKind.DEFERRED]
    return (temporary or outcomes or [deferred("4.4.1", "no host to try")])[-1]
