"""What one message adds to the aggregate reports of DMARC (RFC 9990 section 3.1): whose policy held, who sent, what was found and done.

Nothing of a person is in it: domains, one address of a machine, results. Equal observations are one row with a count.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from upesi.mail.address import MAX_DOMAIN
from upesi.mailauth.dmarc import DmarcOutcome
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.results import MethodResult

__all__ = ["MAX_SIGNATURES", "MethodSaid", "Observation", "Published", "observation_of", "published_by"]

# RFC 9990 section 3.1.3 lets a report name a hundred signatures of a row; who wants to fill our disk should not need so few messages
MAX_SIGNATURES = 5
# characters of a selector: one or a few labels
_MAX_SELECTOR = 128


class Published(msgspec.Struct, frozen=True):
    """The policy that held, as its owner published it; reports go to `rua`."""

    domain: str
    p: str = ""
    sp: str = ""
    np: str = ""
    adkim: str = "r"
    aspf: str = "r"
    fo: str = ""
    testing: bool = False
    rua: tuple[ReportUri, ...] = ()
    # what p, sp and np say is not valid, and the record counts as p=none
    faulty: bool = False


class MethodSaid(msgspec.Struct, frozen=True, gc=False):
    """What one check said of a domain; `selector` is empty for SPF."""

    domain: str
    result: str
    selector: str = ""


class Observation(msgspec.Struct, frozen=True):
    """One message. `disposition` is what was done: "pass", "none", "quarantine" or "reject"; `override` why it is not what was asked."""

    source: str
    header_from: str
    envelope_from: str
    disposition: str
    dkim_aligned: bool
    spf_aligned: bool
    override: str = ""
    comment: str = ""
    dkim: tuple[MethodSaid, ...] = ()
    spf: tuple[MethodSaid, ...] = ()


def published_by(outcome: DmarcOutcome) -> Published | None:
    """Return the policy that held, None where nobody wants a report."""
    record = outcome.record
    if record is None or not record.rua:
        return None
    # what was applied: of a record with a fault that is p=none and nothing else (RFC 9989 section 4.10.1)
    p, sp, np = (None, None, None) if record.faulty else (record.policy, record.sp, record.np)
    return Published(
        outcome.holder,
        p.value if p else "none",
        sp.value if sp else "",
        np.value if np else "",
        "s" if record.strict_dkim else "r",
        "s" if record.strict_spf else "r",
        record.fo if record.ruf else "",
        record.testing,
        record.rua,
        record.faulty,
    )


def observation_of(
    outcome: DmarcOutcome,
    results: Sequence[MethodResult],
    *,
    source: str,
    envelope_from: str,
    disposition: str,
    override: str = "",
    comment: str = "",
) -> tuple[Published, Observation] | None:
    """Return what the message adds to whose report, None where nobody wants one."""
    published = published_by(outcome)
    if published is None:
        return None
    return published, Observation(
        source,
        outcome.author,
        _cut(envelope_from),
        disposition,
        bool(outcome.dkim),
        bool(outcome.spf),
        override,
        comment,
        tuple(_signatures(results, outcome)),
        tuple(_senders(results)),
    )


def _signatures(results: Iterable[MethodResult], outcome: DmarcOutcome) -> list[MethodSaid]:
    def rank(said: MethodSaid) -> int:
        # RFC 9990 section 3.1.3: the author's own, the one that is aligned, others that pass, the rest
        if said.result != "pass":
            return 3
        return 0 if said.domain == outcome.author else 1 if said.domain == outcome.dkim else 2

    said = [
        MethodSaid(_cut(each.said_of("header.d")), each.result, each.said_of("header.s")[:_MAX_SELECTOR])
        for each in results
        if each.method == "dkim" and each.said_of("header.d")
    ]
    return sorted(said, key=rank)[:MAX_SIGNATURES]


def _senders(results: Iterable[MethodResult]) -> list[MethodSaid]:
    # RFC 9990 section 3.1.1.13: MAIL FROM only, one
    said = [
        MethodSaid(_cut(each.said_of("smtp.mailfrom").rpartition("@")[2]), each.result)
        for each in results
        if each.method == "spf" and each.said_of("smtp.mailfrom")
    ]
    return said[:1]


def _cut(domain: str) -> str:
    return domain[:MAX_DOMAIN].lower()
