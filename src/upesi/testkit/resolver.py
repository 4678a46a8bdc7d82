"""DNS in memory, for the tests of plugins and of checks: no socket, no time.

    dns = FakeResolver({
        ("example.org", "TXT"): ["v=spf1 mx -all"],
        ("example.org", "MX"): ["10 mx.example.org"],
        ("mx.example.org", "A"): ["192.0.2.1"],
        ("192.0.2.1", "PTR"): ["mx.example.org"],
        ("www.example.org", "CNAME"): ["example.org"],
        ("broken.example", "TXT"): Status.SERVFAIL,
    })
    trial = Trial.of(plugin, dns=dns)

A name with no entry at all is NXDOMAIN; one with entries of other types has no data. The TXT record `"v=spf1 " "-all"` is two strings.
`upesi.testkit.dns` has a real server for tests that want sockets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

import msgspec

from upesi.dns.lookups import Lookups
from upesi.mail.answers import Answer, MxRecord, Security, SrvRecord, Status, TlsaRecord

__all__ = ["FakeResolver"]

Records = Sequence[str] | Status | Answer

TTL = 300.0
MAX_CHAIN = 10

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


class FakeResolver(Lookups):
    """Implements `upesi.plugin.Dns` from a table that may be changed at any time.

    `records` maps (name, type) to records as in a zone file, to a Status, or to a whole Answer. `asked` lists every question in order.
    With `secure`, answers are as from a validating resolver for a signed zone.
    """

    def __init__(self, records: Mapping[tuple[str, str], Records] | None = None, *, secure: bool = False) -> None:
        self._records: dict[tuple[str, str], Records] = {}
        self._security = Security.SECURE if secure else Security.INDETERMINATE
        self.asked: list[tuple[str, str]] = []
        for (name, kind), found in (records or {}).items():
            self.set(name, kind, found)

    def set(self, name: str, kind: str, records: Records) -> None:
        """Let `name` have these records from now on. The name of a PTR may be written as the address."""
        self._records[_owner(name, kind), kind] = records

    async def query(self, name: str, kind: str) -> Answer:
        """Return what the table says."""
        asked = name.lower().rstrip(".")
        self.asked.append((asked, kind))
        owner = asked
        for _ in range(MAX_CHAIN):
            found = self._records.get((owner, kind))
            alias = None if kind == "CNAME" else self._records.get((owner, "CNAME"))
            if found is not None or not isinstance(alias, Sequence):
                answer = self._answer(owner, kind, alias if found is None and alias is not None else found)
                return answer if owner == asked else msgspec.structs.replace(answer, name=owner)
            owner = alias[0].lower().rstrip(".")
        return Answer(Status.SERVFAIL)

    def _answer(self, owner: str, kind: str, found: Records | None) -> Answer:
        if isinstance(found, Answer):
            return found
        if isinstance(found, Status):
            return Answer(found, security=self._security)
        if not found:
            exists = found is not None or any(name == owner for name, _ in self._records)
            return Answer(Status.NODATA if exists else Status.NXDOMAIN, ttl=TTL, security=self._security)
        ok = Answer(Status.OK, ttl=TTL, security=self._security)
        if kind == "MX":
            return msgspec.structs.replace(ok, mx=tuple(_mx(record) for record in found))
        if kind == "SRV":
            return msgspec.structs.replace(ok, srv=tuple(_srv(record) for record in found))
        if kind == "TLSA":
            return msgspec.structs.replace(ok, tlsa=tuple(_tlsa(record) for record in found))
        return msgspec.structs.replace(ok, texts=tuple(_text(kind, record) for record in found))


def _owner(name: str, kind: str) -> str:
    if kind == "PTR":
        try:
            return ip_address(name).reverse_pointer
        except ValueError:
            pass
    return name.lower().rstrip(".")


def _name(text: str) -> str:
    return text.lower().rstrip(".")


def _mx(record: str) -> MxRecord:
    preference, exchange = record.split()
    return MxRecord(int(preference), _name(exchange))


def _srv(record: str) -> SrvRecord:
    priority, weight, port, target = record.split()
    return SrvRecord(int(priority), int(weight), int(port), _name(target))


def _tlsa(record: str) -> TlsaRecord:
    usage, selector, matching, data = record.split(maxsplit=3)
    return TlsaRecord(int(usage), int(selector), int(matching), bytes.fromhex(data))


def _text(kind: str, record: str) -> str:
    if kind in ("PTR", "CNAME", "NS"):
        return _name(record)
    if kind == "TXT" and record.startswith('"'):
        return "".join(re.sub(r"\\(.)", r"\1", string) for string in _STRING.findall(record))
    return record
