"""Validating an ARC chain (RFC 8617 section 5.2). Sealing is in `arc_sealing`.

Only the last message signature is checked: earlier ones need not hold any more, since each hop may have changed the message.
Every seal is. What a chain that passes is worth depends on who its sealers are, which is for a local list to say (C82).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec

from upesi.mailauth.arc_sets import ArcSet, Seal, highest_instance, read_sets, says_fail
from upesi.mailauth.asking import Asking, Question
from upesi.mailauth.canonical import relaxed_field
from upesi.mailauth.dkim import outcome_by, read_records, signed_digest
from upesi.mailauth.fields import Fields
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.keys import KeyCache, KeyRecord
from upesi.mailauth.signature import BodyHash, SignatureFault

__all__ = ["ArcOutcome", "ArcValidator", "seal_digests"]


class ArcOutcome(msgspec.Struct, frozen=True):
    """What came of a chain: "none", "pass" or "fail", and why it failed.

    `sets` is the highest instance. `sealers` are the domains that sealed, first to last, and `results` what each of them had found
    (authserv-id and results); both only where the chain passes. `closed` says that nobody is to add to it any more, `temporary` that DNS
    did not answer: later it may pass.
    """

    result: str
    reason: str = ""
    sets: int = 0
    sealers: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    closed: bool = False
    temporary: bool = False


class ArcValidator:
    """One message."""

    __slots__ = ("_fault", "_hashing", "_sets")

    def __init__(self) -> None:
        self._sets: list[ArcSet] = []
        self._fault: SignatureFault | None = None
        self._hashing = MessageHashing(self._wanted)

    def feed(self, data: bytes) -> None:
        """Take the next octets of the message."""
        self._hashing.feed(data)

    def finish(self) -> None:
        """End the message."""
        self._hashing.finish()

    def outcome(self, keys: KeyCache) -> Asking[ArcOutcome]:
        """Return what came of the chain."""
        fields = self._hashing.fields
        if fields is None:
            return ArcOutcome("fail", "header section is too long", closed=True)
        if self._fault is None and not self._sets:
            return ArcOutcome("none")
        try:
            if self._fault is not None:
                raise self._fault
            yield from self._check(fields, keys)
        except SignatureFault as fault:
            sets, temporary = highest_instance(fields), fault.result == "temperror"
            return ArcOutcome("fail", str(fault), sets, closed=says_fail(fields), temporary=temporary)
        return ArcOutcome(
            "pass",
            "",
            len(self._sets),
            tuple(each.seal.domain for each in self._sets),
            tuple(each.results for each in self._sets),
        )

    def _wanted(self, fields: Fields) -> Collection[BodyHash]:
        try:
            self._sets = read_sets(fields)
        except SignatureFault as fault:
            self._fault = fault
        return [each.signature.body for each in self._sets[-1:]]

    def _check(self, fields: Fields, keys: KeyCache) -> Asking[None]:
        """Check the last message signature and all seals, last to first; raise SignatureFault."""
        signature = self._sets[-1].signature
        body = self._hashing.digest(signature.body)
        records = read_records((yield Question(signature.key_name, "TXT")), keys)
        if body is None:
            raise SignatureFault("body was not hashed")
        outcome = outcome_by(records, signature, body, signed_digest(signature, fields))
        if outcome.result != "pass":
            raise SignatureFault(f"message signature: {outcome.reason}")
        if signature.body.limit is not None and signature.body.limit < body.size:
            raise SignatureFault("message signature: l= leaves a part of the body unsigned")
        for each, digest in reversed(list(zip(self._sets, seal_digests(self._sets), strict=True))):
            records = read_records((yield Question(each.seal.key_name, "TXT")), keys)
            fault = _seal_fault(each.seal, records, digest)
            if fault:
                raise SignatureFault(f"seal {each.instance}: {fault}")


def seal_digests(sets: list[ArcSet]) -> list[bytes]:
    """Return what each seal signs: all sets up to its own, in their order, and of itself all but b= (RFC 8617 section 5.1.1)."""
    digests = []
    hashed = hashlib.sha256()
    for each in sets:
        for field in (each.results_field, each.signature.field):
            hashed.update(relaxed_field(field) + b"\r\n")
        own = hashed.copy()
        own.update(relaxed_field(each.seal.unsigned))
        digests.append(own.digest())
        hashed.update(relaxed_field(each.seal.field) + b"\r\n")
    return digests


def _seal_fault(seal: Seal, records: list[KeyRecord], digest: bytes) -> str:
    """Return what is wrong with a seal, nothing where one of the keys verifies it."""
    fault = ""
    for record in records:
        if record.key is None:
            fault = record.fault
        elif record.key.kind != seal.kind:
            fault = "key is of another type"
        elif record.key.verifies(seal.octets, digest):
            return ""
        else:
            fault = "signature does not match"
    return fault
