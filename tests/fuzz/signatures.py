"""DKIM signatures, key records and ARC chains of strangers."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from upesi.mail.answers import Answer, Status
from upesi.mailauth.arc import ArcValidator
from upesi.mailauth.arc_sealing import ARC_TERMS, arc_set
from upesi.mailauth.asking import Question, answered_from
from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.dkim import MAX_SIGNATURES, DkimTerms, DkimVerifier
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.keys import KeyCache, KeyRecord
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import NotSignable, SigningKey

__all__ = ["arc", "dkim"]

_MESSAGE = b"From: a@example.org\r\n\r\nx\r\n"
_RESULTS = frozenset(("pass", "fail", "policy", "neutral", "temperror", "permerror"))
_BODY = BodyHash(Canonicalization.RELAXED)
_KEY = SigningKey("example.org", "s", Ed25519PrivateKey.from_private_bytes(bytes(32)))


def dkim(data: bytes) -> None:
    """The octets as a message, as a signature on one, and as the record of every key: outcomes, and a question for each."""
    text = data.decode("latin-1")
    KeyRecord.parse(text)
    for message in (data, b"DKIM-Signature: " + data + b"\r\n" + _MESSAGE):
        asked: list[Question] = []

        def answer(question: Question, asked: list[Question] = asked) -> Answer:
            asked.append(question)
            assert question.name.isascii()
            assert len(question.name) <= 2 * 253 + len("._domainkey.")
            return Answer(Status.OK, texts=(text, _KEY.record))

        verifier = DkimVerifier(DkimTerms())
        for start in range(0, len(message), 1000):
            verifier.feed(message[start : start + 1000])
        verifier.finish()
        outcomes = answered_from(verifier.outcomes(1.7e9, KeyCache()), answer)
        assert len(asked) <= MAX_SIGNATURES
        for outcome in outcomes:
            assert outcome.result in _RESULTS
            assert (outcome.domain + outcome.selector + outcome.algorithm).isascii()
            assert len(base64.b64encode(outcome.octets)) <= 2 * len(message)


def arc(data: bytes) -> None:
    """The octets as a message and as fields of one: an outcome; a set that is added to it seals that outcome."""
    for message in (data, data + b"\r\n" + _MESSAGE):
        validator, hashing = ArcValidator(), MessageHashing(lambda _: (_BODY,))
        for listener in (validator, hashing):
            listener.feed(message)
            listener.finish()
        outcome = answered_from(validator.outcome(KeyCache()), lambda _: Answer(Status.OK, texts=(_KEY.record,)))
        fields, body = hashing.fields, hashing.digest(_BODY)
        assert outcome.result in ("none", "pass", "fail")
        if fields is None or body is None:
            continue
        try:
            made = arc_set(_KEY, ARC_TERMS, fields, body, "mx.example.org; none", outcome, 1_700_000_000)
        except NotSignable:
            continue
        assert len(made) in (0, 3)
