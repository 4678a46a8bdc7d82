"""What must be true of a connection before mail goes over it: TLS as the policy wants it, REQUIRETLS, AUTH.

RFC 3207, RFC 8314 (TLS from the first octet), RFC 7435 (opportunistic), RFC 8689 (REQUIRETLS), RFC 4954. Where the policy is "may", a
server whose TLS fails is asked again in plaintext, on a new connection: after a failed handshake the old one carries nothing (C48).
Where TLS is required, nothing is ever sent in clear, and the mail waits (TLS-05).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from upesi.client.connection import Connection, ConnectionLost
from upesi.client.handshake import greet, introduce, request_tls
from upesi.client.tls import TlsClient, TlsFailed
from upesi.delivery.agents.login import LoginFailed, log_in
from upesi.delivery.outcomes import deferred, failed
from upesi.mail.outcome import Outcome
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.scheduler.work import Host

__all__ = ["Insecure", "Securing"]

Emit = Callable[[str, Mapping[str, object]], None]


class Insecure(Exception):
    """The connection is not what it must be. `outcome` is what that means for the mail; `again`: plaintext may be tried, on a new one."""

    def __init__(self, outcome: Outcome, *, again: bool = False) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome
        self.again = again


class Securing:
    """Brings connections to where mail may be sent.

    `name` is ours; `emit` hears where TLS or AUTH failed; `random` gives so many octets that nobody can guess.
    """

    __slots__ = ("_emit", "_name", "_random", "_tls")

    def __init__(self, tls: TlsClient, name: str, emit: Emit, random: Callable[[int], bytes]) -> None:
        self._tls = tls
        self._name = name
        self._emit = emit
        self._random = random

    async def prepare(self, connection: Connection, host: Host, *, requiretls: bool) -> None:
        """Greet, secure, authenticate. Raises Insecure, GreetingRefused, ConnectionLost."""
        policy = _policy(host, requiretls)
        try:
            if host.implicit:
                await self._tls.secure(connection, policy, host.domain, host.name)
                await greet(connection, self._name)
                self._tls.remember(connection, policy, host.name)
            else:
                await greet(connection, self._name)
                await self._start_tls(connection, policy, host)
        except TlsFailed as error:
            raise self._insecure(connection, host, policy, error, requiretls) from None
        if requiretls and host.port and not connection.machine.extensions.requiretls:
            raise Insecure(
                failed("5.7.30", "the sender demands REQUIRETLS, which the next server lacks", connection.remote)
            )
        if host.user:
            await self._log_in(connection, host)

    async def _log_in(self, connection: Connection, host: Host) -> None:
        try:
            await log_in(connection, host.user, host.password_file, self._random(18).hex())
        except LoginFailed as error:
            self._emit(
                "login.failed",
                {"remote": connection.remote, "host": host.name, "user": host.user, "reason": error.reason},
            )
            raise Insecure(deferred("4.7.8", str(error), connection.remote)) from None

    async def _start_tls(self, connection: Connection, policy: TlsPolicy, host: Host) -> None:
        """Go over to TLS where the policy wants it, and greet again; raise TlsFailed."""
        may = policy.level is TlsLevel.MAY
        if policy.level is TlsLevel.NONE or (may and self._tls.broken(connection.remote)):
            return
        if not connection.machine.extensions.starttls:
            if may:
                return
            raise TlsFailed("the server does not offer it")
        await _request(connection)
        await self._tls.secure(connection, policy, host.domain, host.name)
        await introduce(connection, self._name)
        self._tls.remember(connection, policy, host.name)

    def _insecure(
        self, connection: Connection, host: Host, policy: TlsPolicy, error: TlsFailed, requiretls: bool
    ) -> Insecure:
        """Say what follows from TLS that failed, and make an event of it."""
        remote, reason = connection.remote, str(error)
        again = policy.level is TlsLevel.MAY
        if requiretls and not error.ours:
            # RFC 8689 section 4.2.1: where no host will do, the message comes back
            outcome = failed("5.7.10", f"the sender demands REQUIRETLS, and TLS failed: {reason}", remote)
        else:
            whose = "" if error.ours or again else f' (our own settings require TLS here: "{policy.level.value}")'
            outcome = deferred("4.7.5", f"TLS failed: {reason}{whose}", remote)
        if again:
            self._tls.failed(remote, reason)
        self._emit(
            "site.insecure",
            {
                "remote": remote,
                "host": host.name,
                "policy": policy.level.value,
                "reason": reason,
                "then": "plaintext" if again else outcome.kind.value,
            },
        )
        return Insecure(outcome, again=again)


async def _request(connection: Connection) -> None:
    """Get a 220 to STARTTLS; raise TlsFailed where it is refused, ConnectionLost where the server broke the protocol."""
    try:
        reply = await request_tls(connection)
    except ConnectionLost as error:
        if connection.garbled:
            raise
        raise TlsFailed(f"{error} at STARTTLS") from None
    if not reply.positive:
        raise TlsFailed(f"STARTTLS was answered {reply.code}")


def _policy(host: Host, requiretls: bool) -> TlsPolicy:
    """Return what this connection needs: more than the policy of the host where secrets or REQUIRETLS mail go over it."""
    policy = host.tls
    if host.port == 0:
        # a Unix socket: nothing leaves the machine
        return msgspec.structs.replace(policy, level=TlsLevel.NONE)
    if requiretls and policy.level is not TlsLevel.VERIFY:
        return msgspec.structs.replace(policy, level=TlsLevel.VERIFY)
    if (host.implicit or host.user) and not policy.required:
        return msgspec.structs.replace(policy, level=TlsLevel.ENCRYPT)
    return policy
