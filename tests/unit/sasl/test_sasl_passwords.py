"""PLAIN and LOGIN (RFC 4616): what is asked of the source, and what is malformed."""

from __future__ import annotations

import pytest
from tests.unit.sasl.saslkit import ANNA, play

from upesi.sasl.credentials import Reason, Refused, ScramKeys, Unavailable
from upesi.sasl.steps import CheckPassword


@pytest.mark.parametrize(
    ("message", "user", "password"),
    [
        (b"\0tim\0tanstaaftanstaaf", "tim", "tanstaaftanstaaf"),
        (b"\0anna@example.org\0a b", "anna@example.org", "a b"),
        ("\0\u216f\0x\u00aay".encode(), "M", "xay"),
        ("\0jos\u00e9\0p\u00e4ss".encode(), "jos\u00e9", "p\u00e4ss"),
        ("\0jose\u0301\0a\u00adb".encode(), "jos\u00e9", "ab"),
        (b"\0" + b"u" * 255 + b"\0" + b"p" * 1024, "u" * 255, "p" * 1024),
    ],
)
def test_plain_asks_for_the_prepared_pair(message: bytes, user: str, password: str) -> None:
    """AUT-02, RFC 4616 section 2: name and password are prepared with SASLprep, the password may be UTF-8."""
    for initial, responses in ((message, ()), (None, (message,))):
        played = play("PLAIN", initial, responses)
        assert played.questions == [CheckPassword(user, password)]
        assert played.outcome == ANNA
    assert play("PLAIN", None, (message,)).challenges == [b""]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"anna",
        b"anna\0pw",
        b"\0anna\0pw\0",
        b"\0\0pw",
        b"\0anna\0",
        b"\0anna\0\xff",
        b"\xff\0anna\0pw",
        b"\0an\x01na\0pw",
        "\0anna\0p\u0007w".encode(),
        "\0a\u200bnna\u0000".encode(),
        "\0anna\0\u0627a".encode(),
        "\0\u00ad\0pw".encode(),
        "\0anna\0\ue000".encode(),
        b"\0" + b"u" * 256 + b"\0pw",
        b"\0anna\0" + b"p" * 1025,
    ],
)
def test_what_is_no_message_asks_nobody(message: bytes) -> None:
    """AUT-02: NUL, missing fields, octets that are no UTF-8, control and prohibited characters, and what is too long are malformed."""
    played = play("PLAIN", message)
    assert played.outcome == "malformed"
    assert played.questions == []


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ANNA, ANNA),
        (Refused(), "wrong credentials"),
        (Refused(Reason.DISABLED), "account disabled"),
        (Refused(Reason.EXPIRED), "password expired"),
        (Unavailable("down"), "no answer"),
        (None, "no answer"),
        (ScramKeys(ANNA, b"s", 4096, b"", b""), "no answer"),
    ],
)
def test_only_an_identity_is_a_yes(answer: object, outcome: object) -> None:
    """AUT-07: whatever else a source gives, nobody is let in."""
    assert play("PLAIN", b"\0anna\0pw", answer=answer).outcome == outcome  # type: ignore[arg-type]
    assert play("LOGIN", None, (b"anna", b"pw"), answer=answer).outcome == outcome  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("authzid", "allowed"),
    [("", True), ("anna", True), ("anna@example.org", True), ("bert", False), ("example.org", False)],
)
def test_nobody_acts_as_another(authzid: str, allowed: bool) -> None:
    """RFC 4616 section 2: an authorization identity is one of the account's own names or is refused, behind the right password."""
    outcome = play("PLAIN", f"{authzid}\0anna\0pw".encode()).outcome
    assert outcome == (ANNA if allowed else "wrong credentials")


def test_login_asks_with_the_words_that_clients_know() -> None:
    """LOGIN: the two prompts; an initial response is the user name."""
    played = play("LOGIN", None, (b"anna", b"pw"))
    assert played.challenges == [b"Username:", b"Password:"]
    assert played.questions == [CheckPassword("anna", "pw")]
    assert play("LOGIN", b"anna", (b"pw",)).challenges == [b"Password:"]


@pytest.mark.parametrize(
    ("user", "password"), [(b"", b"pw"), (b"anna", b""), (b"\xff", b"pw"), (b"an\0na", b"pw"), (b"a", b"\xff")]
)
def test_login_takes_nothing_malformed(user: bytes, password: bytes) -> None:
    """AUT-02: as with PLAIN."""
    played = play("LOGIN", None, (user, password))
    assert played.outcome == "malformed"
    assert played.questions == []
