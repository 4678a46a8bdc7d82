"""Version 1, for people to read (section 2.1 of the specification).

    header = "PROXY" SP ( "TCP4" / "TCP6" ) SP source SP destination SP source-port SP destination-port CRLF
           / "PROXY" SP "UNKNOWN" *octet CRLF                ; 107 octets at most

Read by the letter: one blank between two words, addresses of the family that is named, ports without leading zeros.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from upesi.protocol.proxy.header import Endpoint, ProxyError, ProxyHeader, endpoint

__all__ = ["MAX_V1", "V1_START", "read_v1"]

V1_START = b"PROXY "
# the specification counts them out: two IPv6 addresses, two ports, and CRLF
MAX_V1 = 107

_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")
_PORT = r"(0|[1-9][0-9]{0,4})"
# no "%": an address with a scope is of the proxy's machine and of nobody else's
_KNOWN = re.compile(rf"PROXY TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) {_PORT} {_PORT}")
_FAMILIES: dict[str, type[IPv4Address] | type[IPv6Address]] = {"4": IPv4Address, "6": IPv6Address}


def read_v1(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Return the header at the start of `data` and its length, None while its end is missing; raise ProxyError."""
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise ProxyError("version 1 header without an end")
        return None
    line = data[:end]
    return (ProxyHeader(1) if _UNKNOWN.fullmatch(line) else _known(line)), end + 2


def _known(line: bytes) -> ProxyHeader:
    match = _KNOWN.fullmatch(line.decode("latin-1"))
    if match is None:
        raise ProxyError("version 1 header malformed")
    family, source, destination, source_port, destination_port = match.groups()
    return ProxyHeader(
        1,
        source=_endpoint(family, source, source_port),
        destination=_endpoint(family, destination, destination_port),
    )


def _endpoint(family: str, address: str, port: str) -> Endpoint:
    try:
        number = int(port)
        if number > 65535:
            raise ProxyError("version 1 header names a port above 65535")
        return endpoint(_FAMILIES[family](address), number)
    except AddressValueError:
        raise ProxyError(f"version 1 header names an address that is no TCP{family} address") from None
