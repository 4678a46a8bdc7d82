"""CRAM-MD5, EXTERNAL, OAUTHBEARER and XOAUTH2: vectors, and what is malformed or lets nobody in."""

from __future__ import annotations

import hmac
import json
from typing import Any

import pytest
from tests.unit.sasl.saslkit import ANNA, circumstances, play

from upesi.sasl.credentials import Ability, Identity, Reason, Refused, ScramKeys, SharedSecret, Unavailable
from upesi.sasl.steps import CheckToken, Confirm, FetchKeys

TIM = SharedSecret(Identity("tim"), "tanstaaftanstaaf")


def test_the_vector_of_cram_md5() -> None:
    """RFC 2195 section 2: the digest of the example's challenge."""
    question = b"<1896.697170952@postoffice.reston.mci.net>"
    assert hmac.new(b"tanstaaftanstaaf", question, "md5").hexdigest() == "b913a602c7eda7a495b4e6e7334d3890"


def test_cram_md5() -> None:
    """RFC 2195: right and wrong digests over a challenge that bears our name and the time."""

    def digest(challenge: bytes, password: bytes = b"tanstaaftanstaaf") -> bytes:
        return b"tim " + hmac.new(password, challenge, "md5").hexdigest().encode()

    played = play("CRAM-MD5", None, [digest], TIM)
    assert played.challenges == [b"<abcdefghijklmnopqrstuvwx.1896@postoffice.example.net>"]
    assert played.questions == [FetchKeys("tim", Ability.SHARED_SECRET)]
    assert played.outcome == TIM.identity
    assert (
        play("CRAM-MD5", None, [lambda question: digest(question).upper().replace(b"TIM", b"tim")], TIM).outcome
        == TIM.identity
    )
    assert play("CRAM-MD5", None, [lambda question: digest(question, b"x")], TIM).outcome == "wrong credentials"


def test_a_replayed_digest_is_wrong() -> None:
    """AUT-03: an answer to an earlier challenge is of no use."""
    seen: list[bytes] = []

    def first(challenge: bytes) -> bytes:
        seen.append(b"tim " + hmac.new(b"tanstaaftanstaaf", challenge, "md5").hexdigest().encode())
        return seen[0]

    assert play("CRAM-MD5", None, [first], TIM).outcome == TIM.identity
    later = play("CRAM-MD5", None, [lambda _: seen[0]], TIM, circumstances("another nonce"))
    assert later.outcome == "wrong credentials"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (lambda _: None, "wrong credentials"),
        (Refused(Reason.EXPIRED), "wrong credentials"),
        (Unavailable("down"), "no answer"),
        (ScramKeys(ANNA, b"s", 4096, b"", b""), "no answer"),
        (ANNA, "no answer"),
    ],
)
def test_cram_md5_lets_nobody_in_without_a_secret(answer: Any, outcome: str) -> None:
    """AUT-04, AUT-07: unknown, closed and garbled accounts; no reason is told before the proof."""

    def digest(challenge: bytes) -> bytes:
        return b"tim " + hmac.new(b"", challenge, "md5").hexdigest().encode()

    assert play("CRAM-MD5", None, [digest], answer).outcome == outcome


@pytest.mark.parametrize(
    ("initial", "response"), [(b"", None), (b"x", None), (None, b""), (None, b"tim"), (None, b"\xff x"), (None, b" x")]
)
def test_cram_md5_takes_nothing_malformed(initial: bytes | None, response: bytes | None) -> None:
    """RFC 4422 section 3: the server speaks first, so an initial response is an error."""
    played = play("CRAM-MD5", initial, [] if response is None else [response], TIM)
    assert played.outcome == "malformed"
    assert played.questions == []


CERTIFICATE = ("anna@example.org", "laptop.example.org")


@pytest.mark.parametrize(
    ("response", "asked", "outcome"),
    [
        (b"", "anna@example.org", ANNA),
        (b"anna@example.org", "anna@example.org", ANNA),
        (b"laptop.example.org", "laptop.example.org", ANNA),
        (b"anna", "anna@example.org", ANNA),
        (b"bert@example.org", "anna@example.org", "wrong credentials"),
    ],
)
def test_external_believes_the_certificate(response: bytes, asked: str, outcome: object) -> None:
    """RFC 4422 appendix A: the response names one of the certificate's or the account's names, or none."""
    here = circumstances(certificate=CERTIFICATE)
    for initial, responses in ((response, ()), (None, (response,))):
        played = play("EXTERNAL", initial, responses, here=here)
        assert played.questions == [Confirm(asked)]
        assert played.outcome == outcome


def test_external_without_a_certificate_is_wrong() -> None:
    """AUT-09: nobody is asked."""
    played = play("EXTERNAL", b"anna@example.org")
    assert played.outcome == "wrong credentials"
    assert played.questions == []


@pytest.mark.parametrize("answer", [Refused(), Unavailable("down"), lambda _: None])
def test_a_certificate_of_nobody_is_no_account(answer: Any) -> None:
    """AUT-09: an authority vouches for more names than we have accounts."""
    assert play("EXTERNAL", b"", answer=answer, here=circumstances(certificate=CERTIFICATE)).outcome != ANNA


TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
BEARER = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer " + TOKEN.encode() + b"\x01\x01"
GOOGLE = b"user=someuser@example.com\x01auth=Bearer " + TOKEN.encode() + b"\x01\x01"


@pytest.mark.parametrize(
    ("mechanism", "message", "question"),
    [
        ("OAUTHBEARER", BEARER, CheckToken("user@example.com", TOKEN)),
        ("OAUTHBEARER", b"n,,\x01auth=bearer abc\x01\x01", CheckToken("", "abc")),
        ("OAUTHBEARER", b"y,a=a=2Cb=3Dc,\x01auth=Bearer abc\x01\x01", CheckToken("a,b=c", "abc")),
        ("XOAUTH2", GOOGLE, CheckToken("someuser@example.com", TOKEN)),
    ],
)
def test_bearer_tokens_are_read(mechanism: str, message: bytes, question: CheckToken) -> None:
    """RFC 7628 section 4.1: the examples."""
    for initial, responses in ((message, ()), (None, (message,))):
        played = play(mechanism, initial, responses)
        assert played.questions == [question]
        assert played.outcome == ANNA


@pytest.mark.parametrize(("mechanism", "message"), [("OAUTHBEARER", BEARER), ("XOAUTH2", GOOGLE)])
def test_a_refused_token_is_told_in_json_first(mechanism: str, message: bytes) -> None:
    """AUT-09, RFC 7628 section 3.2.2: one round of JSON, then the failure, whatever the client makes of it."""
    for response in (b"", b"\x01", b"anything"):
        played = play(mechanism, message, [response], Refused())
        assert json.loads(played.challenges[0])["status"] in ("invalid_token", "401")
        assert played.outcome == "wrong credentials"
    assert play(mechanism, message, answer=Unavailable("down")).outcome == "no answer"


def test_a_client_without_a_token_hears_what_is_wanted() -> None:
    """RFC 7628 section 4.3: discovery; nobody is asked."""
    played = play("OAUTHBEARER", b"n,,\x01\x01", [b"\x01"])
    assert played.questions == []
    assert played.outcome == "wrong credentials"
    assert played.challenges


@pytest.mark.parametrize(
    ("mechanism", "message"),
    [
        ("OAUTHBEARER", b""),
        ("OAUTHBEARER", b"n,,"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer abc\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer abc"),
        ("OAUTHBEARER", b"auth=Bearer abc\x01\x01"),
        ("OAUTHBEARER", b"p=tls-unique,,\x01auth=Bearer abc\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Basic abc\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer a b\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer \x01\x01"),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01au th=Bearer a\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01x\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01x=\x00\x01\x01"),
        ("OAUTHBEARER", b"n,,\x01" + b"".join(b"%c=1\x01" % (65 + n) for n in range(20)) + b"\x01"),
        ("OAUTHBEARER", b"n,a=\xff,\x01auth=Bearer abc\x01\x01"),
        ("XOAUTH2", b""),
        ("XOAUTH2", b"auth=Bearer abc\x01\x01"),
        ("XOAUTH2", b"user=anna\x01auth=Bearer abc\x01"),
        ("XOAUTH2", b"user=an\xc3\xa9\x01auth=Bearer abc\x01\x01"),
    ],
)
def test_malformed_bearer_messages(mechanism: str, message: bytes) -> None:
    """AUT-09, RFC 7628 section 3.1: what the grammar does not have asks nobody."""
    played = play(mechanism, message)
    assert played.outcome == "malformed"
    assert played.questions == []
