"""What a fake DNS server (`upesi.testkit.dns`) knows: zones from a table, from text as in a zone file, or by number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import dedent

import dns.rcode
import dns.rdatatype
import dns.zone
import msgspec

__all__ = ["Found", "Noise", "Rcode", "Records", "Told", "Zone", "numbered_domains", "zone_of", "zone_of_text"]

Rcode = dns.rcode.Rcode
Records = Sequence[str]

# query and true reply to datagrams that are sent before it
Noise = Callable[[bytes, bytes], Sequence[bytes]]


class Told(msgspec.Struct, frozen=True):
    """Records, a Rcode or None for silence, and how they are told.

    `delay` is in seconds. `truncate` sends whoever comes by UDP to TCP. `secure` sets the AD bit, as a validating resolver does.
    `unchecked` is what is said to those who ask with CD: with Rcode.SERVFAIL for all others, a zone whose signatures are wrong.
    `noise` comes from the server's address before the true reply, `forged` from another one.
    """

    what: Records | Rcode | None
    delay: float = 0.0
    truncate: bool = False
    secure: bool = False
    unchecked: Records | Rcode | None = None
    noise: Noise | None = None
    forged: Noise | None = None


Found = Records | Rcode | Told | None
Zone = Callable[[str, str], Found]


def zone_of(records: Mapping[tuple[str, str], Found]) -> Zone:
    """Return the zone of a table. What has no entry at all does not exist; a "CNAME" entry holds for all types that have none."""
    table = {(name.lower().rstrip("."), kind): found for (name, kind), found in records.items()}
    names = {name for name, _ in table}

    def zone(name: str, kind: str) -> Found:
        if (name, kind) in table:
            return table[name, kind]
        alias = table.get((name, "CNAME"))
        if isinstance(alias, Sequence):
            return [f"CNAME {target}" for target in alias]
        return () if name in names else Rcode.NXDOMAIN

    return zone


def zone_of_text(origin: str, text: str) -> Zone:
    """Return the zone that a zone file (RFC 1035 section 5) describes; raise dns.exception.DNSException."""
    zone = dns.zone.from_text(dedent(text), origin, relativize=False, check_origin=False)
    return zone_of(
        {
            (name.to_text(), dns.rdatatype.to_text(rdataset.rdtype)): [record.to_text() for record in rdataset]
            for name, rdataset in zone.iterate_rdatasets()
        }
    )


def numbered_domains(count: int, address: str) -> Zone:
    """Return a zone of `count` domains d0.test, d1.test, ...: each with its own MX host, all at `address`."""

    def zone(name: str, kind: str) -> Found:
        label = name.removesuffix(".test").removeprefix("mx.").removeprefix("d")
        if not name.endswith(".test") or not label.isdigit() or int(label) >= count:
            return Rcode.NXDOMAIN
        if kind == "MX" and not name.startswith("mx."):
            return (f"10 mx.d{label}.test.",)
        return (address,) if kind == "A" and name.startswith("mx.") else ()

    return zone
