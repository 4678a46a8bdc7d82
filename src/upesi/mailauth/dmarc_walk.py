"""The DNS tree walk: whose policy holds for a domain, and which domain it belongs to (RFC 9989 section 4.10).

    a.b.c.d.e.f.g.h.i.j.mail.example.com is asked about itself, then about its last seven labels, then about six, ... down to "com"

So no name costs more than eight lookups. A walk stops at a record that says whether it is a public suffix (`psd=y`, `psd=n`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from upesi.mail.answers import Answer, Status
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.dmarc_record import DmarcRecord, DmarcRecords

__all__ = ["MAX_WALK", "DnsTrouble", "Found", "Walker", "organizational_domain", "policy_of", "walk_names"]

# RFC 9989 section 4.10: lookups of one walk
MAX_WALK = 8
# RFC 1035 section 2.3.4; a name that is longer with "_dmarc." in front has no record
_MAX_NAME = 253


class DnsTrouble(Exception):
    """DNS could not say now; the text names what was asked."""


class _Trouble(msgspec.Struct, frozen=True):
    """What DNS could not say: it is not asked again for the same message."""

    text: str


class Found(msgspec.Struct, frozen=True):
    """A record and the domain that has it."""

    domain: str
    record: DmarcRecord


def walk_names(domain: str) -> Iterator[str]:
    """Yield the domains that a walk from `domain` asks about, in their order: at most MAX_WALK."""
    yield domain
    labels = domain.split(".")[1:][-(MAX_WALK - 1) :]
    while labels:
        yield ".".join(labels)
        labels = labels[1:]


class Walker:
    """Walks for one message. What was asked once is not asked again: domains that are to be aligned share their parents."""

    __slots__ = ("_known", "_records")

    def __init__(self, records: DmarcRecords | None = None) -> None:
        """`records` keeps what was read for the next message."""
        self._known: dict[str, DmarcRecord | _Trouble | None] = {}
        self._records = records if records is not None else DmarcRecords()

    def record(self, domain: str) -> Asking[DmarcRecord | None]:
        """Return the record of `domain` itself, None where there is none; raise DnsTrouble."""
        if domain not in self._known:
            name = f"_dmarc.{domain}"
            if len(name) > _MAX_NAME:
                self._known[domain] = None
            else:
                self._known[domain] = self._only_record((yield Question(name, "TXT")), name)
        known = self._known[domain]
        if isinstance(known, _Trouble):
            raise DnsTrouble(known.text)
        return known

    def walk(self, domain: str) -> Asking[tuple[Found, ...]]:
        """Return the records on the way up from `domain`, its own first; raise DnsTrouble."""
        found: list[Found] = []
        for name in walk_names(domain):
            record = yield from self.record(name)
            if record is not None:
                found.append(Found(name, record))
                if record.psd != "u":
                    break
        return tuple(found)

    def _only_record(self, answer: Answer, name: str) -> DmarcRecord | _Trouble | None:
        if answer.status.trouble:
            return _Trouble(f"{name}: {answer.status.value}")
        if answer.status is not Status.OK:
            return None
        records = [record for record in map(self._records.read, answer.texts) if record is not None]
        # several are none: which one was meant, nobody knows
        return records[0] if len(records) == 1 else None


def organizational_domain(domain: str, found: tuple[Found, ...]) -> str:
    """Return the organizational domain of `domain`, whose walk found these (RFC 9989 section 4.10.2)."""
    for at in found:
        if at.record.psd == "n":
            return at.domain
        if at.record.psd == "y" and at.domain != domain:
            # one label below the public suffix
            below = domain.removesuffix(f".{at.domain}").rpartition(".")[2]
            return f"{below}.{at.domain}"
    return found[-1].domain if found else domain


def policy_of(domain: str, found: tuple[Found, ...]) -> Found | None:
    """Return whose record holds for mail from `domain`: its own, its organizational domain's, its public suffix's (section 4.10.1)."""
    organizational = organizational_domain(domain, found)
    by_domain = {at.domain: at for at in found}
    suffix = next((at for at in found if at.record.psd == "y"), None)
    return by_domain.get(domain) or by_domain.get(organizational) or suffix
