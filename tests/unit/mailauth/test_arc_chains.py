"""ARC chains of any length, their and their bounds."""

from __future__ import annotations

import pytest

from unit.mailauth.dkimkit import NOW, answers, ed25519_key, zone_of
from upesi.mail.answers import Status
from upesi.mailauth.arc import ArcOutcome, ArcValidator
from upesi.mailauth.arc_sealing import ARC_TERMS, arc_set
from upesi.mailauth.asking import Question, answered_from
from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.keys import KeyCache
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import SigningKey

MESSAGE = b"From: Anna <a@example.org>\r\nTo: b@example.net\r\nSubject: Hello\r\n\r\nSome text.\r\n"
BODY = BodyHash(Canonicalization.RELAXED)
SITES = [ed25519_key(f"site{number}.example", "arc") for number in range(3)]
ZONE: dict[str, str | Status] = {**zone_of(*SITES)}


def judged(
    message: bytes, zone: dict[str, str | Status] | None = None, asked: list[Question] | None = None
) -> ArcOutcome:
    validator = ArcValidator()
    validator.feed(message)
    validator.finish()

    def answer(question: Question):  # type: ignore[no-untyped-def]
        if asked is not None:
            asked.append(question)
        return answers(ZONE if zone is None else zone, question)

    return answered_from(validator.outcome(KeyCache()), answer)


def sealed(message: bytes, key: SigningKey, outcome: ArcOutcome | None = None, results: str = "") -> bytes:
    hashing = MessageHashing(lambda _: (BODY,))
    hashing.feed(message)
    hashing.finish()
    digest = hashing.digest(BODY)
    assert hashing.fields is not None
    assert digest is not None
    found = results or f"mx.{key.domain}; dmarc=pass"
    return b"".join(arc_set(key, ARC_TERMS, hashing.fields, digest, found, outcome or judged(message), NOW)) + message


@pytest.fixture(scope="module")
def fifty() -> bytes:
    message, sets = MESSAGE, ArcOutcome("none")
    for number in range(1, 51):
        message = sealed(message, SITES[number % 3], sets)
        sets = ArcOutcome("pass", sets=number)
    return message


def test_fifty_sets_pass_and_nobody_adds_another(fifty: bytes) -> None:
    """ARC-01, C82, RFC 8617 section 4.2.1: fifty are a chain, and it ends there."""
    asked: list[Question] = []
    outcome = judged(fifty, asked=asked)
    assert (outcome.result, outcome.sets, len(outcome.sealers)) == ("pass", 50, 50)
    assert len(asked) == 51
    assert sealed(fifty, SITES[0], outcome) == fifty


def test_fifty_one_sets_fail_without_a_question(fifty: bytes) -> None:
    """ARC-01: more are no chain, whatever stands in them."""
    asked: list[Question] = []
    more = fifty.split(b"\r\n\r\n")[0].replace(b"i=50", b"i=51", 3).split(b"\r\nARC-Seal")[0] + b"\r\n" + fifty
    assert judged(more, asked=asked).reason == "chain has more than 50 sets"
    assert asked == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda m: m.replace(b"i=2", b"i=3"), "chain has a gap"),
        (lambda m: m.replace(b"i=2", b"i=1"), "chain has an instance twice"),
        (lambda m: m.replace(b"i=1", b"i=0"), "instance is not one of 1 to 50"),
        (lambda m: m.replace(b"i=1", b"i=99999"), "results have no instance"),
        (lambda m: m.replace(b"cv=none", b"cv=pass"), "seal has a cv= that cannot be"),
        (lambda m: m.replace(b"cv=pass", b"cv=none"), "seal has a cv= that cannot be"),
        (lambda m: m.replace(b"cv=none", b"cv=fail"), "seal has a cv= that cannot be"),
        (lambda m: m.replace(b"cv=pass", b"cv=fail"), "chain had failed before"),
        (lambda m: m.replace(b"dmarc=pass", b"dmarc=fail"), "message signature: signature does not match"),
        (lambda m: m.replace(b"Some text", b"Other text"), "message signature: body was changed"),
        (lambda m: m.replace(b"Subject: Hello", b"Subject: Hullo"), "message signature: signature does not match"),
        (lambda m: m.replace(b"ARC-Seal:", b"X-Seal:", 1), "chain has a gap"),
    ],
)
def test_what_is_no_chain_fails(change: object, reason: str) -> None:
    """ARC-01: gaps, instances that are there twice or cannot be, cv= that does not fit, and what was changed behind a seal."""
    assert callable(change)
    chain = sealed(sealed(MESSAGE, SITES[0]), SITES[1])
    outcome = judged(change(chain))
    if reason == "message signature: signature does not match" and b"dmarc=fail" in change(chain):
        # a message signature does not cover the results: the seal does
        reason = "seal 2: signature does not match"
    assert (outcome.result, outcome.reason) == ("fail", reason)


def test_a_seal_in_our_own_name_needs_our_own_key() -> None:
    """ARC-02: a chain that somebody forged with our name is checked like any other, against the key in DNS."""
    forger = ed25519_key("site0.example", "forged")
    own = SigningKey("site0.example", "arc", forger._key)
    assert judged(sealed(MESSAGE, own)).result == "fail"


def test_trouble_with_dns_is_told_apart() -> None:
    """A key that cannot be fetched now may be there later."""
    chain = sealed(MESSAGE, SITES[0])
    outcome = judged(chain, {SITES[0].name: Status.TIMEOUT})
    assert (outcome.result, outcome.temporary) == ("fail", True)
    assert not judged(chain, {}).temporary
