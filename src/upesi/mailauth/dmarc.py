"""DMARC (RFC 9989): whether what SPF and DKIM vouch for is the domain that the From field shows, and what its owner wants if not.

A message passes when a domain that passed SPF (for MAIL FROM) or DKIM is the author's domain or, where the owner does not ask for more,
has the same organizational domain. Which author domain there is, `from_domain` says; who acts on the outcome is a plugin.

Several author domains are checked each, and the worst outcome is the message's (RFC 9989 section 11.5; RFC 7489 section 6.6.1): a
signature of one author says nothing of the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from upesi.mail.address import AddressError, domain_from
from upesi.mail.answers import Status
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.dmarc_record import DmarcRecord, DmarcRecords, Policy
from upesi.mailauth.dmarc_walk import DnsTrouble, Found, Walker, organizational_domain, policy_of

__all__ = ["MAX_AUTHOR_DOMAINS", "MAX_IDENTIFIERS", "DmarcOutcome", "DmarcResult", "check_dmarc"]

DmarcResult = Literal["pass", "fail", "none", "temperror", "permerror"]

# Author domains of one message that are checked; a message with more fails. People write together in twos and threes
MAX_AUTHOR_DOMAINS = 4
# Domains that passed and are looked at for alignment, of SPF and DKIM each: DKIM verifies no more signatures than that
MAX_IDENTIFIERS = 10

# What counts more where there are several authors; a failure that is to be acted on is worse than all of them
_BADNESS: dict[str, int] = {"pass": 0, "none": 1, "permerror": 1, "fail": 2, "temperror": 3}


class DmarcOutcome(msgspec.Struct, frozen=True):
    """What DMARC says of a message.

    `policy` is what is asked for if it fails, with `sp`, `np` and `t` looked at; `asked` is the same before `t` took a step off.
    It is permerror with an `author` whose record is not valid, and without one where there are too many.
    `holder` is the domain whose `record` holds; `dkim` and `spf` are the domains that are aligned, "" where none is.
    """

    result: DmarcResult
    author: str
    reason: str = ""
    policy: Policy = Policy.NONE
    asked: Policy = Policy.NONE
    holder: str = ""
    record: DmarcRecord | None = None
    dkim: str = ""
    spf: str = ""

    @property
    def testing(self) -> bool:
        """Whether the owner only tries its policy out (`t=y`)."""
        return self.record is not None and self.record.testing


def check_dmarc(
    authors: Sequence[str], spf: Iterable[str], dkim: Iterable[str], records: DmarcRecords | None = None
) -> Asking[DmarcOutcome]:
    """Check the author domains (as A-labels) against the domains that passed SPF and DKIM; `records` keeps what was read for the next."""
    walker = Walker(records)
    passed = _domains(spf), _domains(dkim)
    worst: DmarcOutcome | None = None
    distinct = tuple(dict.fromkeys(authors))
    if not distinct or len(distinct) > MAX_AUTHOR_DOMAINS:
        return DmarcOutcome("permerror", "", f"{len(distinct)} author domains")
    for author in distinct:
        outcome = yield from _Check(walker, author, *passed).outcome()
        if worst is None or _rank(outcome) > _rank(worst):
            worst = outcome
    assert worst is not None
    return worst


def _rank(outcome: DmarcOutcome) -> tuple[int, int]:
    # RFC 9989 section 11.5: the strictest policy of those that fail
    strictness = outcome.policy.strictness if outcome.result == "fail" else 0
    return 4 if strictness else _BADNESS[outcome.result], strictness


def _domains(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names that are domains, normalised: `d=bank.example(.attacker.example` is none, whatever a verifier let pass."""
    found: dict[str, None] = {}
    for name in itertools.islice(names, MAX_IDENTIFIERS):
        try:
            domain = domain_from(name)
        except AddressError:
            continue
        if not domain.startswith("["):
            found[domain] = None
    return tuple(found)


class _Check:
    """One author domain."""

    __slots__ = ("_author", "_dkim", "_spf", "_trouble", "_walker")

    def __init__(self, walker: Walker, author: str, spf: tuple[str, ...], dkim: tuple[str, ...]) -> None:
        self._walker = walker
        self._author = author
        self._spf = spf
        self._dkim = dkim
        self._trouble = ""

    def outcome(self) -> Asking[DmarcOutcome]:
        """Find the policy, then whether anything is aligned, then what is asked for."""
        try:
            holder = yield from self._holder()
            if holder is None:
                return DmarcOutcome("none", self._author, "no policy")
            if not holder.record.applies:
                # no DMARC for this message (section 4.10.1), which the registry of section 9.2 has a word for
                return DmarcOutcome("permerror", self._author, f"the policy record of {holder.domain} is not valid")
            return (yield from self._judged(holder))
        except DnsTrouble as trouble:
            return DmarcOutcome("temperror", self._author, str(trouble))

    def _holder(self) -> Asking[Found | None]:
        own = yield from self._walker.record(self._author)
        if own is not None:
            # RFC 9989 section 4.10.1: that is the one, whatever stands above or cannot be found out there
            return Found(self._author, own)
        return policy_of(self._author, (yield from self._walker.walk(self._author)))

    def _judged(self, holder: Found) -> Asking[DmarcOutcome]:
        record = holder.record
        # DKIM first: it lives through forwarding, and reports name it first
        dkim = yield from self._aligned(self._dkim, strict=record.strict_dkim)
        spf = yield from self._aligned(self._spf, strict=record.strict_spf)
        passed = bool(dkim or spf)
        if self._trouble and not passed:
            raise DnsTrouble(self._trouble)
        asked = yield from self._asked(holder, passed=passed)
        return DmarcOutcome(
            "pass" if passed else "fail",
            self._author,
            "" if passed else "nothing aligned passed",
            asked.milder if record.testing else asked,
            asked,
            holder.domain,
            record,
            dkim,
            spf,
        )

    def _aligned(self, domains: tuple[str, ...], *, strict: bool) -> Asking[str]:
        """Return the first of `domains` that is aligned with the author's, "" for none."""
        if self._author in domains:
            return self._author
        if strict or not domains:
            return ""
        above = yield from self._organization(self._author)
        for domain in domains:
            # another organization's domain is not worth a walk
            if not above or (domain != above and not domain.endswith(f".{above}")):
                continue
            if (yield from self._organization(domain)) == above:
                return domain
        return ""

    def _organization(self, domain: str) -> Asking[str]:
        """Return the organizational domain, "" where DNS could not say: something else may still be aligned."""
        try:
            return organizational_domain(domain, (yield from self._walker.walk(domain)))
        except DnsTrouble as trouble:
            self._trouble = str(trouble)
            return ""

    def _asked(self, holder: Found, *, passed: bool) -> Asking[Policy]:
        own = holder.domain == self._author
        exists = True
        record = holder.record
        if not own and record.np is not None and record.policy_for(own=False, exists=True) is not record.np:
            # RFC 9989 section 3.2.13, RFC 8020: NXDOMAIN, and nothing else, says that there is no such domain
            status = (yield Question(self._author, "A")).status
            if status.trouble and not passed:
                # section 5.3.6: which policy is asked for is not known now
                raise DnsTrouble(f"{self._author}: {status.value}")
            exists = status is not Status.NXDOMAIN
        return record.policy_for(own=own, exists=exists)
