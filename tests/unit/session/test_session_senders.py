"""What an authenticated user may send as: envelope and header, by rule and by file (AUT-06)."""

from __future__ import annotations

import pytest
from tests.unit.session.authkit import ANNA, AuthDialogue

from upesi.config.settings import SenderRule
from upesi.mail.address import Address
from upesi.mail.headers import Headers
from upesi.sasl.credentials import Identity
from upesi.session.senders import SenderRules, sender_entries

OWN, DOMAINS, ANY = SenderRule.OWN_ADDRESSES, SenderRule.OWN_DOMAINS, SenderRule.ANY
FURTHER = {"anna": ("office@example.net", "@anna.test")}


@pytest.mark.parametrize(
    ("rule", "address", "allowed"),
    [
        (OWN, "anna@example.org", True),
        (OWN, "ANNA@EXAMPLE.ORG", True),
        (OWN, "anna+list@example.org", True),
        (OWN, "+list@example.org", False),
        (OWN, "bert@example.org", False),
        (OWN, "anna@example.org.evil.example", False),
        (OWN, "bert@anna.example", True),
        (OWN, "x@sub.anna.example", False),
        (OWN, "office@example.net", True),
        (OWN, "other@example.net", False),
        (OWN, "who@anna.test", True),
        (DOMAINS, "bert@example.org", True),
        (DOMAINS, "other@example.net", True),
        (DOMAINS, "x@notexample.org", False),
        (DOMAINS, "x@example.com", False),
        (ANY, "x@example.com", True),
    ],
)
def test_the_envelope(rule: SenderRule, address: str, allowed: bool) -> None:
    """AUT-06: own addresses, own domains, or any; and those of the operator's file."""
    reply = SenderRules(rule, further=FURTHER).refuse_path(ANNA, Address.parse(address))
    assert (reply is None) is allowed
    assert reply is None or str(reply).startswith("553 5.7.1")


def test_an_account_that_is_an_address_owns_it() -> None:
    """Many sources know an account by its address and nothing else of it."""
    rules = SenderRules(OWN)
    account = Identity("Anna@Example.org")
    assert rules.refuse_path(account, Address.parse("anna@example.org")) is None
    assert rules.refuse_path(account, Address.parse("bert@example.org")) is not None
    assert rules.refuse_path(Identity("anna"), Address.parse("anna@example.org")) is not None
    assert rules.refuse_path(Identity("anna"), None) is None


def test_domains_are_one_however_they_are_written() -> None:
    """RFC 5890: an account's addresses may be in U-labels, those on the wire in A-labels."""
    account = Identity("jos\u00e9@m\u00fcnchen.example", ("@b\u00fccher.example",))
    for rule in (OWN, DOMAINS):
        for text in ("jos\u00e9@m\u00fcnchen.example", "jos\u00e9@xn--mnchen-3ya.example", "x@xn--bcher-kva.example"):
            assert SenderRules(rule).refuse_path(account, Address.parse(text, utf8=True)) is None
    assert SenderRules(OWN).refuse_path(account, Address.parse("jose@xn--mnchen-3ya.example")) is not None


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ("From: Anna <anna@example.org>", True),
        ("From: anna@example.org, office@example.net", True),
        ("From: anna@example.org, bert@example.org", False),
        ("From: bert@example.org", False),
        ("From: anna@example.org\r\nFrom: bert@example.org", False),
        ("From: anna@example.org\r\nSender: bert@example.org", False),
        ("From: anna@example.org\r\nsender : bert@example.org", False),
        ("From: bert@example.org <anna@example.org>", False),
        ("From: Bert\r\n <bert@example.org>", False),
        ("Subject: none at all", True),
        # RFC 6854: a From that names nobody, but shows something
        ('From: "boss@example.org":;', False),
        ("From: =?utf-8?q?boss=40example=2Eorg?=:;", False),
        ("From: undisclosed:;", False),
        ("From:", False),
        ("From: (boss@example.org)", False),
        ("From: <>", False),
        ("Sender: anna@example.org", True),
        ("Sender:", False),
        ("From: undisclosed:;\r\nSender: anna@example.org", True),
        ("From: anna@example.org\r\nSender: undisclosed:;", True),
        ("From: friends: anna@example.org;", True),
        ("From: anna@example.org\r\nResent-From: bert@example.org", False),
        ("From: anna@example.org\r\nResent-Sender: bert@example.org", False),
        ("From: anna@example.org\r\nResent-From: anna@example.org", True),
    ],
)
def test_the_header(fields: str, allowed: bool) -> None:
    """AUT-06, RFC 6409 section 6.1: every address of every From and Sender is the account's, or the message is refused."""
    headers = Headers(f"{fields}\r\n\r\nbody".encode())
    reply = SenderRules(OWN, further=FURTHER).refuse_header(ANNA, headers)
    assert (reply is None) is allowed
    assert reply is None or str(reply).startswith("553 5.7.1")
    assert SenderRules(OWN, check_header=False).refuse_header(ANNA, headers) is None
    assert SenderRules(ANY).refuse_header(ANNA, headers) is None


async def test_an_authenticated_user_cannot_send_as_another() -> None:
    """AUT-06: 553 5.7.1 at MAIL, and at the end of the message; strangers' mail is not looked at."""
    client = AuthDialogue()
    client.context.senders = SenderRules(OWN)
    client.hello()
    assert client.codes("MAIL FROM:<bert@example.org>", "RSET") == ["250", "250"]
    await client.login()
    assert client.say("MAIL FROM:<bert@example.org>") == ["553 5.7.1 You may not send as this address"]
    assert client.codes("MAIL FROM:<anna@example.org>", "RCPT TO:<b@example.net>", "DATA") == ["250", "250", "354"]
    assert client.codes(b"From: bert@example.org\r\n\r\nx\r\n.\r\n") == ["553"]
    assert client.intake.accepted == []
    assert client.codes("MAIL FROM:<>", "RCPT TO:<b@example.net>", "DATA") == ["250", "250", "354"]
    assert client.codes(b"From: anna@example.org\r\n\r\nx\r\n.\r\n") == ["250"]


def test_the_file_of_further_addresses() -> None:
    """`auth.sender_map`: one account a line, lines of one account add up."""
    lines = [
        (1, "anna: office@example.net @anna.test"),
        (3, "Bert@example.org: B@Example.org"),
        (4, "anna: x@y.example"),
    ]
    assert sender_entries(lines) == {
        "anna": ("office@example.net", "@anna.test", "x@y.example"),
        "bert@example.org": ("b@example.org",),
    }


@pytest.mark.parametrize(
    "line", ["anna", "anna:", "anna office@example.net", ": office@example.net", "anna: office", "anna: x@"]
)
def test_the_file_says_where_it_is_wrong(line: str) -> None:
    """A mistake names its line."""
    with pytest.raises(ValueError, match="line 7"):
        sender_entries([(7, line)])
