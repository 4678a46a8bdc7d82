"""Another SMTP server as the judge of passwords: AUTH PLAIN against it (RFC 4954, RFC 4616), always inside verified TLS.

A connection for each question. Only a 235 is a yes and only a 535 is a no: everything else says something about the server, not the user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from upesi.client.connecting import Connector, LoopsBack, NoAddress
from upesi.client.connection import Connection, ConnectionLost
from upesi.client.handshake import GreetingRefused, greet, introduce, request_tls
from upesi.client.tls import TlsClient, TlsFailed
from upesi.config.accounts import SourceUrl
from upesi.config.settings import CredentialsSettings
from upesi.lookup.failures import LookupFailed
from upesi.lookup.judge import PasswordJudge
from upesi.lookup.trust import trusting
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.protocol.smtp.answers import ReceivedReply
from upesi.sasl.credentials import Identity, Origin, Reason, Refused

if TYPE_CHECKING:
    from upesi.lookup.build import Surroundings

__all__ = ["SmtpSource", "make"]

# The guard's deadline is shorter. This one only keeps the connection from outliving it
_PATIENCE = 60.0
_CERTAIN = 235
_LOOPBACK = ("127.0.0.1", "::1")
# RFC 4954 section 6
_REFUSALS = {535: Refused(), 432: Refused(Reason.EXPIRED)}


def make(table: CredentialsSettings, url: SourceUrl, surroundings: Surroundings) -> SmtpSource:
    """Return the source; raise FileRefused."""
    trusting(table)  # tried now, so that a wrong file is told at the start
    policy = TlsPolicy(TlsLevel.VERIFY, authorities=table.ca_file)
    return SmtpSource(surroundings.connector, TlsClient(surroundings.loop.time), policy, url, surroundings.name)


class SmtpSource(PasswordJudge):
    """Raises LookupFailed, which `guard` makes an answer."""

    __slots__ = ("_connector", "_name", "_policy", "_tls", "_url")

    def __init__(self, connector: Connector, tls: TlsClient, policy: TlsPolicy, url: SourceUrl, name: str) -> None:
        """`name` is what we call ourselves."""
        self._connector = connector
        self._tls = tls
        self._policy = policy
        self._url = url
        self._name = name

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused:
        """Try the password there."""
        try:
            connection = await self._opened()
            try:
                reply = await self._tried(connection, user, password)
            except BaseException:
                connection.abort()
                raise
        except (ConnectionLost, TlsFailed, NoAddress) as error:
            # their texts are ours (`client`)
            raise LookupFailed(str(error)) from None
        except LoopsBack:
            raise LookupFailed("the server is ourselves") from None
        except GreetingRefused as error:
            raise LookupFailed(f"{error.reply.code} instead of a welcome") from None
        connection.write(connection.machine.quit())
        connection.close()
        if reply.code == _CERTAIN:
            # it does not say how it spells the account: one spelling for every way to type it
            return Identity(user.lower())
        if reply.code not in _REFUSALS:
            raise LookupFailed(f"{reply.code} {reply.status} to AUTH".replace("  ", " "))
        return _REFUSALS[reply.code]

    async def _opened(self) -> Connection:
        """Return a connection inside TLS, greeted."""
        url, implicit = self._url, self._url.scheme == "smtps"
        # "localhost" is this machine whatever DNS says of it (RFC 6761 section 6.3)
        known = _LOOPBACK if url.host == "localhost" else ()
        endpoints = await self._connector.endpoints(url.host, url.port, known=known, private=True)
        connection = await self._connector.open(endpoints, implicit=implicit)
        try:
            if implicit:
                await self._tls.secure(connection, self._policy, "", url.host)
                await greet(connection, self._name)
            else:
                await greet(connection, self._name)
                await self._upgrade(connection)
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _upgrade(self, connection: Connection) -> None:
        if not connection.machine.extensions.starttls:
            raise LookupFailed("it offers no STARTTLS")
        reply = await request_tls(connection)
        if not reply.positive:
            raise LookupFailed(f"{reply.code} to STARTTLS")
        await self._tls.secure(connection, self._policy, "", self._url.host)
        await introduce(connection, self._name)

    async def _tried(self, connection: Connection, user: str, password: str) -> ReceivedReply:
        machine = connection.machine
        if "PLAIN" not in machine.extensions.auth:
            raise LookupFailed("it offers no AUTH PLAIN")
        # neither holds NUL: `saslprep` refuses control characters
        connection.write(machine.auth("PLAIN", f"\0{user}\0{password}".encode()))
        return await connection.next_reply(_PATIENCE)
