"""dkimpy (zlib licence, for tests only) and ours, both ways: what one signs, the other verifies.

They differ where no signer of mail goes, and the messages here leave it out: dkimpy takes a bare LF for a line end and ours does not
(FRM-01: such mail is refused); dkimpy keeps blanks at the end of a last line that has no line end, which SMTP always adds; dkimpy
keeps blanks behind the value of b=, and section 3.7 takes them out with it.
"""

from __future__ import annotations

import base64
import time

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from unit.mailauth.dkimkit import NOW, signed_by, verified, zone_of
from upesi.mailauth.arc import ArcOutcome
from upesi.mailauth.arc_sealing import ARC_TERMS, arc_set
from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.hashing import MessageHashing
from upesi.mailauth.signature import BodyHash
from upesi.mailauth.signing import SignatureTerms, SigningKey

RSA = generate_private_key(65537, 2048)
ED25519 = Ed25519PrivateKey.generate()
KEYS = {"rsa-sha256": SigningKey("example.org", "r", RSA), "ed25519-sha256": SigningKey("example.org", "e", ED25519)}
ZONE = zone_of(*KEYS.values())

BLANKS = st.sampled_from([" ", "  ", "\t", " \t "])
WORD = st.text(st.sampled_from("abcXYZ.,;=-<>@0123\u00e9"), min_size=1, max_size=12)
LINE = st.lists(st.one_of(WORD, BLANKS), max_size=8).map("".join)
BODY = st.lists(LINE, max_size=12).map(lambda lines: "".join(f"{line}\r\n" for line in lines))
VALUE = st.lists(st.one_of(WORD, BLANKS, WORD.map(lambda word: f"\r\n {word}")), max_size=6).map("".join)
NAME = st.sampled_from(["To", "Cc", "Subject", "subject", "X-Other", "Date", "List-Id", "Content-Type", "Received"])
FIELDS = st.lists(st.tuples(NAME, VALUE), max_size=8)
FORMS = [(header, body) for header in Canonicalization for body in Canonicalization]


def message(fields: list[tuple[str, str]], body: str) -> bytes:
    head = "".join(f"{name}: {value}\r\n" for name, value in [("From", "Anna <anna@example.org>"), *fields])
    return f"{head}\r\n{body}".encode()


def txt(name: bytes, timeout: int = 5) -> bytes:
    return ZONE[name.decode().rstrip(".")].encode()


def secret(algorithm: str) -> bytes:
    if algorithm == "rsa-sha256":
        assert isinstance(RSA, RSAPrivateKey)
        return RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    return base64.b64encode(ED25519.private_bytes_raw())


@pytest.mark.parametrize("algorithm", KEYS)
@given(fields=FIELDS, body=BODY, form=st.sampled_from(FORMS))
@settings(max_examples=40)
def test_dkimpy_verifies_what_we_sign(
    algorithm: str, fields: list[tuple[str, str]], body: str, form: tuple[Canonicalization, Canonicalization]
) -> None:
    """C67, C69: each algorithm and each canonicalization, over fields that repeat, fold and have blanks in odd places."""
    content = message(fields, body)
    signed = signed_by(KEYS[algorithm], content, terms=SignatureTerms(*form)) + content
    assert dkim.verify(signed, dnsfunc=txt)
    assert [each.result for each in verified(signed, ZONE)] == ["pass"]


@pytest.mark.parametrize("algorithm", KEYS)
@given(fields=FIELDS, body=BODY, form=st.sampled_from(FORMS))
@settings(max_examples=40)
def test_we_verify_what_dkimpy_signs(
    algorithm: str, fields: list[tuple[str, str]], body: str, form: tuple[Canonicalization, Canonicalization]
) -> None:
    """C67, C69: the same the other way round."""
    content = message(fields, body)
    words = tuple(each.value.encode() for each in form)
    selector = KEYS[algorithm].selector.encode()
    field = dkim.sign(
        content, selector, b"example.org", secret(algorithm), canonicalize=words, signature_algorithm=algorithm.encode()
    )
    assert [each.result for each in verified(field + content, ZONE, now=time.time())] == ["pass"]


@given(fields=FIELDS, body=BODY, change=st.integers(0, 10_000))
@settings(max_examples=60)
def test_both_say_the_same_of_a_message_that_was_changed(fields: list[tuple[str, str]], body: str, change: int) -> None:
    """One letter changed anywhere in the message: what one refuses, the other refuses; what was not signed matters to neither."""
    content = message(fields, body)
    field = signed_by(KEYS["ed25519-sha256"], content)
    at = change % len(content)
    changed = content[:at] + (b"q" if content[at : at + 1].isalnum() else content[at : at + 1]) + content[at + 1 :]
    assert [each.result == "pass" for each in verified(field + changed, ZONE)] == [
        dkim.verify(field + changed, dnsfunc=txt)
    ]


@given(fields=FIELDS, body=BODY, sets=st.integers(1, 3))
@settings(max_examples=20)
def test_dkimpy_validates_what_we_seal(fields: list[tuple[str, str]], body: str, sets: int) -> None:
    """ARC-01, C82: chains of one to three sets; dkimpy finds the signature of a set by the blank in front of its "i="."""
    content = message(fields, body)
    for number in range(sets):
        content = sealed(content, ArcOutcome("pass" if number else "none", sets=number)) + content
    validity, _, reason = dkim.arc_verify(content, dnsfunc=txt)
    assert (validity, reason) == (dkim.CV_Pass, "success")


def sealed(content: bytes, outcome: ArcOutcome) -> bytes:
    terms = BodyHash(ARC_TERMS.body)
    hashing = MessageHashing(lambda _: (terms,))
    hashing.feed(content)
    hashing.finish()
    digest = hashing.digest(terms)
    assert hashing.fields is not None
    assert digest is not None
    key = KEYS["rsa-sha256"]
    return b"".join(arc_set(key, ARC_TERMS, hashing.fields, digest, "mx.example.org; dmarc=pass", outcome, NOW))
