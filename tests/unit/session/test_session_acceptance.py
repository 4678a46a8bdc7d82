"""What becomes of a message: the record, the commit, the reply for each recipient."""

from __future__ import annotations

import re

import pytest
from sessionkit import NOW, Dialogue

from upesi.hooks.session import TransactionRecipient
from upesi.hooks.verdict import Verdict, accept, defer, reject
from upesi.mail.address import Address
from upesi.mail.outcome import Action
from upesi.mail.route import DiscardRoute, MxRoute
from upesi.mail.security import TlsInfo
from upesi.session.trace import Dates
from upesi.spool.store import SpoolError, SpoolFull

_TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)


def judged(**by_local: Verdict) -> object:
    """A `message` hook that gives recipients their own verdicts, by local part."""

    def hook(tx: object) -> None:
        for recipient in tx.recipients:  # type: ignore[attr-defined]
            recipient.verdict = by_local.get(recipient.address.local)

    return hook


def test_the_record_says_what_the_client_said() -> None:
    """The spool gets envelope, parameters, trace, content, and one delivery for each route."""
    talk = Dialogue()
    talk.hello("client.example.org")
    talk.say("MAIL FROM:<a@example.org> SIZE=20 BODY=8BITMIME ENVID=qq RET=HDRS")
    talk.say("RCPT TO:<b@one.example> NOTIFY=NEVER", "RCPT TO:<c@two.example>", "RCPT TO:<d@one.example>")
    (line,) = talk.send(b"Subject: x\r\n\r\n")
    (message,) = talk.intake.accepted
    assert line == f"250 2.0.0 Ok: queued as {message.id.hex()}"
    assert str(message.reverse_path) == "a@example.org"
    assert (message.transmission.body.value, message.transmission.envid) == ("8BITMIME", "qq")
    assert message.received == NOW
    assert message.origin["client"] == "192.0.2.1"
    first, second = message.deliveries
    assert (first.queue, second.queue) == ("domain:one.example", "domain:two.example")
    assert [str(r.address) for r in first.recipients] == ["b@one.example", "d@one.example"]
    assert [r.notify for r in first.recipients] == [0, None]
    assert (first.due, first.expires) == (NOW, NOW + talk.intake.lifetime)
    assert first.route == MxRoute("one.example")


def test_one_received_field_goes_on_top() -> None:
    """C07: from, by, with, id, for (of a single recipient) and date, then what plugins added; nothing else changes."""
    talk = Dialogue(message=lambda tx: tx.add_header("X-Seen", "yes"))
    talk.begin("b@example.net")
    content = b"Received: older\r\nReturn-Path: <x@example.org>\r\n\r\nbody\r\n"
    talk.send(content)
    (message,) = talk.intake.accepted
    assert message.prefix == (
        b"Received: from client.example.org ([192.0.2.1])\r\n"
        b"\tby mx.example.net with ESMTP id " + message.id.hex().encode() + b"\r\n"
        b"\tfor <b@example.net>; Sun, 22 Nov 2026 10:16:17 +0000\r\n"
        b"X-Seen: yes\r\n"
    )
    # C08: no Return-Path is added or removed on the way
    assert talk.intake.contents == [content]


def test_several_recipients_are_not_named() -> None:
    """C07: a `for` clause would show blind copies to each other (RFC 5321 section 7.2)."""
    talk = Dialogue()
    talk.begin("b@example.net", "c@example.net")
    talk.send()
    assert b"for <" not in talk.intake.accepted[0].prefix
    assert talk.intake.accepted[0].prefix.count(b"Received:") == 1


@pytest.mark.parametrize(
    ("verb", "tls", "identity", "utf8", "keyword"),
    [
        ("HELO", None, None, False, b"SMTP"), ("EHLO", None, None, False, b"ESMTP"), ("EHLO", _TLS, None, False, b"ESMTPS"),
        ("EHLO", None, "joe", False, b"ESMTPA"), ("EHLO", _TLS, "joe", False, b"ESMTPSA"),
        ("EHLO", _TLS, None, True, b"UTF8SMTPS"),
    ],
)  # fmt: skip
def test_the_with_clause_names_the_protocol(
    verb: str, tls: TlsInfo | None, identity: str | None, utf8: bool, keyword: bytes
) -> None:
    """C07: the keywords of RFC 3848 and RFC 6531 section 4.3."""
    talk = Dialogue()
    talk.heard()
    talk.engine.session.tls = tls
    talk.engine.session.identity = identity
    talk.say(
        f"{verb} client.example", f"MAIL FROM:<a@example.org>{' SMTPUTF8' if utf8 else ''}", "RCPT TO:<b@example.net>"
    )
    talk.send()
    protection = b" (TLSv1.3 TLS_AES_256_GCM_SHA384)" if tls else b""
    assert b" with " + keyword + protection + b" id " in talk.intake.accepted[0].prefix


@pytest.mark.parametrize(
    ("peer", "shown"),
    [(("2001:db8::1", 9, 0, 0), "[IPv6:2001:db8::1]"), (("::ffff:192.0.2.7", 9, 0, 0), "[192.0.2.7]"), ("", "(local)")],
)
def test_the_client_s_address_is_a_literal(peer: object, shown: str) -> None:
    """C07: RFC 5321 section 4.1.3; IPv4-mapped addresses are IPv4 addresses."""
    talk = Dialogue(peer=peer)
    talk.begin()
    talk.send()
    assert shown in talk.intake.accepted[0].prefix.decode().split("\r\n")[0]


def test_dates_follow_the_clock() -> None:
    """RFC 5322 section 3.3; a second that was formatted is not the next one."""
    dates = Dates()
    assert dates.text(0.0) == "Thu, 01 Jan 1970 00:00:00 +0000"
    assert dates.text(0.9) == "Thu, 01 Jan 1970 00:00:00 +0000"
    assert dates.text(1709210096.5) == "Thu, 29 Feb 2024 12:34:56 +0000"


def test_nothing_is_said_before_the_commit() -> None:
    """C09, Q1: 250 leaves only when the spool has come back."""
    talk = Dialogue()
    talk.intake.hold = True
    talk.begin()
    assert talk.send() == []
    talk.intake.commit()
    assert talk.heard()[0].startswith("250 2.0.0 ")


@pytest.mark.parametrize(("error", "said"), [(SpoolFull("x"), "452 4.3.1 "), (SpoolError("x"), "451 4.3.0 ")])
@pytest.mark.parametrize("hold", [True, False])
def test_a_failed_commit_is_a_deferral(error: SpoolError, said: str, hold: bool) -> None:
    """C09: what could not be made durable is answered 4xx, never 250 and never 5xx."""
    talk = Dialogue()
    talk.intake.hold, talk.intake.error = hold, error
    talk.begin()
    lines = talk.send()
    if hold:
        assert lines == []
        talk.intake.commit()
        lines = talk.heard()
    assert lines[0].startswith(said)
    assert talk.named("transaction.accepted") == []
    assert all(writer.discarded for writer in talk.intake.writers)
    assert talk.engine.session.messages == 0


def test_a_client_that_left_during_the_commit_does_not_undo_it() -> None:
    """FRM-14, C09: the message is queued once, the log says so, and `queued` hooks fire."""
    queued: list[object] = []
    talk = Dialogue(queued=lambda tx: queued.append(tx))
    talk.intake.hold = True
    talk.begin()
    talk.send()
    talk.hang_up()
    assert talk.named("transaction.refused") == []
    talk.intake.commit()
    assert len(talk.named("transaction.accepted")) == 1
    assert len(queued) == 1
    assert talk.heard() == []


def test_discarded_mail_costs_no_write() -> None:
    """A message that goes nowhere is accepted with an event and never reaches the spool."""
    talk = Dialogue(route=lambda tx, recipient: DiscardRoute())
    talk.begin("b@example.net", "c@example.net")
    assert re.fullmatch(r"250 2\.0\.0 Ok: queued as [0-9a-f]{32}", talk.send()[0])
    assert talk.intake.accepted == []
    assert talk.named("transaction.accepted")[0]["discarded"] == 2
    assert all(writer.discarded for writer in talk.intake.writers)


def test_only_those_that_are_not_discarded_are_stored() -> None:
    """One recipient's discard is not another's."""
    talk = Dialogue(route=lambda tx, recipient: DiscardRoute() if recipient.address.local == "trap" else None)
    talk.begin("trap@example.net", "b@example.net")
    talk.send()
    (delivery,) = talk.intake.accepted[0].deliveries
    assert [str(r.address) for r in delivery.recipients] == ["b@example.net"]
    assert talk.named("transaction.accepted")[0]["discarded"] == 1


def test_only_accepted_recipients_get_the_mail() -> None:
    """RCP-05: replies match the RCPTs one by one; the ones that heard 250 get the mail."""
    verdicts = {"perm": reject("5.1.1", "No"), "temp": defer("4.2.1", "Later", code=450)}
    talk = Dialogue(rcpt=lambda tx, r: verdicts.get(r.address.local, accept()))
    talk.hello()
    codes = talk.codes("MAIL FROM:<a@example.org>", *[f"RCPT TO:<{n}@example.net>" for n in ("b", "perm", "temp", "c")])
    assert codes == ["250", "250", "550", "450", "250"]
    talk.send()
    (delivery,) = talk.intake.accepted[0].deliveries
    assert [r.address.local for r in delivery.recipients] == ["b", "c"]


@pytest.mark.parametrize(
    ("verdict", "line"), [(reject("5.7.1", "Spam"), "550 5.7.1 Spam"), (defer("4.7.1", "Later"), "451 4.7.1 Later")]
)
def test_a_refused_message_is_not_kept(verdict: Verdict, line: str) -> None:
    """PLUGINS.md: `message` speaks for all recipients; the session goes on."""
    talk = Dialogue(message=lambda tx: verdict)
    talk.begin("b@example.net", "c@example.net")
    assert talk.send() == [line]
    assert talk.intake.accepted == []
    assert talk.named("transaction.refused")[0]["reply"] == line
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


def test_when_all_recipients_agree_theirs_is_the_reply() -> None:
    """PLUGINS.md: one reply for all where they agree; a deferral wins over a refusal, or mail would be lost."""
    talk = Dialogue(message=judged(b=reject("5.7.1", "Spam"), c=reject("5.7.1", "Spam")))
    talk.begin("b@example.net", "c@example.net")
    assert talk.send() == ["550 5.7.1 Spam"]
    talk = Dialogue(message=judged(b=reject("5.7.1", "Spam"), c=defer("4.7.1", "Later")))
    talk.begin("b@example.net", "c@example.net")
    assert talk.send() == ["451 4.7.1 Later"]


def test_strangers_are_deferred_when_recipients_differ() -> None:
    """PLUGINS.md: no DSN for strangers (backscatter), nothing dropped in silence: the whole message is deferred."""
    talk = Dialogue(message=judged(b=reject("5.7.1", "Spam")))
    talk.begin("b@example.net", "c@example.net")
    assert talk.send()[0].startswith("451 4.7.1 ")
    assert talk.intake.accepted == []
    assert talk.intake.reports == []


def test_clients_of_ours_get_a_report_for_refused_recipients() -> None:
    """PLUGINS.md: the accepted ones get the mail and a DSN speaks for the others; 250 waits for both records."""
    talk = Dialogue(message=judged(b=reject("5.7.1", "Spam")))
    talk.engine.session.relaying = True
    talk.begin("b@example.net", "c@example.net")
    # any record will do as the report
    other = Dialogue()
    other.begin()
    other.send()
    talk.intake.report_with = other.intake.accepted[0]
    talk.intake.hold = True
    assert talk.send() == []
    message, report = talk.intake.accepted
    assert [str(r.address) for d in message.deliveries for r in d.recipients] == ["c@example.net"]
    assert report is talk.intake.report_with
    ((about, refused),) = talk.intake.reports
    assert about is message
    assert [(str(r.address), o.kind.value, o.code, o.status) for r, o in refused] == [
        ("b@example.net", "failed", 550, "5.7.1")
    ]
    talk.intake.commit()
    assert talk.heard() == []
    talk.intake.commit()
    assert talk.heard()[0].startswith("250 ")


def test_a_report_that_was_not_stored_defers_the_message() -> None:
    """Half of the truth is not acknowledged: any record that failed makes the answer 4xx."""
    talk = Dialogue(message=judged(b=reject("5.7.1", "Spam")))
    talk.engine.session.relaying = True
    talk.begin("b@example.net", "c@example.net")
    other = Dialogue()
    other.begin()
    other.send()
    talk.intake.report_with = other.intake.accepted[0]
    talk.intake.hold = True
    talk.send()
    talk.intake.commit()
    talk.intake.error = SpoolError("x")
    talk.intake.commit()
    assert talk.heard()[0].startswith("451 4.3.0 ")


def test_lmtp_answers_for_each_recipient() -> None:
    """C99: behind the end of data one reply for each RCPT that was accepted, in order (RFC 2033 section 4.2)."""
    talk = Dialogue(lmtp=True, message=judged(c=reject("5.2.2", "Full")))
    talk.begin("b@example.net", "c@example.net", "b@example.net")
    assert talk.codes("RCPT TO:<broken>") == ["501"]
    lines = talk.send()
    assert [line[:9] for line in lines] == ["250 2.0.0", "550 5.2.2", "250 2.0.0"]
    (delivery,) = talk.intake.accepted[0].deliveries
    assert [str(r.address) for r in delivery.recipients] == ["b@example.net"]
    assert b" with LMTP id " in talk.intake.accepted[0].prefix
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


@pytest.mark.parametrize("error", [SpoolFull("x"), None])
def test_lmtp_faults_are_said_once_for_each(error: SpoolError | None) -> None:
    """C99: a message that fails as a whole fails for each recipient."""
    talk = Dialogue(lmtp=True, message=lambda tx: None if error else reject("5.7.1", "Spam"))
    talk.intake.error = error
    talk.begin("b@example.net", "c@example.net")
    assert talk.codes("DATA") == ["354"]
    assert talk.codes(b"x\r\n.\r\n") == ["452" if error else "550"] * 2
    assert talk.codes("QUIT") == ["221"]


def test_lmtp_has_its_own_greeting_only() -> None:
    """C99: LHLO is LMTP's, HELO and EHLO are SMTP's (RFC 2033 section 4.1)."""
    talk = Dialogue(lmtp=True)
    assert talk.heard() == ["220 mx.example.net LMTP"]
    assert talk.codes("EHLO a.example", "HELO a.example") == ["500", "500"]
    talk = Dialogue()
    talk.heard()
    assert talk.codes("LHLO a.example") == ["500"]


def test_disconnect_closes_behind_its_reply() -> None:
    """C04: a verdict that asks for it ends the session, with a 421 behind the reply."""
    talk = Dialogue(mail=lambda tx, sender: reject("5.7.1", "Go", disconnect=True))
    talk.hello()
    assert talk.codes("MAIL FROM:<a@example.org>", "NOOP") == ["550", "421"]
    assert talk.transport.ended


def test_refused_recipients_are_named_in_the_transactions_event() -> None:
    """One event says whom RCPT refused, with which reply, and which plugin said so; the list is bounded."""

    def judge(tx: object, recipient: TransactionRecipient) -> Verdict:
        return reject("5.1.1", "No such user here") if recipient.address.local.startswith("no") else accept()

    talk = Dialogue(rcpt=judge)
    talk.codes("EHLO x.example", "MAIL FROM:<a@example.org>")
    talk.codes(*(f"RCPT TO:<no{n}@example.net>" for n in range(7)), "RCPT TO:<b@example.net>")
    talk.send()
    (event,) = talk.named("transaction.accepted")
    refused = event["refused"]
    assert isinstance(refused, list)
    assert refused[0] == "no0@example.net: 550 5.1.1 No such user here (plugin0)"
    assert len(refused) == 5
    talk.codes("MAIL FROM:<a@example.org>", "RCPT TO:<no@example.net>", "RSET")
    (event,) = talk.named("transaction.refused")
    assert event["refused"] == ["no@example.net: 550 5.1.1 No such user here (plugin0)"]
    assert (event["plugin"], event["reply"]) == ("plugin0", "550 5.1.1 No such user here")
    talk.codes("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    talk.send()
    assert "refused" not in talk.named("transaction.accepted")[1]


def test_a_recipient_that_nobody_voted_for_is_named_without_a_plugin() -> None:
    """The refusal is ours: a closed relay is no plugin's verdict."""
    talk = Dialogue(rcpt=lambda tx, recipient: None)
    talk.codes("EHLO x.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "RSET")
    (event,) = talk.named("transaction.refused")
    assert event["refused"] == ["b@example.net: 550 5.7.1 We take no mail for this recipient from you"]
    assert "plugin" not in event


def test_an_alias_that_was_expanded_is_told_of_with_the_message() -> None:
    """RFC 3461 section 5.2.7.3 (c): a notice with the action "expanded" for who asked of success, durable before the 250."""

    def expand(tx: object) -> None:
        (recipient,) = tx.recipients  # type: ignore[attr-defined]
        notify = tx.expand(recipient)  # type: ignore[attr-defined]
        recipient.notify = notify
        tx.recipients.append(TransactionRecipient(Address("c", "example.net"), None, notify))  # type: ignore[attr-defined]

    for asked, left, reports in (("SUCCESS", 0, 1), ("SUCCESS,DELAY", 4, 1), ("FAILURE", 2, 0), ("NEVER", 0, 0)):
        talk = Dialogue(message=expand)
        talk.hello()
        talk.say("MAIL FROM:<a@example.org>", f"RCPT TO:<b@example.net> NOTIFY={asked}")
        talk.send()
        (delivery,) = talk.intake.accepted[0].deliveries
        assert [recipient.notify for recipient in delivery.recipients] == [left, left]
        assert len(talk.intake.reports) == reports
        for _, ((recipient, outcome),) in talk.intake.reports:
            assert str(recipient.address) == "b@example.net"
            assert outcome.action is Action.EXPANDED


def test_unknown_recipients_are_refused_and_never_reported() -> None:
    """DSN-01: whoever floods us with a forged sender and names that do not exist gets 550, and nobody gets a notice."""
    talk = Dialogue(rcpt=lambda tx, recipient: reject("5.1.1", "No such user"))
    talk.hello()
    for number in range(4):
        assert talk.codes("MAIL FROM:<victim@v.example> RET=FULL") == ["250"]
        assert talk.codes(f"RCPT TO:<u{number}@example.net> NOTIFY=SUCCESS,FAILURE,DELAY") == ["550"]
        assert talk.codes("DATA") == ["554"]
        assert talk.codes("RSET") == ["250"]
    assert talk.intake.accepted == []
    assert talk.intake.reports == []


def test_a_message_that_a_plugin_holds_is_accepted_and_waits() -> None:
    """The client is told 250; nothing is sent before an operator releases it, and the history says why."""

    def hold(tx: object) -> None:
        tx.hold = "quarantine: suspect"  # type: ignore[attr-defined]

    talk = Dialogue(message=hold)
    talk.begin("b@example.net", "c@other.example")
    (line,) = talk.send()
    assert line.startswith("250 ")
    (message,) = talk.intake.accepted
    assert [delivery.held for delivery in message.deliveries] == [True, True]
    assert [(event.kind, event.fields.get("reason")) for event in message.events] == [
        ("message.accepted", None),
        ("delivery.held", "quarantine: suspect"),
    ]
