"""RFC 2033: LMTP. Each docstring names the clause."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.session.sessionkit import Dialogue

from upesi.config import ConfigError, load
from upesi.hooks.session import Transaction
from upesi.hooks.verdict import reject


def test_lhlo_takes_the_place_of_helo_and_ehlo() -> None:
    """C99, section 4.1: "the HELO and EHLO commands of ESMTP are replaced by the LHLO command"; a server must not accept them."""
    talk = Dialogue(lmtp=True)
    talk.heard()
    assert talk.codes("EHLO a.example", "HELO a.example", "MAIL FROM:<>") == ["500", "500", "503"]
    assert talk.codes("LHLO a.example", "MAIL FROM:<>") == ["250", "250"]


def test_pipelining_and_enhanced_statuses_are_there() -> None:
    """C99, section 5: an LMTP server must implement PIPELINING and ENHANCEDSTATUSCODES, and should 8BITMIME."""
    talk = Dialogue(lmtp=True)
    talk.heard()
    keywords = {line[4:] for line in talk.say("LHLO a.example")}
    assert {"PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"} <= keywords


def test_data_without_a_recipient_is_refused_at_once() -> None:
    """C99, section 4.2: where no RCPT was successful, DATA fails with 503 or 554, and the client sends no message."""
    talk = Dialogue(lmtp=True, rcpt=lambda tx, recipient: reject("5.1.1", "No such user"))
    talk.hello()
    assert talk.codes("MAIL FROM:<a@b.example>", "RCPT TO:<x@y.example>", "DATA", "NOOP") == [
        "250",
        "550",
        "554",
        "250",
    ]


@pytest.mark.parametrize("chunks", [False, True])
def test_there_is_a_reply_for_each_recipient_in_their_order(chunks: bool) -> None:
    """C99, sections 4.2 and 4.3: one reply for each successful RCPT, behind the final dot or BDAT LAST, in the order of the RCPTs."""

    def judge(tx: Transaction) -> None:
        for number, recipient in enumerate(tx.recipients):
            if number % 2:
                recipient.verdict = reject("5.2.2", f"Mailbox of {recipient.address.local} is full")

    talk = Dialogue(lmtp=True, message=judge)
    talk.begin("a@y.example", "b@y.example", "c@y.example", "d@y.example")
    content = b"Subject: x\r\n\r\nHello\r\n"
    lines = talk.say(b"BDAT %d LAST\r\n" % len(content) + content) if chunks else talk.send(content)
    assert [line[:3] for line in lines] == ["250", "550", "250", "550"]
    assert lines[1].endswith("Mailbox of b is full")
    assert lines[3].endswith("Mailbox of d is full")


def test_responsibility_is_taken_for_those_that_got_250() -> None:
    """C99, section 4.2: the server must have delivered, or have stored, before it says so; for the others it does nothing."""

    def judge(tx: Transaction) -> None:
        tx.recipients[0].verdict = reject("5.2.2", "Full")

    talk = Dialogue(lmtp=True, message=judge)
    talk.intake.hold = True
    talk.begin("a@y.example", "b@y.example")
    assert talk.send() == []
    talk.intake.commit()
    assert [line[:3] for line in talk.heard()] == ["550", "250"]
    (message,) = talk.intake.accepted
    assert [str(r.address) for d in message.deliveries for r in d.recipients] == ["b@y.example"]


def test_not_on_port_25(tmp_path: Path) -> None:
    """C99, section 5: "The LMTP protocol MUST NOT be used on TCP port 25": such a configuration is refused."""
    path = tmp_path / "upesi.toml"
    path.write_text('[[listener]]\nport = 25\nrole = "lmtp"\n')
    with pytest.raises(ConfigError, match="RFC 2033"):
        load(path)
    path.write_text('[[listener]]\nport = 24\nrole = "lmtp"\n')
    assert load(path).listener[0].port == 24
