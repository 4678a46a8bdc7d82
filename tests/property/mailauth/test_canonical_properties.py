"""Canonicalization against a plain reading of RFC 6376 section 3.4, whatever the octets and however they are cut."""

from __future__ import annotations

import hashlib
import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from unit.mailauth.dkimkit import NOW, answers, ed25519_key, signed_by, verified, zone_of
from upesi.mailauth.asking import answered_from
from upesi.mailauth.canonical import (
    BodyCanonicalizer,
    Canonicalization,
    RelaxedBody,
    SimpleBody,
    relaxed_field,
    relaxed_fields,
)
from upesi.mailauth.dkim import DkimTerms, DkimVerifier
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.keys import KeyCache
from upesi.mailauth.signature import BodyHash, without_signature

CRLF = b"\r\n"
# what canonicalization looks at, in all orders, and some letters
PIECES = st.lists(
    st.sampled_from([b" ", b"\t", b"\r", b"\n", CRLF, CRLF, b"a", b"bc", b"\x0b", b" \r\n", b"  "]), max_size=60
)
BODIES = PIECES.map(b"".join)
CUTS = st.lists(st.integers(0, 120), max_size=8)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def canonical(kind: type[BodyCanonicalizer], pieces: list[bytes]) -> tuple[bytes, int]:
    written: list[bytes] = []
    body = kind(written.append)
    for piece in pieces:
        body.feed(piece)
    body.finish()
    return b"".join(written), body.size


def by_the_rfc(body: bytes, *, relaxed: bool) -> bytes:
    """Line by line, as section 3.4.3 and 3.4.4 say it."""
    lines = body.split(CRLF)
    if relaxed:
        lines = [re.sub(rb"[ \t]+", b" ", line).removesuffix(b" ") for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        return b"" if relaxed else CRLF
    return CRLF.join(lines) + CRLF


@given(BODIES, CUTS)
def test_relaxed_bodies_are_as_the_rfc_has_them(body: bytes, cuts: list[int]) -> None:
    """C67, DKIM-03, section 3.4.4: octet for octet, cut anywhere, and the size is counted."""
    wanted = by_the_rfc(body, relaxed=True)
    assert canonical(RelaxedBody, cut(body, cuts)) == (wanted, len(wanted))


@given(BODIES, CUTS)
def test_simple_bodies_are_as_the_rfc_has_them(body: bytes, cuts: list[int]) -> None:
    """C67, DKIM-03, section 3.4.3: octet for octet, cut anywhere, and the size is counted."""
    wanted = by_the_rfc(body, relaxed=False)
    assert canonical(SimpleBody, cut(body, cuts)) == (wanted, len(wanted))


@given(BODIES)
def test_canonical_bodies_stay_as_they_are(body: bytes) -> None:
    """What is canonical already is not changed again."""
    for kind in (RelaxedBody, SimpleBody):
        once, _ = canonical(kind, [body])
        assert canonical(kind, [once])[0] == once


VALUES = st.lists(
    st.sampled_from([b" ", b"\t", b"\r\n ", b"\r\n\t", b"a", b"b:c", b"\x0b", b"\x00", b"\r", b"\n", b"  "]),
    max_size=20,
)
FIELDS = st.builds(
    lambda name, value: name + b":" + b"".join(value), st.sampled_from([b"To", b"X-A ", b"subJect\t", b"\x00"]), VALUES
)


@given(st.lists(FIELDS, min_size=1, max_size=6))
def test_relaxed_fields_are_as_the_rfc_has_them(fields: list[bytes]) -> None:
    """C67, section 3.4.2: one by one and all at once, whatever white space of other kinds, or NUL, is in them."""

    def plain(field: bytes) -> bytes:
        name, _, value = field.partition(b":")
        return name.rstrip(b" \t").lower() + b":" + re.sub(rb"[ \t]+", b" ", value.replace(CRLF, b"")).strip(b" ")

    assert [relaxed_field(field) for field in fields] == [plain(field) for field in fields]
    names = [field.partition(b":")[0].rstrip(b" \t").lower() for field in fields]
    values = [field.partition(b":")[2] for field in fields]
    assert relaxed_fields(names, values) == CRLF.join(plain(field) for field in fields)


GAPS = st.sampled_from([b"", b" ", b"\r\n\t"])
VALUE = st.lists(st.sampled_from([b"b=", b" ", b"\r\n\t", b"xb=", b"b =", b"=", b"abc", b":", b"b"]), max_size=6).map(
    b"".join
)
SPECS = st.builds(
    lambda name, gaps, value: gaps[0] + name + gaps[1] + b"=" + value,
    st.sampled_from([b"b", b"bh", b"xb", b"h", b"d"]), st.tuples(GAPS, GAPS), VALUE,
)  # fmt: skip
TAGS = st.lists(SPECS, max_size=6, unique_by=lambda spec: spec.partition(b"=")[0].strip()).map(b";".join)


@given(TAGS)
def test_only_the_value_of_b_is_taken_out(tags: bytes) -> None:
    """Section 3.7: the tag, with the blanks around its value, and no other octets that look like it."""
    field = b"DKIM-Signature:" + tags
    blanks = rb"[ \t\r\n]*"
    wanted = re.sub(rb"(\A[^:]*:|;)(" + blanks + b"b" + blanks + rb"=)[^;]*", rb"\1\2", field, count=1)
    assert without_signature(field) == wanted


KEY = ed25519_key()
HEAD = b"From: a@example.org\r\nSubject: x\r\n\r\n"


@given(BODIES, CUTS)
def test_how_a_message_is_cut_makes_no_difference(body: bytes, cuts: list[int]) -> None:
    """DKIM-03: header, signature and body in any pieces give the same outcome."""
    message = signed_by(KEY, HEAD + body) + HEAD + body
    verifier = DkimVerifier(DkimTerms())
    for piece in cut(message, [place * len(message) // 120 for place in cuts]):
        verifier.feed(piece)
    verifier.finish()
    zone = zone_of(KEY)
    assert [each.result for each in verified(message, zone)] == ["pass"]
    outcomes = answered_from(verifier.outcomes(NOW, KeyCache()), lambda question: answers(zone, question))
    assert [each.result for each in outcomes] == ["pass"]


@given(BODIES, st.integers(0, 40), CUTS)
def test_a_limit_cuts_the_canonical_body(body: bytes, limit: int, cuts: list[int]) -> None:
    """Section 3.5, l=: the hash is of so many octets of the canonical body, however it comes; its whole size is known."""
    for canonicalization, relaxed in ((Canonicalization.RELAXED, True), (Canonicalization.SIMPLE, False)):
        wanted = BodyHash(canonicalization, limit)
        hashing = MessageHashing(lambda _, wanted=wanted: (wanted,))
        for piece in cut(HEAD + body, cuts):
            hashing.feed(piece)
        hashing.finish()
        digest = hashing.digest(wanted)
        whole = by_the_rfc(body, relaxed=relaxed)
        assert digest is not None
        assert (digest.digest, digest.size) == (hashlib.sha256(whole[:limit]).digest(), len(whole))
