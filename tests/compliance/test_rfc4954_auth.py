"""RFC 4954, clause by clause: AUTH as a server must answer it."""

from __future__ import annotations

import base64

import pytest
from tests.unit.sasl.saslkit import ScramClient
from tests.unit.sasl.test_scram import keys
from tests.unit.session.authkit import (
    CANARY,
    AuthDialogue,
    MemoryCredentials,
    authenticator,
    b64,
    plain,
)

from upesi.mail.security import TlsInfo
from upesi.protocol.smtp.limits import MAX_AUTH_LINE, MAX_MAIL_LINE
from upesi.sasl.credentials import Ability, Reason, Refused, Unavailable
from upesi.session.starttls import secured

GOOD = "AUTH PLAIN " + plain("anna", CANARY)


def ready(**given: object) -> AuthDialogue:
    client = AuthDialogue(**given)  # type: ignore[arg-type]
    client.hello()
    return client


async def test_section_3_keyword() -> None:
    """C49: the keyword is AUTH, and its parameter a list of the available mechanisms with blanks between them."""
    client = AuthDialogue()
    client.heard()
    (line,) = [line for line in client.say("EHLO c") if "AUTH" in line]
    assert line[3:] in (
        "-AUTH SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5",
        " AUTH SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5",
    )


async def test_section_3_list_may_change_after_tls() -> None:
    """C49: the list may change behind STARTTLS: none before, some behind."""
    client = AuthDialogue(tls=False)
    client.heard()
    assert not any("AUTH" in line for line in client.say("EHLO c"))
    secured(client.engine, TlsInfo("TLSv1.3", "X"))
    assert any("AUTH" in line for line in client.say("EHLO c"))


async def test_section_3_mail_parameter() -> None:
    """C52: MAIL has a parameter AUTH, and its line may be 500 octets longer."""
    client = ready()
    await client.login()
    assert MAX_MAIL_LINE >= 512 + 500
    long = "a" * 64 + "@" + ".".join(["d" * 60] * 2) + ".example"
    assert client.codes(f"MAIL FROM:<anna@example.org> SIZE=1 BODY=8BITMIME AUTH={long}") == ["250"]
    assert client.engine.session.transaction.submitter == long


async def test_section_4_once() -> None:
    """C49: behind a success a server must reject any further AUTH with 503."""
    client = ready()
    assert (await client.ask(GOOD))[0].startswith("235")
    for line in (GOOD, "AUTH LOGIN", "AUTH NONSENSE"):
        assert client.codes(line) == ["503"]


async def test_section_4_not_in_a_transaction() -> None:
    """C49: AUTH is not permitted during a mail transaction, and must be rejected with 503 there."""
    client = ready()
    assert client.codes("MAIL FROM:<a@b.example>", GOOD) == ["250", "503"]
    assert client.codes("RCPT TO:<b@example.net>", GOOD) == ["250", "503"]
    assert client.codes("RSET") == ["250"]
    assert (await client.ask(GOOD))[0].startswith("235")


async def test_section_4_challenge() -> None:
    """C50: a challenge is a 334 whose text is base64."""
    (reply,) = ready().say("AUTH CRAM-MD5")
    assert reply.startswith("334 ")
    assert base64.b64decode(reply[4:], validate=True).endswith(b"@mx.example.net>")
    # "the reply ... with an empty text part" for a mechanism in which the client speaks first
    assert ready().say("AUTH PLAIN") == ["334 "]


async def test_section_4_cancel() -> None:
    """C50: a client cancels with a line of a single "*", which must be answered by 501."""
    for start in ("AUTH PLAIN", "AUTH LOGIN", "AUTH CRAM-MD5"):
        client = ready()
        assert client.codes(start, "*") == ["334", "501"]
        assert (await client.ask(GOOD))[0].startswith("235")


async def test_section_4_bad_base64() -> None:
    """C50: what cannot be decoded fails the command with 501 5.5.2."""
    for line in ("!", "AAA", "AAAA=", "A A=", "=AAA", "AAAA\tAAAA"):
        client = ready()
        assert client.say("AUTH PLAIN", line)[-1].startswith("501 5.5.2 ")
        assert client.codes("NOOP") == ["250"]


async def test_section_4_line_length() -> None:
    """C50: lines of an exchange to 12,288 octets are taken; a longer one fails the command with 500 5.5.6."""
    assert MAX_AUTH_LINE == 12288
    at_most = b64(b"\0a\0" + b"p" * 9000)[:12286]
    assert ready().say("AUTH PLAIN", at_most[: len(at_most) // 4 * 4])[-1].startswith("501 5.5.2 ")
    assert ready().say("AUTH PLAIN", "A" * 12288)[-1].startswith("500 5.5.6 ")


async def test_section_4_empty_initial_response() -> None:
    """C50: an initial response of no octets is sent as "=": the mechanism sees an empty response, not none."""
    client = ready()
    assert client.say("AUTH PLAIN =") == ["501 5.5.2 Malformed authentication data"]
    assert client.say("AUTH CRAM-MD5 =")[0].startswith("501 5.5.2 ")


async def test_section_4_server_final_data() -> None:
    """C51: data that come with success are sent as one more challenge, which an empty response answers."""
    source = MemoryCredentials()
    source.keys["anna", Ability.SCRAM_SHA_256] = keys("SCRAM-SHA-256")
    client = ready(source=source)
    scram = ScramClient("SCRAM-SHA-256")
    (challenge,) = await client.ask("AUTH SCRAM-SHA-256 " + b64(scram.first))
    (verifier,) = await client.ask(b64(scram.final(base64.b64decode(challenge[4:]))))
    assert base64.b64decode(verifier[4:]) == scram.expected
    assert (await client.ask(""))[0].startswith("235 2.7.0 ")


async def test_section_4_after_failure() -> None:
    """C51: who fails may go on without authentication."""
    client = ready()
    assert (await client.login("anna", "wrong"))[0].startswith("535 5.7.8 ")
    assert client.codes("MAIL FROM:<a@b.example>") == ["250"]


@pytest.mark.parametrize(
    ("trusted", "given", "kept"),
    [(True, "e+3Dmc2@example.com", "e=mc2@example.com"), (True, "<>", ""), (False, "e+3Dmc2@example.com", "")],
)
async def test_section_5_auth_parameter(trusted: bool, given: str, kept: str) -> None:
    """C52: from a client that is not trusted, AUTH= of MAIL is as good as AUTH=<>."""
    client = ready()
    if trusted:
        await client.login()
    assert client.codes(f"MAIL FROM:<anna@example.org> AUTH={given}") == ["250"]
    assert client.engine.session.transaction.submitter == kept


@pytest.mark.parametrize(
    ("trouble", "reply"),
    [
        (None, "235 2.7.0"),
        (Refused(Reason.EXPIRED), "432 4.7.12"),
        (Unavailable("down"), "454 4.7.0"),
        (Refused(), "535 5.7.8"),
        (Refused(Reason.DISABLED), "535 5.7.8"),
    ],
)
async def test_section_6_status_codes(trouble: object, reply: str) -> None:
    """C51: the codes of section 6, each with its enhanced status."""
    source = MemoryCredentials()
    source.trouble = trouble  # type: ignore[assignment]
    assert (await ready(source=source).ask(GOOD))[0].startswith(reply + " ")


def test_section_6_refusals() -> None:
    """C51: 534 5.7.9 for a mechanism weaker than policy, 538 5.7.11 in clear, 504 5.5.4 for one that is not there."""
    weak = ready(auth=authenticator(MemoryCredentials(), mechanisms=("PLAIN",)))
    assert weak.say("AUTH CRAM-MD5")[0].startswith("534 5.7.9 ")
    assert weak.say("AUTH NONSENSE")[0].startswith("504 5.5.4 ")
    assert ready(tls=False).say("AUTH PLAIN")[0].startswith("538 5.7.11 ")
