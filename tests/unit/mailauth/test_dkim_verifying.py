"""What a verifier makes of signatures and keys that are not as they should be: one row for each way to be wrong."""

from __future__ import annotations

import base64
import itertools
import tracemalloc

import pytest

from unit.mailauth.dkimkit import NOW, Zone, ed25519_key, rsa_key, signed_by, verified, zone_of
from upesi.mail.answers import Status
from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.dkim import DkimOutcome, DkimTerms, DkimVerifier
from upesi.mailauth.fields import Fields, fields_digest
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.keys import KeyCache, KeyRecord
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import SignatureTerms, SigningKey

KEY = ed25519_key()
RSA = rsa_key()
ZONE = zone_of(KEY, RSA)
MESSAGE = b"From: Anna <a@example.org>\r\nTo: b@example.net\r\nSubject: Hello\r\n\r\nSome text.\r\n"


def made(key: SigningKey = KEY, message: bytes = MESSAGE, *, remove: str = "", **tags: str) -> bytes:
    """A signature by hand, with tags other than a signer makes; valid but for them."""
    hashing = MessageHashing(
        lambda _: (BodyHash(Canonicalization.RELAXED, int(tags["l"]) if tags.get("l", "").isdigit() else None),)
    )
    hashing.feed(message)
    hashing.finish()
    [wanted] = hashing._digests
    digest = hashing.digest(wanted)
    assert digest is not None
    usual = {
        "v": "1", "a": key.algorithm, "c": "relaxed/relaxed", "d": key.domain, "s": key.selector,
        "h": "From:To:Subject", "bh": base64.b64encode(digest.digest).decode(),
    }  # fmt: skip
    shown = {**usual, **tags}
    shown.pop(remove, None)
    unsigned = ("DKIM-Signature: " + "; ".join(f"{name}={value}" for name, value in shown.items()) + "; b=").encode()
    names = shown.get("h", "from").lower().encode().split(b":")
    signed = key.sign(
        fields_digest(Fields(message.partition(b"\r\n\r\n")[0]), names, unsigned, Canonicalization.RELAXED)
    )
    value = b"" if remove == "b" else base64.b64encode(signed)
    return unsigned + value + b"\r\n"


def outcome(field: bytes, message: bytes = MESSAGE, zone: Zone = ZONE, **terms: object) -> DkimOutcome:
    [found] = verified(field + message, zone, terms=DkimTerms(**terms))  # type: ignore[arg-type]
    return found


def test_a_signature_made_by_hand_is_valid() -> None:
    """What the rows below change one thing of passes as it is."""
    assert outcome(made()).result == "pass"
    assert outcome(made(RSA)).result == "pass"


@pytest.mark.parametrize(
    ("tags", "result", "reason"),
    [
        ({"v": "2"}, "permerror", "signature is of an unknown version"),
        ({"v": "1.0"}, "permerror", "signature is of an unknown version"),
        ({"remove": "v"}, "permerror", "signature is of an unknown version"),
        *(({"remove": tag}, "permerror", f"signature has no {tag}=") for tag in ("a", "b", "bh", "d", "h", "s")),
        ({"a": "rsa-sha1"}, "fail", "rsa-sha1 does not count any more"),
        ({"a": "rsa-md5"}, "permerror", "signature is of an unknown algorithm"),
        ({"a": "rsa-sha256"}, "permerror", "key is of another type"),
        ({"c": "nowsp/relaxed"}, "permerror", "signature is of an unknown canonicalization"),
        ({"c": ""}, "permerror", "signature is of an unknown canonicalization"),
        ({"h": "To:Subject"}, "permerror", "From is not signed"),
        ({"h": "From::To"}, "permerror", "list of signed fields is malformed"),
        ({"h": "Fr om:To"}, "permerror", "list of signed fields is malformed"),
        ({"h": ":".join(["From"] * 501)}, "permerror", "list of signed fields is too long"),
        ({"d": "exa mple.org"}, "permerror", "d= is no name"),
        ({"d": "-.org"}, "permerror", "d= is no name"),
        ({"d": "example.org."}, "permerror", "d= is no name"),
        ({"d": "a" * 64 + ".org"}, "permerror", "d= is no name"),
        ({"s": "a._domainkey.b.\x7f"}, "permerror", "signature: tag list has a control character"),
        ({"s": "../x"}, "permerror", "s= is no name"),
        ({"s": "e..e"}, "permerror", "s= is no name"),
        ({"i": "a@other.example"}, "permerror", "i= is not at d="),
        ({"i": "@notexample.org"}, "permerror", "i= is not at d="),
        ({"i": "a"}, "permerror", "i= is no identity"),
        ({"i": "a@example.org"}, "pass", ""),
        ({"i": "@news.example.org"}, "pass", ""),
        ({"q": "dns/txt"}, "pass", ""),
        ({"q": "https/x : dns/txt"}, "pass", ""),
        ({"q": "https/x"}, "permerror", "key is not in DNS"),
        ({"t": str(NOW - 60)}, "pass", ""),
        ({"t": str(NOW + 3600)}, "pass", ""),
        ({"t": str(NOW + 8000)}, "fail", "signature is of the future"),
        ({"t": "soon"}, "permerror", "signature: number is malformed"),
        ({"x": str(NOW + 60)}, "pass", ""),
        ({"x": str(NOW - 3600)}, "pass", ""),
        ({"x": str(NOW - 8000)}, "fail", "signature has expired"),
        ({"x": "9" * 77}, "permerror", "signature: number is malformed"),
        ({"x": "9" * 76}, "pass", ""),
        ({"t": str(NOW), "x": str(NOW)}, "permerror", "signature ends before it was made"),
        ({"l": "12"}, "pass", ""),
        ({"l": "4"}, "policy", "l= leaves a part of the body unsigned"),
        ({"l": "0"}, "policy", "l= leaves a part of the body unsigned"),
        ({"l": "13"}, "fail", "body is shorter than l="),
        ({"l": "-1"}, "permerror", "signature: number is malformed"),
        ({"bh": "AAAA"}, "fail", "body was changed"),
        ({"bh": "not base64!"}, "permerror", "signature: base64 is malformed"),
        ({"unknown": "x", "z": "From:x"}, "pass", ""),
        ({"A": "x"}, "pass", ""),
        ({"9x": "y"}, "permerror", "signature: tag list is malformed"),
        ({"x y": "z"}, "permerror", "signature: tag list is malformed"),
    ],
)
def test_tags_of_a_signature(tags: dict[str, str], result: str, reason: str) -> None:
    """C68, C71, C72, C73, DKIM-02, CLK-03: a fault of one tag; unknown tags are ignored; clocks may be two hours apart."""
    found = outcome(made(**tags))  # type: ignore[arg-type]
    assert (found.result, found.reason) == (result, reason)


def test_a_tag_that_is_there_twice_spoils_the_list() -> None:
    """C72, RFC 6376 section 3.2: tags MUST be unique."""
    field = made().replace(b"; b=", b"; d=example.org; b=")
    assert outcome(field).reason == "signature: tag list has a tag twice"


@pytest.mark.parametrize("text", [b"", b";", b"v", b"v=1;;a=x", b"=x", b"\xff=1", b"v=1; " + b"x" * 70_000])
def test_fields_that_are_no_tag_list(text: bytes) -> None:
    """C71, DKIM-01: never an exception, never a question to DNS, and linear in the length."""
    assert outcome(b"DKIM-Signature:" + text + b"\r\n", zone={}).result == "permerror"


def record(**tags: str) -> str:
    usual = dict(pair.split("=", 1) for pair in KEY.record.split("; "))
    return "; ".join(f"{name}={value}" for name, value in {**usual, **tags}.items())


WITHOUT_VERSION = KEY.record.removeprefix("v=DKIM1; ")


@pytest.mark.parametrize(
    ("answer", "result", "reason"),
    [
        (Status.NXDOMAIN, "permerror", "there is no key"),
        (Status.NODATA, "permerror", "there is no key"),
        (Status.SERVFAIL, "temperror", "key could not be fetched"),
        (Status.TIMEOUT, "temperror", "key could not be fetched"),
        (record(p=""), "permerror", "key was revoked"),
        (WITHOUT_VERSION, "pass", ""),
        (f"{WITHOUT_VERSION}; v=DKIM1", "permerror", "key record is of another version"),
        (record(v="DKIM2"), "permerror", "key record is of another version"),
        (record(v="dkim1"), "permerror", "key record is of another version"),
        ("v=DKIM1; k=ed25519", "permerror", "key record has no key"),
        (record(k="x"), "permerror", "key is of an unknown type"),
        (record(k="rsa"), "permerror", "key is malformed"),
        (record(h="sha1"), "permerror", "key is not for sha256"),
        (record(h="sha1:sha256"), "pass", ""),
        (record(s="email"), "pass", ""),
        (record(s="other:*"), "pass", ""),
        (record(s="tlsrpt"), "permerror", "key is not for mail"),
        (record(g="", n="a note", zz="x"), "pass", ""),
        (record(t="s"), "pass", ""),
        (record(t="x:Q"), "pass", ""),
        (record(p="AAAA"), "permerror", "key is malformed"),
        (record(p="!!!"), "permerror", "key record: base64 is malformed"),
        (f"{KEY.record[:40]} {KEY.record[40:50]}\t{KEY.record[50:]} ;", "pass", ""),
        (f"{KEY.record}; p=x", "permerror", "key record: tag list has a tag twice"),
        ("\u00ff" * 4000, "permerror", "key record: tag list is malformed"),
        ("x" * 20_000, "permerror", "key record: tag list is too long"),
        ("v=spf1 -all", "permerror", "key record is of another version"),
        (("v=spf1 -all", KEY.record), "pass", ""),
        ((record(p=""), KEY.record), "pass", ""),
        (("a", "b", "c", KEY.record), "permerror", "key record: tag list is malformed"),
    ],
    # the key is another one in each process, and the processes that share the tests must call them by the same names
    ids=itertools.count(),
)
def test_key_records(answer: str | tuple[str, ...] | Status, result: str, reason: str) -> None:
    """C71, DKIM-04, RFC 6376 section 3.6.1: what a record may be, and that no record breaks anything."""
    found = outcome(made(), zone={KEY.name: answer})
    assert (found.result, found.reason) == (result, reason)


def test_a_strict_key_speaks_for_its_own_domain_only() -> None:
    """C72, section 3.6.1, t=s: i= must be at d= itself."""
    zone = {KEY.name: record(t="y : s")}
    assert outcome(made(i="@news.example.org"), zone=zone).reason == "key does not speak for subdomains"
    assert outcome(made(i="x@example.org"), zone=zone).result == "pass"


def test_a_key_under_test_makes_no_failures() -> None:
    """DKIM-04, section 3.6.1, t=y: a signature that fails is as none; one that passes says that it is a test."""
    zone = {KEY.name: record(t="y")}
    found = outcome(made(), MESSAGE.replace(b"text", b"words"), zone)
    assert (found.result, found.reason, found.testing) == ("neutral", "body was changed", True)
    assert outcome(made(), zone=zone).testing


def rsa_record(bits: int, exponent: int = 65537) -> str:
    """A record with an RSAPublicKey by hand: libraries make no such keys."""

    def der(tag: int, content: bytes) -> bytes:
        size = len(content)
        length = (
            bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
        )
        return bytes([tag]) + length + content

    def integer(number: int) -> bytes:
        return der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))

    key = der(0x30, integer((1 << bits - 1) + 1) + integer(exponent))
    return f"v=DKIM1; p={base64.b64encode(key).decode()}"


@pytest.mark.parametrize(
    ("bits", "exponent", "fault"),
    [
        (512, 65537, "key has 512 bits"),
        (1023, 65537, "key has 1023 bits"),
        (1024, 65537, ""),
        (4096, 3, ""),
        (4104, 65537, "key has 4104 bits"),
        (8192, 65537, "key has 8192 bits"),
        (2048, 1, "not sound"),
        (2048, 65536, "not sound"),
        (2048, 2**40 + 1, "not sound"),
    ],
)
def test_rsa_keys_have_a_sound_size(bits: int, exponent: int, fault: str) -> None:
    """C68, DKIM-01, RFC 8301 section 3.2: below 1024 bits no signature; beyond 4096, or with an odd exponent, not worth its time."""
    found = KeyRecord.parse(rsa_record(bits, exponent))
    if not fault:
        assert found.key is not None
        assert found.key.bits == bits
    elif fault == "not sound":
        # OpenSSL refuses some of these itself
        assert found.key is None
        assert found.fault in ("key has an exponent that is not sound", "key is malformed")
    else:
        assert (found.key, found.fault, found.policy) == (None, fault, True)


def test_bare_and_wrapped_rsa_keys_are_read() -> None:
    """RFC 6376 section 3.6.1 names RSAPublicKey; everybody publishes SubjectPublicKeyInfo."""
    assert KeyRecord.parse(RSA.record).key is not None
    assert KeyRecord.parse(rsa_record(2048)).key is not None


def test_signatures_beyond_the_bound_are_counted_and_not_looked_at() -> None:
    """DKIM-01: five of hundreds, the author's own domain's first, wherever they stand; each costs a question at most."""
    junk = made(rsa_key("junk.example", "j"), message=MESSAGE)
    verifier = DkimVerifier(DkimTerms())
    verifier.feed(junk * 300 + MESSAGE)
    verifier.finish()
    assert verifier.ignored == 295
    found = verified(junk * 20 + made() + junk * 20 + MESSAGE, ZONE)
    assert len(found) == 5
    assert [each.domain for each in found if each.result == "pass"] == ["example.org"]


def test_a_body_is_hashed_in_few_ways_whatever_is_asked_for() -> None:
    """DKIM-01: signatures that each want another l= get no more than eight hashes of one body."""
    fields = b"".join(made(l=str(length)) for length in range(20))
    results = [each.result for each in verified(fields + MESSAGE, ZONE, terms=DkimTerms(signatures=20))]
    assert results.count("policy") >= 19
    assert {each.reason for each in verified(fields + MESSAGE, ZONE, terms=DkimTerms(signatures=20))} >= {
        "too many ways to hash the body"
    }


def test_a_body_with_an_unsigned_tail_counts_where_that_is_asked_for() -> None:
    """C73, RFC 6376 section 8.2: it does not, by default: anybody may have written the rest."""
    field = made(l="12")
    longer = MESSAGE + b"Buy this!\r\n"
    assert outcome(field, longer).result == "policy"
    assert outcome(field, longer, partial=True).result == "pass"
    assert outcome(field, MESSAGE).result == "pass"


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (lambda m: b"X-New: x\r\n" + m, "pass"),
        (lambda m: m.replace(b"Subject: Hello", b"subject:   Hello"), "pass"),
        (lambda m: m.replace(b"To: b@", b"To:\r\n b@"), "pass"),
        (lambda m: m.replace(b"Subject: Hello", b"Subject: Hullo"), "fail"),
        (lambda m: b"Subject: Other\r\n" + m, "fail"),
        (lambda m: b"From: x@example.org\r\n" + m, "fail"),
        (lambda m: m.replace(b"\r\n\r\n", b"\r\nReply-To: x@y.example\r\n\r\n"), "fail"),
        (lambda m: m.replace(b"To: b@example.net\r\n", b""), "fail"),
        (lambda m: m.replace(b"To: b@example.net\r\nSubject: Hello", b"Subject: Hello\r\nTo: b@example.net"), "pass"),
        (lambda m: m + b"\r\n\r\n", "pass"),
        (lambda m: m + b" \t\r\n", "pass"),
        (lambda m: m + b"x\r\n", "fail"),
    ],
)
def test_what_breaks_an_oversigned_message(change: object, result: str) -> None:
    """C70, DKIM-03: another From or Subject on top, or a field taken away, breaks it; reordering and folding do not."""
    assert callable(change)
    field = signed_by(KEY, MESSAGE, terms=SignatureTerms())
    assert outcome(field, change(MESSAGE)).result == result


def test_a_signature_may_cover_the_signatures_below_it() -> None:
    """RFC 6376 section 5.4: dkim-signature in h= means those that were there, and not the signature itself."""
    below = made(RSA)
    above = made(KEY, below + MESSAGE, h="From:DKIM-Signature:DKIM-Signature")
    assert [each.result for each in verified(above + below + MESSAGE, ZONE)] == ["pass", "pass"]
    assert [each.result for each in verified(above + MESSAGE, ZONE)] == ["fail"]


def test_a_header_section_beyond_its_bound_is_hashed_by_nobody() -> None:
    """A quarter of a megabyte of header: no signature is looked at, and nothing of it is kept."""
    assert verified(made() + b"X: " + b"a" * 300_000 + b"\r\n" + MESSAGE, ZONE) == ()


@pytest.mark.parametrize(
    "message", [b"", b"\r\n", b" x\r\n", b"From: a@b.example", b"\r\nDKIM-Signature: v=1\r\n", b"\r"]
)
def test_messages_without_a_signature(message: bytes) -> None:
    """Nothing is found where there is nothing; what stands below the empty line is no field."""
    assert verified(message, ZONE) == ()


def test_the_cache_of_keys_is_bounded() -> None:
    """Records that were read last are kept, the others go."""
    cache = KeyCache(2)
    first = cache.record(KEY.record)
    assert cache.record(KEY.record) is first
    for number in range(3):
        cache.record(f"{KEY.record}; n={number}")
    assert cache.record(KEY.record) is not first


def test_a_body_of_a_hundred_megabytes_takes_no_memory() -> None:
    """DKIM-03: a body without a line end, and one of nothing but line ends, are hashed piece by piece."""
    verifier = DkimVerifier(DkimTerms())
    verifier.feed(made() + MESSAGE)
    pieces = [b"a" * 65536, b"\r\n" * 32768]
    tracemalloc.start()
    for piece in pieces:
        for _ in range(200):
            verifier.feed(piece)
    verifier.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
