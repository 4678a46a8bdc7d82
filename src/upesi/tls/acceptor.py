"""TLS of one listener: whom it takes, what it shows to whom, and how many handshakes it has under way.

Every listener has a context of its own, so that a session is never resumed where other certificates are asked of clients (TLS-15):
OpenSSL's ticket keys and its cache, of 20,480 sessions at most, belong to the context that a handshake began with. That context is made
anew when certificates change and otherwise twice a day, which is how ticket keys rotate: a stolen one opens half a day of
sessions, not the life of the server.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path

from upesi.config.settings import ClientCertificates
from upesi.mail.security import TlsInfo
from upesi.tls.certificates import Certificate
from upesi.tls.contexts import TlsError, server_context
from upesi.tls.folder import Certificates, Shelf
from upesi.tls.peers import peer_certificate

__all__ = ["Acceptor", "Handshakes"]

# seconds for which a context, and with it the keys of its tickets, is used
_LIFE = 12 * 3600.0
# and after which one that could not be made is tried again
_RETRY = 60.0


class Handshakes:
    """Counts handshakes under way, in all and for each client: an unfinished one costs its client nothing (TLS-07)."""

    __slots__ = ("_by_client", "_client_limit", "_limit", "count")

    def __init__(self, limit: int, client_limit: int) -> None:
        self._limit = limit
        self._client_limit = client_limit
        self._by_client: dict[str | bytes, int] = {}
        self.count = 0

    def begin(self, address: str) -> bool:
        """Return whether there is room for one more of the client at `address`, and count it if so."""
        client = _client(address)
        mine = self._by_client.get(client, 0)
        if self.count >= self._limit or mine >= self._client_limit:
            return False
        self._by_client[client] = mine + 1
        self.count += 1
        return True

    def end(self, address: str) -> None:
        """Take note that one is over, however it went."""
        client = _client(address)
        self.count -= 1
        left = self._by_client[client] - 1
        if left:
            self._by_client[client] = left
        else:
            del self._by_client[client]


def _client(address: str) -> str | bytes:
    """Return what one client has for itself: an IPv4 address, of IPv6 a /64. On a Unix socket all are one."""
    return IPv6Address(address.partition("%")[0]).packed[:8] if ":" in address else address


class Acceptor:
    """What a listener needs for TLS. `implicit` says that it begins with the connection, `required` that no mail comes before it."""

    __slots__ = (
        "_authorities", "_certificates", "_ciphers", "_clients", "_contexts", "_first", "_made", "_monotonic", "_owners", "_shelf",
        "handshakes", "implicit", "required",
    )  # fmt: skip

    def __init__(
        self,
        certificates: Certificates,
        handshakes: Handshakes,
        monotonic: Callable[[], float],
        *,
        implicit: bool = False,
        required: bool = False,
        clients: ClientCertificates = ClientCertificates.IGNORE,
        authorities: Path | None = None,
        ciphers: str = "",
    ) -> None:
        self._certificates = certificates
        self.handshakes = handshakes
        self._monotonic = monotonic
        self.implicit = implicit
        self.required = required
        self._clients = clients
        self._authorities = authorities
        self._ciphers = ciphers
        self._made = monotonic()
        self._shelf: Shelf | None = None
        self._first: ssl.SSLContext | None = None
        self._contexts: dict[Certificate, ssl.SSLContext] = {}
        self._owners: dict[ssl.SSLContext, Certificate] = {}

    def context(self) -> ssl.SSLContext | None:
        """Return the context for a handshake that begins now; None where there is nothing that could be shown."""
        age = self._monotonic() - self._made
        if self._shelf is not self._certificates.shelf or age > (_RETRY if self._first is None else _LIFE):
            try:
                self.renew()
            except TlsError:
                # the authorities' file is broken or gone: what was read of it before goes on (TLS-14), and is tried again later
                self._made = self._monotonic()
        return self._first

    def info(self, tls: ssl.SSLObject) -> TlsInfo:
        """Return what a handshake has settled."""
        cipher, _, bits = tls.cipher() or ("", "", 0)
        shown = self._owners.get(tls.context)
        version = tls.version() or ""
        return TlsInfo(
            version,
            cipher,
            bits,
            None if self._clients is ClientCertificates.IGNORE else peer_certificate(tls),
            b"" if shown is None else shown.end_point,
            bool(tls.session_reused),
            (tls.get_channel_binding("tls-unique") or b"") if version == "TLSv1.2" else b"",
        )

    def renew(self) -> None:
        """Make the first context anew, and forget the others; raise TlsError where that cannot be."""
        shelf = self._shelf = self._certificates.shelf
        if shelf is None:
            return
        default = shelf.default
        first = self._make(default)
        first.sni_callback = self._choose
        self._contexts = {default: first}
        self._owners = {first: default}
        self._first = first
        self._made = self._monotonic()

    def _make(self, certificate: Certificate) -> ssl.SSLContext:
        return server_context(
            certificate.pem, clients=self._clients, authorities=self._authorities, ciphers=self._ciphers
        )

    def _choose(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        """Show the certificate for the host that the client names (RFC 6066 section 3), the default one for any other (TLS-11)."""
        certificate = self._shelf.named(name) if name and self._shelf is not None else None
        if certificate is None:
            return
        context = self._contexts.get(certificate)
        if context is None:
            # most of a large folder is never asked for: contexts are made when they are
            context = self._contexts[certificate] = self._make(certificate)
            self._owners[context] = certificate
        tls.context = context
