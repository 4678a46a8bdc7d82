"""Verifying DKIM signatures (RFC 6376 section 6, RFC 8301, RFC 8463).

A `DkimVerifier` is fed the message while it arrives, and asked for its outcomes at the end. Keys are asked for by the generator
that `outcomes` returns (`upesi.mailauth.asking`); the time is given. What a signature is worth to a receiver is said in RFC 8601's
words (section 2.7.1); what to do about it is the caller's business.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from upesi.mail.answers import Answer, Status
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.fields import Fields, fields_digest
from upesi.mailauth.hashing import BodyDigest, MessageHashing
from upesi.mailauth.keys import KeyCache, KeyRecord
from upesi.mailauth.signature import BodyHash, Signature, SignatureFault, read_signature, read_tags

__all__ = ["MAX_SIGNATURES", "DkimOutcome", "DkimTerms", "DkimVerifier", "outcome_by", "read_records", "signed_digest"]

# Signatures of one message that are looked at. Two algorithms of the author's domain, two of its mail provider's, and one of a list
# make five; each costs a question and a verification (DKIM-01)
MAX_SIGNATURES = 5
# TXT records at one selector that are tried (RFC 6376 section 6.1.2 step 4): there should be one
MAX_KEY_RECORDS = 3
# among how many the author's own are looked for, where there are more than are looked at
_MAX_SORTED = 50

_FIELD = b"dkim-signature"


class DkimTerms(msgspec.Struct, frozen=True, gc=False):
    """What a receiver settles for.

    `skew` is how many seconds the clocks of signer and receiver may be apart: no signature ends or begins while somebody's clock is set
    right (CLK-03). `partial` lets a signature count whose l= leaves a part of the body unsigned.
    """

    signatures: int = MAX_SIGNATURES
    skew: float = 7200.0
    partial: bool = False


class DkimOutcome(msgspec.Struct, frozen=True):
    """What came of one signature: "pass", "fail", "policy", "neutral", "temperror" or "permerror", and why.

    The names are as the signature gives them, checked; empty where it could not be read. `octets` is b=, by which RFC 6008 tells
    signatures apart. `bits` is the strength of the key that was used, 0 where none was.
    """

    result: str
    reason: str = ""
    domain: str = ""
    identity: str = ""
    selector: str = ""
    algorithm: str = ""
    octets: bytes = b""
    bits: int = 0
    testing: bool = False


class DkimVerifier:
    """One message. `ignored` is how many signatures were not looked at."""

    __slots__ = ("_found", "_hashing", "_terms", "ignored")

    def __init__(self, terms: DkimTerms) -> None:
        self.ignored = 0
        self._terms = terms
        self._found: list[Signature | DkimOutcome] = []
        self._hashing = MessageHashing(self._wanted)

    def feed(self, data: bytes) -> None:
        """Take the next octets of the message."""
        self._hashing.feed(data)

    def finish(self) -> None:
        """End the message."""
        self._hashing.finish()

    def outcomes(self, now: float, keys: KeyCache) -> Asking[tuple[DkimOutcome, ...]]:
        """Return what came of each signature; empty for a message without any. `now` is the wall clock in seconds."""
        found: list[DkimOutcome] = []
        for each in self._found:
            outcome = each if isinstance(each, DkimOutcome) else (yield from self._judged(each, now, keys))
            found.append(outcome)
        return tuple(found)

    def _wanted(self, fields: Fields) -> Collection[BodyHash]:
        present = fields.named(_FIELD)
        most = self._terms.signatures
        if len(present) > most:
            self.ignored = len(present) - most
            present = _authors_first(present, fields)[:most]
        self._found = [_read(field) for field in present]
        return [each.body for each in self._found if isinstance(each, Signature)]

    def _judged(self, signature: Signature, now: float, keys: KeyCache) -> Asking[DkimOutcome]:
        fields, body = self._hashing.fields, self._hashing.digest(signature.body)
        if fields is None or body is None:
            return _outcome(signature, "policy", "too many ways to hash the body")
        fault = self._fault_of_time(signature, now)
        if fault:
            return _outcome(signature, "fail", fault)
        try:
            records = read_records((yield Question(signature.key_name, "TXT")), keys)
        except SignatureFault as error:
            return _outcome(signature, error.result, str(error))
        outcome = outcome_by(records, signature, body, signed_digest(signature, fields))
        if outcome.result == "pass" and not self._terms.partial and _part_unsigned(signature, body):
            # RFC 6376 section 8.2: whoever has the message can write below what was signed
            return msgspec.structs.replace(outcome, result="policy", reason="l= leaves a part of the body unsigned")
        return outcome

    def _fault_of_time(self, signature: Signature, now: float) -> str:
        skew = self._terms.skew
        if signature.expires is not None and signature.expires + skew < now:
            return "signature has expired"
        if signature.made is not None and signature.made - skew > now:
            return "signature is of the future"
        return ""


def read_records(answer: Answer, keys: KeyCache) -> list[KeyRecord]:
    """Return the keys in an answer; raise SignatureFault where there are none, or nobody could say (RFC 6376 section 6.1.2)."""
    if answer.status is Status.OK and answer.texts:
        return [keys.record(text) for text in answer.texts[:MAX_KEY_RECORDS]]
    if answer.status.trouble:
        raise SignatureFault("key could not be fetched", "temperror")
    raise SignatureFault("there is no key")


def signed_digest(signature: Signature, fields: Fields) -> bytes:
    """Return the hash that a signature was made of."""
    return fields_digest(fields, signature.names, signature.unsigned, signature.header, signature.field)


def outcome_by(records: list[KeyRecord], signature: Signature, body: BodyDigest, header: bytes) -> DkimOutcome:
    """Return what the first of the keys that verifies a signature says of it, or the first of those that do not."""
    first: DkimOutcome | None = None
    for record in records:
        outcome = _by_key(record, signature, body, header)
        if outcome.result == "pass":
            return outcome
        first = first or outcome
    return first or _outcome(signature, "permerror", "there is no key")


def _by_key(record: KeyRecord, signature: Signature, body: BodyDigest, header: bytes) -> DkimOutcome:
    key = record.key
    if key is None:
        return _outcome(signature, "policy" if record.policy else "permerror", record.fault)
    if key.kind != signature.kind:
        return _outcome(signature, "permerror", "key is of another type")
    if record.strict and signature.identity.rpartition("@")[2] != signature.domain:
        return _outcome(signature, "permerror", "key does not speak for subdomains")
    limit = signature.body.limit
    if limit is not None and limit > body.size:
        fault = "body is shorter than l="
    elif body.digest != signature.body_digest:
        fault = "body was changed"
    elif not key.verifies(signature.octets, header):
        fault = "signature does not match"
    else:
        return _outcome(signature, "pass", bits=key.bits, testing=record.testing)
    # RFC 6376 section 3.6.1: a signature under test that fails is as none
    return _outcome(signature, "neutral" if record.testing else "fail", fault, bits=key.bits, testing=record.testing)


def _outcome(
    signature: Signature, result: str, reason: str = "", *, bits: int = 0, testing: bool = False
) -> DkimOutcome:
    return DkimOutcome(
        result, reason, signature.domain, signature.identity, signature.selector, signature.algorithm, signature.octets,
        bits, testing,
    )  # fmt: skip


def _read(field: bytes) -> Signature | DkimOutcome:
    """Return the signature in a field, or the outcome of one that cannot be read."""
    tags: dict[str, str] = {}
    try:
        tags = read_tags(field)
        return read_signature(field, tags)
    except SignatureFault as fault:
        # not checked, so not named
        return DkimOutcome(fault.result, str(fault))


def _part_unsigned(signature: Signature, body: BodyDigest) -> bool:
    limit = signature.body.limit
    return limit is not None and limit < body.size


def _authors_first(present: list[bytes], fields: Fields) -> list[bytes]:
    """Return signature fields with those of the author's domain in front: junk on top of them must not hide them (DKIM-01)."""
    author = b"".join(fields.named(b"from")).lower()

    def strange(field: bytes) -> bool:
        try:
            domain = read_tags(field).get("d", "").lower().encode()
        except SignatureFault:
            return True
        return not domain or author.find(domain) < 0

    return sorted(present[:_MAX_SORTED], key=strange)
