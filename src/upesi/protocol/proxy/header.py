"""What a PROXY header says, whichever version said it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import msgspec

from upesi.mail.errors import RemoteProtocolError

__all__ = ["Endpoint", "ProxyError", "ProxyHeader", "TlsClaim", "endpoint"]


class ProxyError(RemoteProtocolError):
    """What came is no PROXY header. There is no reply to it: whoever speaks has not begun to speak SMTP. The text is ours."""


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """An address in its usual spelling (IPv4-mapped ones unmapped) and a port."""

    address: str
    port: int


class TlsClaim(msgspec.Struct, frozen=True, gc=False):
    """What the proxy says about TLS between the client and itself. Information for people and logs: nothing is permitted because of it.

    Empty texts: not said. `verified`: the client showed a certificate that the proxy believed.
    """

    version: str = ""
    cipher: str = ""
    common_name: str = ""
    verified: bool = False


class ProxyHeader(msgspec.Struct, frozen=True, gc=False):
    """One header. `local`: the proxy speaks for itself (a health check). Without `source` it does not know, or cannot say, whose
    connection this is. `authority` is the name that the client asked for in TLS."""

    version: int
    local: bool = False
    source: Endpoint | None = None
    destination: Endpoint | None = None
    tls: TlsClaim | None = None
    authority: str = ""


def endpoint(address: IPv4Address | IPv6Address, port: int) -> Endpoint:
    """Return the endpoint, an IPv4-mapped address as the IPv4 address that it is: limits and lists must not see two clients in one."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return Endpoint(str(mapped or address), port)
