"""One DMARC policy record, as text of DNS (RFC 9989 sections 4.7 and 4.8).

    dmarc-record  = dmarc-version *(dmarc-sep dmarc-tag) [dmarc-sep]
    dmarc-version = "v" equals %s"DMARC1"
    dmarc-tag     = 1*ALPHA equals 1*dmarc-value

What older records say and RFC 9989 does not know (`pct`, `rf`, `ri`) is ignored like every unknown tag: a record with `pct=20` asks for
its policy in whole. A tag whose value is wrong counts as its default; a tag that is there twice makes the record none (RFC 6376
section 3.2, whose syntax this is).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from urllib.parse import unquote

import msgspec

from upesi.mail.address import Address, AddressError

__all__ = ["MAX_KEPT", "MAX_RECORD", "MAX_URIS", "DmarcRecord", "DmarcRecords", "Policy", "ReportUri", "dmarc_record"]

# octets of a record that is read: honest ones have some hundreds, and DNS can carry 64 kB
MAX_RECORD = 4096
# Records that are kept read, of some 300 octets each, none of more than MAX_RECORD: 4 MB at the worst
MAX_KEPT = 1000
# Addresses of one record that get a report. RFC 7489 asks for two at least; each may cost a lookup and a message a day
MAX_URIS = 5

_VERSION = re.compile(r"v[ \t]*=[ \t]*(?-i:DMARC1)[ \t]*(?:;|$)", re.IGNORECASE)
_TAG = re.compile(r"([A-Za-z]+)[ \t]*=[ \t]*([\t\x20-\x3a\x3c-\x7e]+)")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!-~]+")
# Of the URI only the address is taken: RFC 6068's header fields are a stranger's, and a size ("!10m", obs-dmarc-report-size) is ignored
# (RFC 9989 section 4.8). A "!" or "?" in the address itself is encoded
_MAILTO = re.compile(r"mailto:([!->@-~]+?)(?:\?[!-~]*?)?(?:!\d+[kmgt]?)?", re.IGNORECASE)


class Policy(enum.StrEnum):
    """What the owner of a domain wants done with mail that fails; later ones are stricter."""

    NONE = "none"
    QUARANTINE = "quarantine"
    REJECT = "reject"

    @property
    def milder(self) -> Policy:
        """One step down: what `t=y` makes of it (RFC 9989 section 4.7)."""
        return {Policy.REJECT: Policy.QUARANTINE}.get(self, Policy.NONE)

    @property
    def strictness(self) -> int:
        """Higher is stricter."""
        return list(Policy).index(self)


class ReportUri(msgspec.Struct, frozen=True, gc=False):
    """Where reports are wanted."""

    address: Address


class DmarcRecord(msgspec.Struct, frozen=True):
    """What one record says. `policy`, `sp` and `np` are None where they are not there or cannot be read."""

    policy: Policy | None = None
    sp: Policy | None = None
    np: Policy | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    psd: str = "u"
    testing: bool = False
    rua: tuple[ReportUri, ...] = ()
    ruf: tuple[ReportUri, ...] = ()
    fo: str = ""
    # p is missing or one of p, sp, np is no policy
    faulty: bool = False
    # some URI in rua, of whatever scheme, can be read
    wants_reports: bool = False
    # and in ruf
    wants_failures: bool = False

    @property
    def applies(self) -> bool:
        """Whether there is a policy in it at all (RFC 9989 section 4.10.1): a faulty one counts as p=none where reports are wanted."""
        return not self.faulty or self.wants_reports

    def policy_for(self, *, own: bool, exists: bool) -> Policy:
        """Return what is asked for mail of the domain itself, or of one below it that exists or does not; before `t`."""
        if self.faulty or self.policy is None:
            return Policy.NONE
        if own:
            return self.policy
        below = self.policy if self.sp is None else self.sp
        return below if exists or self.np is None else self.np


def dmarc_record(text: str) -> DmarcRecord | None:
    """Read one TXT record; None for what is no DMARC record."""
    version = _VERSION.match(text)
    if version is None or len(text) > MAX_RECORD:
        return None
    tags: dict[str, str] = {}
    for part in text[version.end() :].split(";"):
        match = _TAG.fullmatch(part.strip(" \t"))
        if match is None:
            # RFC 9989 section 4.8: what cannot be read in the rest of a record is ignored
            continue
        name = match[1].lower()
        if name in tags:
            return None
        tags[name] = match[2].strip(" \t")
    return _record(tags)


class DmarcRecords:
    """Texts that were read before; at MAX_KEPT all are forgotten, since reading again costs microseconds."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[str, DmarcRecord | None] = {}

    def read(self, text: str) -> DmarcRecord | None:
        """Read one TXT record; None for what is no DMARC record."""
        if len(text) > MAX_RECORD:
            return None
        known = self._known
        if text in known:
            return known[text]
        if len(known) >= MAX_KEPT:
            known.clear()
        record = known[text] = dmarc_record(text)
        return record


def _record(tags: dict[str, str]) -> DmarcRecord:
    policies = {name: _policy(tags[name]) for name in ("p", "sp", "np") if name in tags}
    rua, ruf = tags.get("rua", ""), tags.get("ruf", "")
    return DmarcRecord(
        policy=policies.get("p"),
        sp=policies.get("sp"),
        np=policies.get("np"),
        strict_dkim=tags.get("adkim", "").lower() == "s",
        strict_spf=tags.get("aspf", "").lower() == "s",
        psd=_one_of(tags.get("psd", ""), "yn", "u"),
        testing=tags.get("t", "").lower() == "y",
        rua=tuple(_uris(rua)),
        ruf=tuple(_uris(ruf)),
        fo=_options(tags.get("fo", "")),
        faulty="p" not in tags or None in policies.values(),
        wants_reports=_names_any(rua),
        wants_failures=_names_any(ruf),
    )


def _policy(value: str) -> Policy | None:
    try:
        return Policy(value.lower())
    except ValueError:
        return None


def _options(value: str) -> str:
    """Return what `fo` says, "" where it says nothing that can be."""
    options = value.lower().split(":")
    distinct = set(options)
    # RFC 9989 section 4.7: in any order, each once; "0" and "1" exclude each other
    if len(distinct) < len(options) or not distinct <= {"0", "1", "d", "s"} or {"0", "1"} <= distinct:
        return ""
    return value.lower()


def _names_any(value: str) -> bool:
    return any(_URI.fullmatch(uri.strip(" \t")) for uri in value.split(","))


def _one_of(value: str, letters: str, default: str) -> str:
    value = value.lower()
    return value if len(value) == 1 and value in letters else default


def _uris(value: str) -> Iterator[ReportUri]:
    """Yield the first MAX_URIS addresses that mail can go to; other schemes and what is no address are left out (DMARC-02)."""
    found = 0
    for part in value.split(","):
        match = _MAILTO.fullmatch(part.strip(" \t"))
        if match is None or found >= MAX_URIS:
            continue
        try:
            # decoded after the commas were split (RFC 6068); whatever it hides, an address is all that is taken
            address = Address.parse(unquote(match[1]))
        except AddressError:
            continue
        found += 1
        yield ReportUri(address)
