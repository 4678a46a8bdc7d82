"""Version 2, binary (section 2.2 of the specification).

    header    = signature version-command family-protocol length addresses *TLV
    signature = %x0D.0A.0D.0A.00.0D.0A.51.55.49.54.0A     ; no protocol begins like this
    TLV       = type length-high length-low value         ; TLS information is a TLV that holds TLVs

Only what a mail server can use is kept. A header that contradicts itself is refused; a TLV that we do not know is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from upesi.mail.reply import printable
from upesi.protocol.proxy.header import ProxyError, ProxyHeader, TlsClaim, endpoint

__all__ = ["MAX_V2", "V2_START", "read_v2"]

V2_START = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = 16
# "designed to fit in the smallest TCP segment that any TCP/IP host is required to support": 576 octets without 40 of IP and TCP.
# The length field could say 65,535, which nobody needs and everybody would have to hold
MAX_V2 = 536

_LOCAL, _PROXY = 0x20, 0x21
_STREAM4, _STREAM6, _STREAM_UNIX = 0x11, 0x21, 0x31
# octets of the addresses of each family; "unspecified" has none. Datagrams do not arrive over TCP: they are in no row
_ADDRESSES: MappingProxyType[int, int] = MappingProxyType({0x00: 0, _STREAM4: 12, _STREAM6: 36, _STREAM_UNIX: 216})

_AUTHORITY, _CRC32C, _SSL = 0x02, 0x03, 0x20
_SSL_VERSION, _SSL_CN, _SSL_CIPHER = 0x21, 0x22, 0x23
# bits of the client field: over TLS, and with a certificate in this connection or this session
_OVER_TLS, _CERTIFICATE = 0x01, 0x06
_MAX_TEXT = 255
_CRC_SIZE = 4


def read_v2(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Return the header at the start of `data` and its length, None while its end is missing; raise ProxyError."""
    if len(data) < _FIXED:
        return None
    command, family = data[12], data[13]
    if command not in (_LOCAL, _PROXY):
        raise ProxyError("version 2 header with an unknown version or command")
    length = _FIXED + int.from_bytes(data[14:16], "big")
    if length > MAX_V2:
        raise ProxyError(f"version 2 header of more than {MAX_V2} octets")
    if len(data) < length:
        return None
    if command == _LOCAL:
        # whatever stands in it is to be ignored, and skipped by its length
        return ProxyHeader(2, local=True), length
    size = _ADDRESSES.get(family)
    if size is None:
        raise ProxyError("version 2 header with an unknown family or protocol")
    if length < _FIXED + size:
        raise ProxyError("version 2 header shorter than its addresses")
    return _header(data[:length], family, _FIXED + size), length


def _header(data: bytes, family: int, start: int) -> ProxyHeader:
    tls, authority = _extras(data, start)
    if family not in (_STREAM4, _STREAM6):
        return ProxyHeader(2, tls=tls, authority=authority)
    width, kind = (4, IPv4Address) if family == _STREAM4 else (16, IPv6Address)
    addresses = data[_FIXED:start]
    source_port, destination_port = addresses[-4:-2], addresses[-2:]
    return ProxyHeader(
        2,
        source=endpoint(kind(addresses[:width]), int.from_bytes(source_port, "big")),
        destination=endpoint(kind(addresses[width : 2 * width]), int.from_bytes(destination_port, "big")),
        tls=tls,
        authority=authority,
    )


def _extras(data: bytes, start: int) -> tuple[TlsClaim | None, str]:
    """Read the TLVs: the last of a kind counts."""
    tls, authority = None, ""
    for kind, at, end in _tlvs(data, start, len(data)):
        if kind == _AUTHORITY:
            authority = _text(data[at:end])
        elif kind == _SSL:
            tls = _tls(data, at, end)
        elif kind == _CRC32C:
            _check_sum(data, at, end)
    return tls, authority


def _tlvs(data: bytes, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield type, start and end of each TLV between `at` and `stop`. At least three octets each, so there are few."""
    while at < stop:
        start = at + 3
        end = start + int.from_bytes(data[at + 1 : start], "big")
        if start > stop or end > stop:
            raise ProxyError("version 2 header with a TLV that is longer than the header")
        yield data[at], start, end
        at = end


def _tls(data: bytes, at: int, end: int) -> TlsClaim | None:
    """Read what is said about TLS: `client verify *TLV`; `verify` is zero where the certificate was believed."""
    if end - at < 5:
        raise ProxyError("version 2 header with a TLS TLV that is too short")
    client, verify = data[at], data[at + 1 : at + 5]
    texts = {kind: _text(data[start:stop]) for kind, start, stop in _tlvs(data, at + 5, end)}
    if not client & _OVER_TLS:
        return None
    return TlsClaim(
        texts.get(_SSL_VERSION, ""),
        texts.get(_SSL_CIPHER, ""),
        texts.get(_SSL_CN, ""),
        bool(client & _CERTIFICATE) and not any(verify),
    )


def _text(octets: bytes) -> str:
    # the common name is the client's own choice: it must not shape a log line
    return printable(octets.decode(errors="replace"), _MAX_TEXT)


def _check_sum(data: bytes, at: int, end: int) -> None:
    """Compare the checksum over the whole header, its own octets taken as zero."""
    if end - at != _CRC_SIZE:
        raise ProxyError("version 2 header with a checksum of a wrong length")
    if _crc32c(data[:at] + bytes(_CRC_SIZE) + data[end:]) != int.from_bytes(data[at:end], "big"):
        raise ProxyError("version 2 header with a wrong checksum")


def _crc32c(data: bytes) -> int:
    """Castagnoli's CRC, bit by bit: a table would be larger than all headers of a day that bring a checksum."""
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
