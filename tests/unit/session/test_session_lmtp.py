"""LMTP sessions (RFC 2033): one reply for each recipient behind the end of the message, one for everything else."""

import pytest
from sessionkit import Dialogue

from upesi.hooks.session import Transaction, TransactionRecipient
from upesi.hooks.verdict import Verdict, accept, defer, reject
from upesi.spool.store import SpoolError


def recipient_verdicts(**verdicts: Verdict) -> object:
    """A message hook that gives each named local part its own verdict."""

    def judge(tx: Transaction) -> None:
        for recipient in tx.recipients:
            recipient.verdict = verdicts.get(recipient.address.local)

    return judge


def begun(*recipients: str, **points: object) -> Dialogue:
    talk = Dialogue(lmtp=True, max_message_size=2000, **points)
    talk.begin(*recipients)
    return talk


def test_the_last_chunk_is_answered_for_each_recipient() -> None:
    """C99: BDAT LAST ends the message, so it gets the replies that the final dot would get; other chunks get one."""
    talk = begun("b@example.net", "c@example.net", message=recipient_verdicts(c=reject("5.2.2", "Full")))
    assert talk.codes(b"BDAT 5\r\nabcde") == ["250"]
    lines = talk.say(b"BDAT 2 LAST\r\n\r\n")
    assert [line[:9] for line in lines] == ["250 2.0.0", "550 5.2.2"]
    assert talk.intake.contents == [b"abcde\r\n"]
    assert talk.codes("MAIL FROM:<a@example.org>") == ["250"]


def test_a_chunk_that_fails_in_the_midst_gets_one_reply() -> None:
    """C99: only the end of the message has a reply for each recipient; a broken chunk before it has one."""
    talk = begun("b@example.net", "c@example.net")
    talk.intake.write_error = SpoolError("x")
    assert talk.codes(b"BDAT 5\r\nabcde") == ["451"]
    assert talk.codes(b"BDAT 2 LAST\r\n\r\n") == ["503"]
    assert talk.codes("RSET", "MAIL FROM:<a@example.org>") == ["250", "250"]


def test_a_last_chunk_that_fails_is_answered_for_each_recipient() -> None:
    """C99: the client waits for as many replies as it had recipients, whatever became of the message."""
    talk = begun("b@example.net", "c@example.net")
    talk.intake.write_error = SpoolError("x")
    assert talk.codes(b"BDAT 7 LAST\r\nabcde\r\n", "NOOP") == ["451", "451", "250"]


@pytest.mark.parametrize("content", [b"a\nb\r\n", b"a\0b\r\n", b"x" * 2500 + b"\r\n"])
def test_a_message_with_a_fault_is_refused_for_each_recipient(content: bytes) -> None:
    """FRM-26: what smuggles, or is too large, is refused over LMTP as over SMTP, and once for each recipient."""
    talk = begun("b@example.net", "c@example.net")
    lines = talk.send(content)
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert lines[0][:3] in ("550", "552")
    assert talk.intake.accepted == []


def test_each_recipient_sees_the_verdict_that_hooks_gave_it() -> None:
    """C99: accepted, refused and deferred stand side by side in the order of the RCPTs; only the accepted get the mail."""
    judge = recipient_verdicts(b=accept(), c=reject("5.2.2", "Full"), d=defer("4.2.1", "Asleep"))
    talk = begun("d@example.net", "b@example.net", "c@example.net", "e@example.net", message=judge)
    lines = talk.send()
    assert [line[:9] for line in lines] == ["451 4.2.1", "250 2.0.0", "550 5.2.2", "250 2.0.0"]
    (message,) = talk.intake.accepted
    assert [r.address.local for d in message.deliveries for r in d.recipients] == ["b", "e"]
    assert talk.intake.reports == []


def test_refused_recipients_get_no_reply_at_the_end() -> None:
    """C99: RFC 2033 section 4.2 counts the RCPTs that were accepted."""

    def only_b(tx: Transaction, recipient: TransactionRecipient) -> Verdict:
        return accept() if recipient.address.local == "b" else reject("5.1.1", "No such user")

    talk = Dialogue(lmtp=True, rcpt=only_b)
    talk.hello()
    assert talk.codes("MAIL FROM:<>", "RCPT TO:<x@example.net>", "RCPT TO:<b@example.net>") == ["250", "550", "250"]
    assert len(talk.send()) == 1


def test_data_without_recipients_gets_one_reply() -> None:
    """C99: RFC 2033 section 4.2: DATA without an accepted recipient fails with 503 or 554, once."""
    talk = Dialogue(lmtp=True, rcpt=lambda tx, recipient: reject("5.1.1", "No such user"))
    talk.hello()
    assert talk.codes("MAIL FROM:<>", "RCPT TO:<x@example.net>", "DATA") == ["250", "550", "554"]


def test_received_names_the_protocol() -> None:
    """C32: `with LMTP` in the field that we add (RFC 3848), with the name that LHLO gave."""
    talk = begun()
    talk.send()
    prefix = talk.intake.accepted[0].prefix
    assert prefix.startswith(b"Received: from client.example.org ([192.0.2.1])\r\n\tby mx.example.net with LMTP id ")


def test_lhlo_announces_what_rfc_2033_demands() -> None:
    """C99: RFC 2033 section 5: PIPELINING and ENHANCEDSTATUSCODES are required of an LMTP server."""
    talk = Dialogue(lmtp=True)
    talk.heard()
    keywords = [line[4:] for line in talk.say("LHLO client.example.org")]
    assert {"PIPELINING", "ENHANCEDSTATUSCODES"} <= set(keywords)


def test_a_pipelined_group_with_two_messages_is_answered_in_order() -> None:
    """C99: replies of a whole group stand in the order of the commands, each end with its own number of them."""
    talk = begun("b@example.net", "c@example.net")
    assert talk.codes("DATA") == ["354"]
    said = talk.codes(b"x\r\n.\r\n", "MAIL FROM:<>", "RCPT TO:<d@example.net>", b"BDAT 3 LAST\r\ny\r\n", "QUIT")
    assert said == ["250", "250", "250", "250", "250", "221"]
