"""Who may be sent a domain's reports: addresses at its own organization, and those elsewhere that ask for them (RFC 9990 section 4).

Without this anybody could have a stranger's mailbox filled by naming it in a record. An address elsewhere gets reports only where

    policy-domain._report._dmarc.destination    TXT    "v=DMARC1"

says so; that record may name another address at the same place instead. If it names a place elsewhere, nobody gets any (DMARC-02).

Where DNS cannot say for one address, the others are known all the same: a destination that is broken for good is no reason to keep a report
from those that are not.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from upesi.mail.answers import Status
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.dmarc_record import DmarcRecord, ReportUri, dmarc_record
from upesi.mailauth.dmarc_walk import DnsTrouble, Walker, organizational_domain

__all__ = ["Destinations", "ReportTag", "report_destinations"]

# which reports: those of a day, or of single messages
ReportTag = Literal["rua", "ruf"]

_MAX_NAME = 253


class Destinations(msgspec.Struct, frozen=True):
    """Who may get a domain's reports, each once. `trouble` is what DNS could not say of others, "" where it said all."""

    uris: tuple[ReportUri, ...] = ()
    trouble: str = ""


def report_destinations(domain: str, wanted: tuple[ReportUri, ...], tag: ReportTag = "rua") -> Asking[Destinations]:
    """Return which of `wanted`, named by the policy record of `domain` in `tag`, may get reports (RFC 9991 section 5 for "ruf")."""
    walker = Walker()
    allowed: dict[str, ReportUri] = {}
    trouble = ""
    for uri in wanted:
        try:
            for agreed in (yield from _allowed(walker, domain, uri, tag)):
                allowed.setdefault(agreed.address.key, agreed)
        except DnsTrouble as error:
            trouble = str(error)
    return Destinations(tuple(allowed.values()), trouble)


def _allowed(walker: Walker, domain: str, uri: ReportUri, tag: ReportTag) -> Asking[tuple[ReportUri, ...]]:
    """Return `uri`, what it is replaced by, or nothing; raise DnsTrouble."""
    host = uri.address.domain
    # an address literal is nobody's domain, and nobody there could have asked
    if not host or host.startswith("["):
        return ()
    if host == domain:
        return (uri,)
    own = organizational_domain(domain, (yield from walker.walk(domain)))
    if organizational_domain(host, (yield from walker.walk(host))) == own:
        return (uri,)
    return (yield from _agreed(domain, uri, tag))


def _agreed(domain: str, uri: ReportUri, tag: ReportTag) -> Asking[tuple[ReportUri, ...]]:
    """Return the addresses at a place elsewhere that wants these reports: `uri`, or those that its record names instead."""
    host = uri.address.domain
    name = f"{domain}._report._dmarc.{host}"
    if len(name) > _MAX_NAME:
        return ()
    answer = yield Question(name, "TXT")
    if answer.status.trouble:
        raise DnsTrouble(f"{name}: {answer.status.value}")
    records = [record for record in map(dmarc_record, answer.texts if answer.status is Status.OK else ()) if record]
    if not records:
        return ()
    # the right to reports cannot be passed on: if that is tried, neither address gets any
    instead = tuple(other for record in records for other in _named(record, tag))
    if any(other.address.domain != host for other in instead):
        return ()
    # what we cannot serve replaces the address too
    if not instead and any(_names_any(record, tag) for record in records):
        return ()
    return instead[:1] or (uri,)


def _named(record: DmarcRecord, tag: ReportTag) -> tuple[ReportUri, ...]:
    return record.rua if tag == "rua" else record.ruf


def _names_any(record: DmarcRecord, tag: ReportTag) -> bool:
    return record.wants_reports if tag == "rua" else record.wants_failures
