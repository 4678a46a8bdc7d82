"""The order of commands, and what each simple verb answers (RFC 5321 sections 3 and 4.1)."""

from __future__ import annotations

import pytest
from sessionkit import Dialogue

from upesi.hooks.session import TransactionRecipient
from upesi.hooks.verdict import Verdict, accept, defer, reject


def test_the_banner_comes_before_any_input() -> None:
    """C01: 220 is sent as soon as the client is there, without an enhanced status (RFC 2034 section 4)."""
    talk = Dialogue()
    assert talk.heard() == ["220 mx.example.net ESMTP"]


def test_a_refused_client_may_only_quit() -> None:
    """C01: behind a 554 greeting everything but QUIT is answered 503 (RFC 5321 section 3.1)."""
    talk = Dialogue(connect=lambda session: reject("5.7.1", "Not you"))
    assert talk.heard() == ["554 Not you"]
    assert talk.codes("EHLO a.example", "MAIL FROM:<a@b.example>") == ["503", "503"]
    assert not talk.transport.closed
    assert talk.say("QUIT") == ["221 2.0.0 Bye"]


def test_a_deferred_client_hears_421_and_is_closed() -> None:
    """C01, C04: RFC 5321 section 3.1 knows 220 and 554; "come later" is 421, after which the server closes."""
    talk = Dialogue(connect=lambda session: defer("4.7.0", "Later"))
    assert talk.heard() == ["421 4.7.0 Later"]
    assert talk.transport.ended


def test_all_commands_of_a_minimum_implementation_are_there() -> None:
    """C02: EHLO, HELO, MAIL, RCPT, DATA, RSET, NOOP, QUIT and VRFY work (RFC 5321 section 4.5.1)."""
    talk = Dialogue()
    talk.begin()
    assert talk.send()[0].startswith("250 2.0.0 Ok: queued as ")
    assert talk.codes("RSET", "NOOP", "VRFY a", "HELO client.example", "QUIT") == ["250", "250", "252", "250", "221"]
    assert talk.transport.closed


def test_ehlo_announces_and_helo_does_not() -> None:
    """The EHLO answer lists the extensions behind our name; HELO gets the name alone (RFC 5321 section 4.1.1.1)."""
    talk = Dialogue(max_message_size=5_000_000)
    talk.heard()
    lines = talk.say("EHLO client.example")
    assert lines[0] == "250-mx.example.net"
    assert {line[4:] for line in lines} >= {"PIPELINING", "SIZE 5000000", "8BITMIME", "ENHANCEDSTATUSCODES", "CHUNKING"}
    assert not any("STARTTLS" in line or "AUTH" in line for line in lines)
    assert talk.say("HELO client.example") == ["250 mx.example.net"]


@pytest.mark.parametrize("line", ["RCPT TO:<b@example.net>", "DATA", "MAIL FROM:<a@example.org>"])
def test_a_command_out_of_sequence_changes_nothing(line: str) -> None:
    """CMD-12, C17: RCPT or DATA before MAIL, MAIL before EHLO: 503 5.5.1, and the session goes on."""
    talk = Dialogue()
    talk.heard()
    if "MAIL" not in line:
        assert talk.codes("EHLO client.example") == ["250"]
    assert talk.say(line)[0].startswith("503 5.5.1 ")
    assert talk.codes("EHLO client.example", "MAIL FROM:<a@example.org>")[0] == "250"


def test_a_second_mail_leaves_the_first_standing() -> None:
    """CMD-12: MAIL inside a transaction is 503, and the transaction goes on."""
    talk = Dialogue()
    talk.begin()
    assert talk.say("MAIL FROM:<c@example.org>")[0].startswith("503 5.5.1 ")
    talk.send()
    assert str(talk.intake.accepted[0].reverse_path) == "a@example.org"


@pytest.mark.parametrize("verb", ["RSET", "EHLO again.example", "HELO again.example"])
def test_rset_and_ehlo_clear_the_transaction(verb: str) -> None:
    """CMD-14, C17: RSET, EHLO and HELO forget sender and recipients (RFC 5321 section 4.1.4)."""
    talk = Dialogue()
    talk.begin()
    assert talk.codes(verb) == ["250"]
    assert talk.codes("RCPT TO:<b@example.net>", "MAIL FROM:<c@example.org>") == ["503", "250"]
    assert talk.codes("RCPT TO:<b@example.net>") == ["250"]
    talk.send()
    assert [str(m.reverse_path) for m in talk.intake.accepted] == ["c@example.org"]
    assert len(talk.named("transaction.refused")) == 1


@pytest.mark.parametrize("name", ["", " ", "a b", "[1.2.3", "a" * 300, "$(id)", "x\ty"])
def test_a_bad_name_in_ehlo_is_refused(name: str) -> None:
    """CMD-15: what is no domain or literal gets 5xx, and the session is not greeted."""
    talk = Dialogue()
    talk.heard()
    assert talk.codes(f"EHLO {name}")[0] in ("500", "501")
    assert talk.codes("MAIL FROM:<a@example.org>") == ["503"]


def test_vrfy_and_expn_tell_nothing() -> None:
    """CMD-16: the same words for users that exist and users that do not (RFC 5321 section 7.3)."""
    talk = Dialogue()
    talk.hello()
    first, second = talk.say("VRFY postmaster", "VRFY nobody-here")
    assert first == second
    assert first.startswith("252 2.0.0 ")
    assert talk.say("EXPN staff")[0].startswith("502 5.5.1 ")


@pytest.mark.parametrize(
    ("line", "code"),
    [("WIZ", "502"), ("DEBUG", "502"), ("ETRN a", "502"), ("TURN", "502"),
     ("XYZZY", "500"), ("NOOPE", "500"), ("DATA x", "501"), ("RSET x", "501")],
)  # fmt: skip
def test_what_is_not_served_says_so(line: str, code: str) -> None:
    """CMD-26, C18: 502 for verbs that are known elsewhere, 500 for the rest, 501 for a wrong argument."""
    talk = Dialogue()
    talk.begin()
    assert talk.codes(line) == [code]
    # and nothing was lost by it
    assert talk.send()[0].startswith("250 ")


@pytest.mark.parametrize("line", ["STARTTLS", "AUTH PLAIN"])
def test_extensions_that_are_not_announced_are_not_there(line: str) -> None:
    """C18: a verb of an extension that this listener does not offer is 502."""
    talk = Dialogue()
    talk.hello()
    assert talk.codes(line) == ["502"]


def test_help_is_short_whatever_was_asked() -> None:
    """CMD-26: HELP with 400 octets gets one short line with a status."""
    talk = Dialogue()
    talk.hello()
    lines = talk.say("HELP " + "x" * 400)
    assert [line[:9] for line in lines] == ["504 5.5.4"]
    assert sum(map(len, lines)) < 100


def test_a_plugin_may_know_a_verb() -> None:
    """PLUGINS.md: a `command` hook answers an unknown verb with a reply of its own; what it leaves alone stays 500."""
    from upesi.mail.reply import Reply

    own = Reply.make(250, "2.0.0", "Magic")
    talk = Dialogue(command=lambda session, verb, argument: own if (verb, argument) == ("XYZZY", "now") else None)
    talk.hello()
    assert talk.say("XYZZY now") == ["250 2.0.0 Magic"]
    assert talk.codes("PLUGH") == ["500"]


@pytest.mark.parametrize("name", ["postmaster", "Postmaster"])
def test_postmaster_without_a_domain_is_always_taken(name: str) -> None:
    """C11: RCPT TO:<postmaster> works though no plugin votes for it, and the mailbox gets our domain."""
    talk = Dialogue(take=False)
    talk.begin(name)
    talk.send()
    (delivery,) = talk.intake.accepted[0].deliveries
    assert str(delivery.recipients[0].address) == f"{name}@mx.example.net"


def test_all_recipients_refused_then_data() -> None:
    """CMD-13: DATA without a valid recipient is 554 5.5.1, pipelined or not, and commands go on."""
    talk = Dialogue(rcpt=lambda tx, recipient: reject("5.1.1", "No such user"))
    talk.hello()
    replies = talk.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA")
    assert [line[:9] for line in replies] == ["250 2.1.0", "550 5.1.1", "554 5.5.1"]
    assert talk.codes("RSET") == ["250"]


def test_a_message_behind_a_refused_data_is_not_run() -> None:
    """CMD-13, CMD-22: the first line behind a refused DATA that is no command ends the session; what follows is never run."""
    talk = Dialogue(rcpt=lambda tx, recipient: None if "good" in recipient.address.local else reject("5.1.1", "No"))
    talk.hello()
    lines = talk.say(
        "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA", "Subject: x", "RSET", "MAIL FROM:<evil@example.org>", "QUIT",
    )  # fmt: skip
    assert [line[:3] for line in lines] == ["250", "550", "554", "500", "421"]
    assert talk.engine.session.results["pipelining"][0] == "fail"
    assert talk.transport.ended


def only_good(tx: object, recipient: TransactionRecipient) -> Verdict:
    return accept() if recipient.address.local == "good" else reject("5.1.1", "No")


EVIL = ("MAIL FROM:<evil@example.org>", "RCPT TO:<good@example.net>", "DATA", "evil", ".", "QUIT")


@pytest.mark.parametrize(
    "envelope",
    [
        # every recipient refused; MAIL refused, so that nothing was in sequence; no MAIL at all
        ("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>"),
        ("MAIL FROM:<a@example.org> SIZE=99999999999", "RCPT TO:<good@example.net>"),
        (),
        # binary content may not come by DATA
        ("MAIL FROM:<a@example.org> BODY=BINARYMIME", "RCPT TO:<good@example.net>"),
    ],
)
@pytest.mark.parametrize(
    "first", [(), ("RSET",), ("EHLO c.example",), ("NOOP",), ("RCPT TO:<good@example.net>",), ("DATA",)]
)
def test_a_message_that_consists_of_commands_is_not_run_either(
    envelope: tuple[str, ...], first: tuple[str, ...]
) -> None:
    """CMD-13, CMD-22: behind a refused DATA with octets waiting no mail is begun or addressed, whatever the first lines do."""
    talk = Dialogue(rcpt=only_good)
    talk.hello()
    lines = talk.say(*envelope, "DATA", *first, *EVIL)
    assert talk.intake.accepted == []
    assert lines[-1].startswith("421 4.7.0 ")
    assert talk.transport.ended


def test_commands_behind_a_refused_chunk_are_proper() -> None:
    """RFC 3030 section 2, CMD-22: BDAT need not be last in a group: what follows the octets of a refused chunk is served."""
    talk = Dialogue(rcpt=only_good)
    talk.hello()
    lines = talk.say(
        b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nBDAT 4 LAST\r\nx\r\n.RSET\r\n"
        b"MAIL FROM:<a@example.org>\r\nRCPT TO:<good@example.net>\r\nBDAT 3 LAST\r\nx\r\n"
    )
    assert [line[:3] for line in lines] == ["250", "550", "554", "250", "250", "250", "250"]
    assert talk.intake.contents == [b"x\r\n"]


def test_commands_behind_a_refused_data_are_served() -> None:
    """RFC 2920 section 3.1 wants DATA last in a group, but a QUIT behind it does no harm."""
    talk = Dialogue(rcpt=lambda tx, recipient: reject("5.1.1", "No"))
    talk.hello()
    assert talk.codes("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA", "QUIT") == [
        "250",
        "550",
        "554",
        "221",
    ]


def test_pipelining_behind_helo_is_served_and_scored() -> None:
    """CMD-22: a client that does not wait for the answer to its greeting is noted for the checks that score."""
    talk = Dialogue()
    talk.heard()
    assert talk.codes("HELO client.example", "MAIL FROM:<a@example.org>") == ["250", "250"]
    assert talk.engine.session.results["pipelining"] == ("fail", "sent on behind HELO")


def test_capabilities_hooks_edit_the_list() -> None:
    """PLUGINS.md: `capabilities` adds keywords to the EHLO answer of one session, not to everyone's."""
    talk = Dialogue(capabilities=lambda session, keywords: keywords.append("XEXTRA 1"))
    talk.heard()
    assert talk.say("EHLO a.example")[-1] == "250 XEXTRA 1"
    assert "XEXTRA 1" not in talk.context.keywords


def test_helo_hooks_may_refuse() -> None:
    """PLUGINS.md: a `helo` hook refuses a name, with its reply; the client may try another."""
    talk = Dialogue(helo=lambda session, name: reject("5.7.1", "Bad name") if name == "evil.example" else None)
    talk.heard()
    assert talk.say("EHLO evil.example") == ["550 5.7.1 Bad name"]
    assert talk.codes("MAIL FROM:<a@example.org>", "EHLO good.example") == ["503", "250"]


def test_the_end_of_a_session_is_told_once() -> None:
    """One `session.ended` event for each session."""
    talk = Dialogue()
    talk.begin()
    talk.send()
    talk.say("QUIT")
    talk.hang_up()
    (ended,) = talk.named("session.ended")
    assert (ended["messages"], ended["helo"], ended["reason"]) == (1, "client.example.org", "quit")
    assert len(talk.named("transaction.accepted")) == 1
    assert talk.home.open == set()
