"""What a failure report of DMARC is about: one message that did not authenticate as its author's domain wants (RFC 9991, RFC 6591).

Whether a report is asked for is told from `ruf` and `fo` of the policy record (RFC 9989 section 4.7); which identities failed, by asking
DNS again, once a report is really to be made. Unlike an aggregate report this has something of people in it: the envelope and the header
section, to be redacted by whoever writes them down. The body is not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from upesi.mail.address import Address, AddressError, domain_from
from upesi.mail.answers import Status
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.dmarc import DmarcOutcome
from upesi.mailauth.dmarc_record import ReportUri
from upesi.mailauth.dmarc_walk import DnsTrouble, Walker, organizational_domain
from upesi.mailauth.results import MethodResult

__all__ = [
    "MAX_FAILURE_HEADER",
    "MAX_FAILURE_RESULTS",
    "MAX_SPF_TEXT",
    "FailedIdentities",
    "Failure",
    "FailureKind",
    "failed_identities",
    "failure_of",
    "failure_sought",
]  # fmt: skip

# Octets of a header section that a report is made of: what tells why a message failed stands in the first few kB
MAX_FAILURE_HEADER = 16 * 1024
# results of methods that are looked at: SPF's two, and those of five signatures, with room for ARC and DMARC
MAX_FAILURE_RESULTS = 20
# Characters of an SPF record that a report quotes; RFC 7208 section 3.4 wants them to fit into 512 octets
MAX_SPF_TEXT = 800

# RFC 6591 section 3.3, and "dmarc" of RFC 9991 section 4
FailureKind = Literal["dmarc", "signature", "bodyhash", "revoked", "spf"]

# who has failed: trouble with DNS is no failure of the domain, a key under test is as no signature
_FAILED_DKIM = frozenset(("fail", "permerror", "policy"))
_FAILED_SPF = frozenset(("fail", "softfail", "permerror"))
# what the verifier says, and the word that RFC 6591 has for it; every other fault is of the signature
_DKIM_KINDS: dict[str, FailureKind] = {"body was changed": "bodyhash", "key was revoked": "revoked"}


class Failure(msgspec.Struct, frozen=True):
    """One message. `source` and `port` are the client's, `arrived` is in Unix seconds, `delivery` a word of RFC 6591 or "" for not known.

    `holder` is the domain whose record asks for reports at `wanted`; `header` are the first octets of the header section.
    """

    kind: FailureKind
    holder: str
    author: str
    wanted: tuple[ReportUri, ...]
    dkim_aligned: bool
    spf_aligned: bool
    strict_dkim: bool
    strict_spf: bool
    results: tuple[MethodResult, ...]
    source: str
    port: int
    reverse_path: Address | None
    envelope_id: str
    arrived: float
    header: bytes
    delivery: str = ""

    @property
    def condition(self) -> tuple[str, ...]:
        """What two messages have in common that failed for the same reason: one report tells of both (RFC 9991 section 8.1)."""
        return self.holder, self.author, self.source, self.kind, f"{self.dkim_aligned}{self.spf_aligned}"


class FailedIdentities(msgspec.Struct, frozen=True):
    """What RFC 9991 section 4 asks to name of the method that failed: a signature, and the domain of MAIL FROM with its SPF record."""

    signature: MethodResult | None = None
    spf_domain: str = ""
    spf_text: str = ""


def failure_sought(outcome: DmarcOutcome, results: Iterable[MethodResult]) -> FailureKind | None:
    """Return of what kind the report is that the record asks for, None where it asks for none of such a message."""
    record = outcome.record
    # RFC 9991 section 2: a public suffix that asks for reports of everybody below it gets none
    if record is None or not record.ruf or record.psd == "y" or outcome.result not in ("pass", "fail"):
        return None
    options = record.fo.split(":") if record.fo else ["0"]
    aligned = (bool(outcome.dkim), bool(outcome.spf))
    if ("0" in options and not any(aligned)) or ("1" in options and not all(aligned)):
        return "dmarc"
    found = list(results)
    if "d" in options and (broken := _broken(found)):
        return _DKIM_KINDS.get(broken[0].reason, "signature")
    return "spf" if "s" in options and _failed_mail_from(found) else None


def failure_of(
    outcome: DmarcOutcome,
    kind: FailureKind,
    results: Sequence[MethodResult],
    *,
    client: tuple[str, int],
    reverse_path: Address | None,
    envelope_id: str,
    arrived: float,
    header: bytes,
    delivery: str,
) -> Failure:
    """Return what a report of `kind` (`failure_sought`) is made of."""
    record = outcome.record
    assert record is not None
    return Failure(
        kind, outcome.holder, outcome.author, record.ruf, bool(outcome.dkim), bool(outcome.spf), record.strict_dkim, record.strict_spf,
        tuple(results[:MAX_FAILURE_RESULTS]), *client, reverse_path, envelope_id, arrived, header[:MAX_FAILURE_HEADER], delivery,
    )  # fmt: skip


def failed_identities(failure: Failure) -> Asking[FailedIdentities]:
    """Find what failed: of DMARC what is aligned with the author, of one method whatever failed. What DNS cannot say is left out."""
    alignment = _Alignment(failure)
    signature: MethodResult | None = None
    for broken in _broken(failure.results):
        if failure.kind != "spf" and (yield from alignment.holds(broken.said_of("header.d"), failure.strict_dkim)):
            signature = broken
            break
    domain = _failed_mail_from(failure.results)
    if failure.kind not in ("dmarc", "spf") or not (yield from alignment.holds(domain, failure.strict_spf)):
        return FailedIdentities(signature)
    return FailedIdentities(signature, domain, (yield from _spf_text(domain)))


class _Alignment:
    """Whether a domain is the author's, as its record wants it; of reports about one method that does not matter (`fo=d`, `fo=s`)."""

    __slots__ = ("_author", "_matters", "_walker")

    def __init__(self, failure: Failure) -> None:
        self._author = failure.author
        self._matters = failure.kind == "dmarc"
        self._walker = Walker()

    def holds(self, domain: str, strict: bool) -> Asking[bool]:
        try:
            domain = domain_from(domain)
        except AddressError:
            return False
        if domain == self._author or not self._matters:
            return True
        if strict or domain.startswith("["):
            return False
        try:
            own = organizational_domain(self._author, (yield from self._walker.walk(self._author)))
            if domain != own and not domain.endswith(f".{own}"):
                return False
            return organizational_domain(domain, (yield from self._walker.walk(domain))) == own
        except DnsTrouble:
            return False


def _spf_text(domain: str) -> Asking[str]:
    answer = yield Question(domain, "TXT")
    texts = answer.texts if answer.status is Status.OK else ()
    return next((text for text in texts if text.lower().startswith("v=spf1") and len(text) <= MAX_SPF_TEXT), "")


def _broken(results: Iterable[MethodResult]) -> list[MethodResult]:
    """Return what was said of the signatures that failed and say whose they are."""
    return [
        each for each in results if each.method == "dkim" and each.result in _FAILED_DKIM and each.said_of("header.d")
    ]


def _failed_mail_from(results: Iterable[MethodResult]) -> str:
    """Return the domain of MAIL FROM for which SPF failed, "" for none."""
    failed = (each for each in results if each.method == "spf" and each.result in _FAILED_SPF)
    return next((said.rpartition("@")[2] for each in failed if (said := each.said_of("smtp.mailfrom"))), "")
