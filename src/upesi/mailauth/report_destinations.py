"""Who may be sent a domain's reports: addresses at its own organization, and those elsewhere that ask for them (RFC 9990 section 4).

Without this anybody could have a stranger's mailbox filled by naming it in a record. An address elsewhere gets reports only where

    policy-domain._report._dmarc.destination    TXT    "v=DMARC1"

says so; that record may name another address at the same place instead (DMARC-02).
"""

from __future__ import annotations

from upesi.mail.answers import Status
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.dmarc_record import ReportUri, dmarc_record
from upesi.mailauth.dmarc_walk import DnsTrouble, Walker, organizational_domain

__all__ = ["report_destinations"]

_MAX_NAME = 253


def report_destinations(domain: str, wanted: tuple[ReportUri, ...]) -> Asking[tuple[ReportUri, ...]]:
    """Return which of `wanted`, named by the policy record of `domain`, may get reports, each once; raise DnsTrouble."""
    walker = Walker()
    allowed: dict[str, ReportUri] = {}
    own = organizational_domain(domain, (yield from walker.walk(domain)))
    for uri in wanted:
        host = uri.address.domain
        # an address literal is nobody's domain, and nobody there could have asked
        if not host or host.startswith("["):
            continue
        if host == domain or organizational_domain(host, (yield from walker.walk(host))) == own:
            allowed.setdefault(uri.address.key, uri)
            continue
        for agreed in (yield from _agreed(domain, uri)):
            allowed.setdefault(agreed.address.key, agreed)
    return tuple(allowed.values())


def _agreed(domain: str, uri: ReportUri) -> Asking[tuple[ReportUri, ...]]:
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
    # at the same host only: the right to reports cannot be passed on
    instead = tuple(other for record in records for other in record.rua if other.address.domain == host)
    return instead[:1] or (uri,)
