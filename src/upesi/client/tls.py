"""TLS towards other servers: a context for each policy, sessions kept for resumption, and where TLS has lately failed.

A session is resumed only with the same peer under the same policy: what was verified for one policy says nothing about another. A ticket
is used more than once, against RFC 8446 appendix C.4, whose reason (being recognised) is none for a mail server; a server that wants
each only once makes a full handshake instead.

Not here: what policy there is and what follows from a failure (`upesi.delivery.agents`), records and octets (`upesi.tls.transport`).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from upesi.client.connection import Connection, HandshakeFailed
from upesi.client.identity import bears, certificate_names, spoken, wanted_names
from upesi.dns.cache import TtlCache
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.tls.contexts import TlsError, client_context

__all__ = ["HANDSHAKE_TIMEOUT", "TlsClient", "TlsFailed", "policy_context"]

# Seconds for the whole handshake, however many octets trickle in; four flights and a signature take a second on the worst of lines
HANDSHAKE_TIMEOUT = 30.0

# Contexts (policies) and sessions that are kept. A session holds the server's chain, some 5 kB
MAX_CONTEXTS = 100
MAX_SESSIONS = 1_000

# Seconds for which a context stands: authorities and certificates are files, and files change
CONTEXT_LIFETIME = 3600.0

# Servers where TLS failed, and for how many seconds they are not asked again where plaintext may follow
MAX_BROKEN = 10_000
BROKEN_LIFETIME = 3600.0


class TlsFailed(Exception):
    """There is no TLS, or not with whom it should be; the text is ours and safe to show. `ours`: the fault is on our side."""

    def __init__(self, text: str, *, ours: bool = False) -> None:
        super().__init__(text)
        self.ours = ours


class TlsClient:
    """Makes connections secure. One for a worker; `now` gives monotonic seconds."""

    __slots__ = ("_broken", "_contexts", "_sessions")

    def __init__(self, now: Callable[[], float]) -> None:
        self._contexts: TtlCache[TlsPolicy, ssl.SSLContext] = TtlCache(MAX_CONTEXTS, now)
        self._sessions: TtlCache[tuple[TlsPolicy, str], tuple[ssl.SSLContext, ssl.SSLSession]] = TtlCache(
            MAX_SESSIONS, now
        )
        self._broken: TtlCache[str, str] = TtlCache(MAX_BROKEN, now)

    async def secure(self, connection: Connection, policy: TlsPolicy, domain: str, host: str) -> None:
        """Make the handshake with `host`, and check who it is if `policy` wants that; `domain` is the next hop's.

        Raises TlsFailed, or ConnectionLost where the server said something that should look like an answer from inside TLS (TLS-04).
        The connection is closed then, and nothing was sent on it.
        """
        context = self._context(policy)
        kept = self._sessions.get((policy, host))
        session = kept[1] if kept is not None and kept[0] is context else None
        try:
            await connection.secure(context, host, session, HANDSHAKE_TIMEOUT)
        except HandshakeFailed as error:
            if connection.garbled:
                raise
            raise TlsFailed(str(error)) from None
        if policy.level is TlsLevel.VERIFY:
            names = wanted_names(policy.names, domain, host)
            presented = certificate_names(connection.certificate())
            if not bears(presented, names):
                connection.abort()
                raise TlsFailed(f"the certificate is for {spoken(presented)}: wanted {' or '.join(names)}")
            connection.verified = True

    def remember(self, connection: Connection, policy: TlsPolicy, host: str) -> None:
        """Keep the session for the next connection; to be called when the server has spoken: TLS 1.3 sends tickets after the handshake."""
        session = connection.session()
        if session is not None:
            self._sessions.put((policy, host), session, min(float(session[1].timeout), CONTEXT_LIFETIME))

    def failed(self, remote: str, reason: str) -> None:
        """Remember that TLS with `remote` does not work, so that where plaintext may follow nobody waits for that again."""
        self._broken.put(remote, reason, BROKEN_LIFETIME)

    def broken(self, remote: str) -> bool:
        """Whether TLS with `remote` failed lately."""
        return self._broken.get(remote) is not None

    def _context(self, policy: TlsPolicy) -> ssl.SSLContext:
        context = self._contexts.get(policy)
        if context is None:
            try:
                context = policy_context(policy)
            except (TlsError, OSError) as error:
                # which file, and what is wrong with it, is told at the start; senders may see this
                raise TlsFailed("our own certificate or list of authorities cannot be used", ours=True) from error
            self._contexts.put(policy, context, CONTEXT_LIFETIME)
        return context


def policy_context(policy: TlsPolicy) -> ssl.SSLContext:
    """Return a context for `policy`; raise TlsError or OSError where a file of it cannot be used."""
    context = client_context(
        verify=policy.level is TlsLevel.VERIFY,
        authorities=Path(policy.authorities) if policy.authorities else None,
        pem=Path(policy.certificate).read_bytes() if policy.certificate else None,
    )
    # several names may be right, and patterns: they are compared by `identity`
    context.check_hostname = False
    return context
