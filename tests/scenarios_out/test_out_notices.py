"""What the next server is told of a sender's wishes, and what its answer means for who wants to hear of success."""

from __future__ import annotations

import time

import pytest
from tests.unit.delivery.sendkit import SmtpServer, attempt, sent

from upesi.mail.envelope import Notify, Recipient, ReturnContent
from upesi.mail.outcome import Action
from upesi.mail.timing import ByMode, DeliverBy
from upesi.scheduler.work import Attempt


def wishing(one: Attempt, notify: int, original: str | None = None) -> Attempt:
    recipients = tuple(Recipient(each.address, original, notify) for each in one.recipients)
    return Attempt(one.message, recipients, one.number)


@pytest.mark.parametrize(
    ("keywords", "lmtp", "action"),
    [
        (("PIPELINING",), False, Action.RELAYED), (("PIPELINING", "CHUNKING"), False, Action.RELAYED), ((), False, Action.RELAYED),
        (("PIPELINING", "DSN"), False, None), (("PIPELINING",), True, Action.DELIVERED), (("PIPELINING", "DSN"), True, None),
    ],
)  # fmt: skip
def test_who_tells_of_success(keywords, lmtp, action):
    """C56: a server with DSN tells itself; for another one we say "relayed", for an LMTP server without it "delivered"."""
    work = sent(SmtpServer(keywords=keywords, lmtp=lmtp), attempt("a@x.test", "b@x.test"), attempt(), lmtp=lmtp)
    assert work.kinds == ["delivered"] * 3
    assert [outcome.action for _, outcomes in work.outcomes for outcome in outcomes] == [action] * 3


def test_a_server_that_knows_no_ehlo_tells_nothing():
    """C56: after HELO there are no extensions, so success is ours to tell."""
    server = SmtpServer({"EHLO": b"500 what\r\n"})
    work = sent(server, attempt())
    assert [outcome.action for _, (outcome,) in work.outcomes] == [Action.RELAYED]


@pytest.mark.parametrize("reply", [b"452 4.2.2 full\r\n", b"552 5.2.2 full\r\n"])
def test_what_was_not_taken_is_no_success(reply):
    """Only a 2xx at the end of the data is one."""
    work = sent(SmtpServer({".": reply}), attempt())
    assert [outcome.action for _, (outcome,) in work.outcomes] == [None]


def test_wishes_are_on_the_wire():
    """C56: RET and ENVID with MAIL, NOTIFY and ORCPT with each RCPT, as they came, where DSN is offered; else none of them."""
    for keywords, mail, rcpt in (
        (("PIPELINING", "DSN"), " RET=HDRS ENVID=a+2Bb", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;old@x.test"), (("PIPELINING",), "", ""),
    ):  # fmt: skip
        server = SmtpServer(keywords=keywords)
        asked = attempt(ret=ReturnContent.HEADERS, envid="a+b")
        work = sent(server, wishing(asked, int(Notify.SUCCESS | Notify.DELAY), "rfc822;old@x.test"))
        assert work.kinds == ["delivered"]
        assert f"MAIL FROM:<a@example.com>{mail}" in server.commands
        assert f"RCPT TO:<b@example.net>{rcpt}" in server.commands


@pytest.mark.parametrize(
    ("keywords", "left", "status"),
    [
        (("PIPELINING",), 600, "5.3.3"), (("PIPELINING", "DELIVERBY 3600"), 600, "5.4.7"), (("PIPELINING", "DELIVERBY"), -1, "5.4.7"),
    ],
)  # fmt: skip
def test_a_time_that_cannot_be_kept_fails_before_mail(keywords, left, status):
    """C111: with mode R nothing is said of the message to who cannot promise its time, nor when it is over; other mail goes on."""
    server = SmtpServer(keywords=keywords)
    work = sent(server, attempt(by=DeliverBy(time.time() + left, ByMode.RETURN)), attempt("c@x.test"))
    assert work.kinds == ["failed", "delivered"]
    assert work.outcomes[0][1][0].status == status
    assert [line for line in server.commands if line.startswith("RCPT")] == ["RCPT TO:<c@x.test>"]


def test_the_time_left_is_on_the_wire():
    """C111: the seconds that are left, with the mode."""
    server = SmtpServer(keywords=("PIPELINING", "DELIVERBY 60"))
    work = sent(server, attempt(by=DeliverBy(time.time() + 600, ByMode.RETURN)))
    assert work.kinds == ["delivered"]
    (mail,) = [line for line in server.commands if line.startswith("MAIL")]
    seconds, mode = mail.partition(" BY=")[2].split(";")
    assert 500 < int(seconds) <= 600
    assert mode == "R"


def test_a_priority_is_on_the_wire():
    """C110: MT-PRIORITY where it is offered."""
    for keywords, parameter in ((("MT-PRIORITY MIXER",), " MT-PRIORITY=-3"), ((), "")):
        server = SmtpServer(keywords=keywords)
        assert sent(server, attempt(priority=-3)).kinds == ["delivered"]
        assert f"MAIL FROM:<a@example.com>{parameter}" in server.commands
