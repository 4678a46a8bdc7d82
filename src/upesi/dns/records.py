"""The data of records: octets of a message to the values in an `Answer`, one reader for each type that this server asks for.

RFC 1035 section 3.3 (A, CNAME, MX, NS, PTR, SOA, TXT), RFC 3596 (AAAA), RFC 2782 (SRV), RFC 6698 (TLSA). A reader gets the whole message,
because names in it are compressed, and raises what `upesi.dns.names` does; reading at most what its record holds is its own care.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from socket import AF_INET6, inet_ntoa, inet_ntop
from struct import Struct

import msgspec

from upesi.dns.names import BadMessage, read_name
from upesi.mail.answers import Answer, MxRecord, Security, SrvRecord, Status, TlsaRecord

__all__ = ["ALIAS", "KINDS", "SOA", "Kind", "read_soa_minimum"]

# Octets of one TXT record that are kept: DKIM keys have 1 kB, SPF records less (DNS-02)
MAX_TEXT = 16_384

ALIAS = 5
SOA = 6

_SHORT = Struct("!H").unpack_from
_SRV = Struct("!HHH").unpack_from
_SOA = Struct("!IIIII").unpack_from


class Kind(msgspec.Struct, frozen=True):
    """A record type: its number, and how the records of one answer become that answer, given (start, end) of each in the message."""

    number: int
    answer: Callable[[bytes, Iterable[tuple[int, int]], float, Security, str], Answer]


def _texts(read: Callable[[bytes, int, int], str]) -> Callable[..., Answer]:
    def answer(wire: bytes, records: Iterable[tuple[int, int]], ttl: float, security: Security, name: str) -> Answer:
        return Answer(Status.OK, (), tuple([read(wire, start, end) for start, end in records]), ttl, security, name)

    return answer


def _mx(wire: bytes, records: Iterable[tuple[int, int]], ttl: float, security: Security, name: str) -> Answer:
    mx = tuple(MxRecord(_SHORT(wire, start)[0], _name(wire, start + 2, end)) for start, end in records)
    return Answer(Status.OK, mx, (), ttl, security, name)


def _srv(wire: bytes, records: Iterable[tuple[int, int]], ttl: float, security: Security, name: str) -> Answer:
    srv = tuple(_srv_record(wire, start, end) for start, end in records)
    return Answer(Status.OK, (), (), ttl, security, name, srv)


def _srv_record(wire: bytes, start: int, end: int) -> SrvRecord:
    priority, weight, port = _SRV(wire, start)
    return SrvRecord(priority, weight, port, _name(wire, start + 6, end))


def _tlsa(wire: bytes, records: Iterable[tuple[int, int]], ttl: float, security: Security, name: str) -> Answer:
    tlsa = tuple(_tlsa_record(wire[start:end]) for start, end in records)
    return Answer(Status.OK, (), (), ttl, security, name, (), tlsa)


def _tlsa_record(data: bytes) -> TlsaRecord:
    return TlsaRecord(data[0], data[1], data[2], data[3:])


def _name(wire: bytes, start: int, end: int) -> str:
    name, stop = read_name(wire, start)
    if stop != end:
        raise BadMessage("a record does not end with its name")
    return name


def _a(wire: bytes, start: int, end: int) -> str:
    if end - start != 4:
        raise BadMessage("an address of another size")
    return inet_ntoa(wire[start:end])


def _aaaa(wire: bytes, start: int, end: int) -> str:
    if end - start != 16:
        raise BadMessage("an address of another size")
    return inet_ntop(AF_INET6, wire[start:end])


def _txt(wire: bytes, start: int, end: int) -> str:
    if start == end:
        raise BadMessage("a text without a string")
    strings = []
    while start < end:
        begin = start + 1
        start = begin + wire[start]
        strings.append(wire[begin:start])
    if start != end:
        raise BadMessage("a string is cut off")
    return b"".join(strings)[:MAX_TEXT].decode("latin-1")


def _soa(wire: bytes, start: int, end: int) -> str:
    host, start = read_name(wire, start)
    mailbox, start = read_name(wire, start)
    if start + _SOA_SIZE != end:
        raise BadMessage("an SOA of another size")
    return " ".join((host or ".", mailbox or ".", *map(str, _SOA(wire, start))))


_SOA_SIZE = 20


def read_soa_minimum(wire: bytes, end: int) -> int:
    """Return the last field of the SOA whose data ends at `end`."""
    return int.from_bytes(wire[end - 4 : end], "big")


KINDS = {
    "A": Kind(1, _texts(_a)),
    "NS": Kind(2, _texts(_name)),
    "CNAME": Kind(ALIAS, _texts(_name)),
    "SOA": Kind(SOA, _texts(_soa)),
    "PTR": Kind(12, _texts(_name)),
    "MX": Kind(15, _mx),
    "TXT": Kind(16, _texts(_txt)),
    "AAAA": Kind(28, _texts(_aaaa)),
    "SRV": Kind(33, _srv),
    "TLSA": Kind(52, _tlsa),
}
