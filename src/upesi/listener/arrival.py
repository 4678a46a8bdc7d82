"""Whose connection it is: the address of the socket's other end, or what a proxy in between said (`proxied`)."""

from __future__ import annotations

import msgspec

from upesi.hooks.session import Session
from upesi.protocol.proxy.header import ProxyHeader, TlsClaim

__all__ = ["Arrival", "arrival", "peer"]


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """How a client came: its own address and port, the proxy's address, and what the proxy said about TLS, for people to read."""

    address: str
    port: int
    via: str
    evidence: str

    def mark(self, session: Session) -> None:
        """Leave it in the session, where hooks and events find it."""
        session.via = self.via
        session.results["proxy"] = ("pass", self.evidence)


def peer(name: object) -> tuple[str, int]:
    """Return address and port of a socket's peer; those of IPv4 clients on IPv6 sockets unmapped, none for Unix sockets."""
    if not isinstance(name, tuple):
        return "", 0
    address = str(name[0])
    return address.removeprefix("::ffff:") if "." in address else address, int(name[1])


def arrival(header: ProxyHeader, address: str, port: int) -> Arrival:
    """Return what `header`, from a proxy at this address, makes of a connection."""
    said = f"version {header.version} from {address}"
    if header.local:
        # a health check: the proxy itself is the client
        return Arrival(address, port, "", f"{said}, for itself")
    evidence = f"{said}, {_claim(header.tls)}" if header.tls is not None else said
    if header.source is None:
        return Arrival("", 0, address, f"{evidence}, client unknown")
    return Arrival(header.source.address, header.source.port, address, evidence)


def _claim(tls: TlsClaim) -> str:
    certificate = f", certificate of {tls.common_name}" if tls.verified else ""
    return f"{tls.version or 'TLS'} at the proxy{certificate}"
