"""Receivers that break, stall, lie and flood (OUT-01 to OUT-15): each message has one honest fate, and the next is not hurt."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.unit.delivery.sendkit import (
    HANG,
    Close,
    FakeWork,
    SmtpServer,
    agent,
    attempt,
    destination,
    send,
    sent,
    with_server,
)  # fmt: skip

from upesi.scheduler.work import Ending

EXTENSIONS = [(), ("PIPELINING",), ("PIPELINING", "CHUNKING")]
CLOSING = b"421 4.3.2 going down\r\n"


def replies(*said):
    """Return a behaviour that says `said` one after the other, then what is usual."""
    rest = list(said)
    return lambda session: rest.pop(0) if rest else None


def statuses(work):
    return [(outcome.kind.value, outcome.code, outcome.status) for _, outcomes in work.outcomes for outcome in outcomes]


@pytest.mark.parametrize("keywords", EXTENSIONS)
def test_each_recipient_has_the_outcome_of_its_own_reply(keywords):
    """RCP-05: 250, 450, 550, 251, 252 mixed: only the accepted ones get the message, replies match one by one."""
    said = replies(b"250 ok\r\n", b"450 4.2.1 busy\r\n", b"550 5.1.1 who\r\n", b"251 forwards\r\n", b"252 perhaps\r\n")
    server = SmtpServer({"RCPT": said}, keywords)
    work = sent(server, attempt(*(f"{name}@x.test" for name in "abcde")), attempt())
    assert statuses(work) == [
        ("delivered", 250, "2.0.0"), ("deferred", 450, "4.2.1"), ("failed", 550, "5.1.1"),
        ("delivered", 250, "2.0.0"), ("delivered", 250, "2.0.0"), ("delivered", 250, "2.0.0"),
    ]  # fmt: skip
    assert [len(rcpts) for _, rcpts, _ in server.delivered] == [3, 1]


@pytest.mark.parametrize("keywords", EXTENSIONS)
def test_too_many_recipients_means_later_not_never(keywords):
    """C13, OUT-05: 452 and 552 to a RCPT put that recipient off with 4.5.3; the others get the message."""
    said = replies(b"250 ok\r\n", b"452 too many\r\n", b"552 too many\r\n", b"552 5.2.2 full\r\n")
    work = sent(SmtpServer({"RCPT": said}, keywords), attempt(*(f"{name}@x.test" for name in "abcd")))
    assert [(kind, status) for kind, _, status in statuses(work)] == [
        ("delivered", "2.0.0"), ("deferred", "4.5.3"), ("deferred", "4.5.3"), ("deferred", "4.2.2"),
    ]  # fmt: skip


@pytest.mark.parametrize("keywords", EXTENSIONS)
@pytest.mark.parametrize(("stage", "said", "expected"), [
    ("MAIL", b"550 5.7.1 no\r\n", ("failed", 550, "5.7.1")),
    ("MAIL", b"451 later\r\n", ("deferred", 451, "4.0.0")),
    ("DATA", b"554 5.5.1 no\r\n", ("failed", 554, "5.5.1")),
    (".", b"554 5.6.0 spam\r\n", ("failed", 554, "5.6.0")),
    (".", b"451 4.7.1 greylisted\r\n", ("deferred", 451, "4.7.1")),
    (".", b"551 moved\r\n", ("failed", 551, "5.0.0")),
    (".", b"550 4.7.1 odd\r\n", ("failed", 550, "5.0.0")),
])  # fmt: skip
def test_refusal_decides_by_its_first_digit_and_the_connection_goes_on(keywords, stage, said, expected):
    """OUT-02, OUT-07: 4xx defers, 5xx fails, at every stage; the next message on the same connection is delivered."""
    if stage == "DATA" and "CHUNKING" in keywords:
        stage = "."
    server = SmtpServer({stage: replies(said)}, keywords)
    work = sent(server, attempt("b1@x.test", "b2@x.test"), attempt())
    assert statuses(work) == [expected, expected, ("delivered", 250, "2.0.0")]
    assert len(server.delivered) == 1
    assert len(server.sessions) == 1


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("keywords", EXTENSIONS)
def test_421_defers_whatever_is_not_done(stage, keywords):
    """C29: 421 at any time defers the undone recipients of that message, and only of that one."""
    if stage == "DATA" and "CHUNKING" in keywords:
        stage = "."
    server = SmtpServer({stage: replies(Close(CLOSING))}, keywords)
    work = sent(server, attempt("b1@x.test", "b2@x.test"), attempt("c@x.test"))
    assert statuses(work) == [("deferred", 421, "4.3.2")] * 2
    assert work.ending == (Ending.CLOSED, None)
    assert [a.recipients[0].address.local for a in work.waiting] == ["c"]


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "content"])
@pytest.mark.parametrize("keywords", EXTENSIONS[:2])
def test_close_before_the_end_of_data_defers(stage, keywords):
    """OUT-03: a connection lost before the end of data leaves a message that was not delivered: plainly deferred."""
    server = SmtpServer({stage: replies(Close())}, keywords)
    work = sent(server, attempt(body=b"x" * 9_000_000 + b"\r\n"), attempt())
    assert statuses(work) == [("deferred", 0, "4.4.2")]
    assert "ambiguous" not in work.first.text


@pytest.mark.parametrize("keywords", EXTENSIONS)
def test_close_after_the_end_of_data_is_ambiguous(keywords):
    """OUT-03: no reply to the end of data: deferred, and said to be ambiguous; what was sent ahead was not tried."""
    server = SmtpServer({".": replies(Close())}, keywords)
    work = sent(server, attempt("b@x.test"), attempt("c@x.test"))
    assert statuses(work) == [("deferred", 0, "4.4.2")]
    assert work.first.text.startswith("ambiguous")
    assert [a.recipients[0].address.local for a in work.waiting] == ["c"]


@pytest.mark.parametrize("octets", [0, 1, 2, 4, 5, 6])
def test_answer_to_the_dot_cut_at_each_octet_is_ambiguous(octets):
    """OUT-03: only a whole reply counts as one."""
    work = sent(SmtpServer({".": replies(Close(b"250 ok"[:octets]))}), attempt())
    assert work.first.kind == "deferred"
    assert work.first.text.startswith("ambiguous")


@pytest.mark.parametrize("keywords", [(), ("PIPELINING",)])
def test_354_although_every_recipient_failed_gets_a_lone_dot(keywords):
    """C43: RFC 2920 section 3.1: the dot goes out, nothing is delivered, each recipient keeps its own refusal."""
    server = SmtpServer(
        {"RCPT": replies(b"550 5.1.1 no\r\n", b"450 4.2.0 later\r\n"), "DATA": replies(b"354 go\r\n")}, keywords
    )
    work = sent(server, attempt("b1@x.test", "b2@x.test"), attempt())
    assert statuses(work) == [("failed", 550, "5.1.1"), ("deferred", 450, "4.2.0"), ("delivered", 250, "2.0.0")]
    assert len(server.delivered) == 1


@pytest.mark.parametrize("keywords", EXTENSIONS)
def test_transaction_without_recipients_is_reset_before_the_next(keywords):
    """C43, RFC 5321 section 3.3: after refused recipients the next MAIL is not nested."""
    server = SmtpServer({"RCPT": replies(b"550 5.1.1 no\r\n")}, keywords)
    work = sent(server, attempt(), attempt(), attempt())
    assert work.kinds == ["failed", "delivered", "delivered"]
    assert "RSET" in server.commands


@pytest.mark.parametrize("stage", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("said", [
    b"2xx5\r\n", b"abc\r\n", b"000 no\r\n", b"199 no\r\n", b"650 no\r\n", b"250-a\r\n251 b\r\n", b"\r\n", b"250\x00ok\r\n",
    b"354 go\r\n", b"25", b"250-" + b"x" * 100_000, b"250-more\r\n" * 10_000, b"2" * 1_000_000,
])  # fmt: skip
def test_nonsense_never_counts_as_delivery(stage, said):
    """OUT-01, OUT-02: what is no reply, or none to that command, closes and defers; floods are cut; nothing waits for ever."""
    if (stage, said) == ("DATA", b"354 go\r\n"):
        said = b"250 ok\r\n"
    server = SmtpServer({stage: said})
    work = sent(server, attempt())
    assert work.ending is not None
    assert "delivered" not in work.kinds
    assert "failed" not in work.kinds
    assert not work.kinds or work.first.text.isprintable()


def test_text_of_replies_is_made_harmless():
    """OUT-02, CVE-2020-8794: control characters, escapes and invalid octets do not get into an outcome."""
    work = sent(
        SmtpServer({".": b"550-5.7.1 a\x1b[31m\x00\xff\r\n550 5.7.1 Message-ID: <x>\rSubject: y\r\n"}), attempt()
    )
    assert work.first.text.isprintable()
    assert work.first.status == "5.7.1"
    assert len(sent(SmtpServer({".": b"550 " + b"x" * 3000 + b"\r\n"}), attempt()).first.text) < 600


@pytest.mark.parametrize(
    ("stage", "seconds", "ambiguous"), [("MAIL", 300, False), ("DATA", 300, False), (".", 600, True)]
)
def test_silent_server_costs_its_own_connection_and_no_more_than_rfc_5321_says(stage, seconds, ambiguous):
    """C14, OUT-06: five minutes for a command, ten after the dot; another connection is not held up."""

    async def scenario(server):
        async with SmtpServer() as good:
            sender = agent()
            start = asyncio.get_running_loop().time()
            slow, fast = await asyncio.gather(
                send(server, attempt(), sender=sender), send(good, attempt(), sender=sender)
            )
            return slow, fast, asyncio.get_running_loop().time() - start

    slow, fast, took = with_server(SmtpServer({stage: HANG}), scenario)
    assert fast.kinds == ["delivered"]
    assert statuses(slow) == [("deferred", 0, "4.4.2")]
    assert slow.first.text.startswith("ambiguous") is ambiguous
    assert seconds <= took < seconds + 5


def test_drip_of_octets_does_not_extend_a_deadline():
    """OUT-01: one octet a minute is no greeting: five minutes and it is over."""

    async def drip(reader, writer):
        try:
            while True:
                writer.write(b"2")
                await asyncio.sleep(60)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def scenario(_):
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        work = FakeWork(destination(server.sockets[0].getsockname()[1]), attempt())
        agent().start(work)
        await work.end.wait()
        now = asyncio.get_running_loop().time()
        server.close()
        await asyncio.sleep(100)
        return work, now

    work, now = with_server(SmtpServer(), scenario)
    assert work.ending[0] is Ending.UNREACHABLE
    assert 300 <= now < 302


def test_slow_answer_after_the_dot_is_waited_for():
    """OUT-03: nine minutes of virus scanning are not a reason to send the message twice."""

    async def scenario(server):
        async def late():
            await asyncio.sleep(540)
            server.dialogues[0].writer.write(b"250 2.0.0 scanned\r\n")

        task = None

        def end(session):
            nonlocal task
            task = asyncio.get_running_loop().create_task(late())
            return b""

        server.replies["."] = end
        work = await send(server, attempt())
        assert task is not None
        await task
        return work

    assert with_server(SmtpServer(), scenario).kinds == ["delivered"]


def test_server_that_refuses_commands_behind_the_dot_loses_nothing():
    """Haraka 3.3.4 answers 503 to whatever comes behind the dot: every message is delivered once, the site is asked ahead only once."""
    server = SmtpServer(strict_dot=True)

    async def scenario(server):
        sender = agent()
        first = await send(server, *(attempt(f"b{n}@x.test") for n in range(5)), sender=sender)
        second = await send(server, *(attempt(f"c{n}@x.test") for n in range(5)), sender=sender)
        return first, second

    first, second = with_server(server, scenario)
    assert first.kinds == second.kinds == ["delivered"] * 5
    assert len(server.delivered) == 10
    assert (len(first.given_back), len(second.given_back)) == (1, 0)
    assert [line for line in server.commands if line.startswith("503")] == [
        "503: MAIL FROM:<a@example.com>", "503: RCPT TO:<b1@x.test>", "503: DATA",
    ]  # fmt: skip
    assert len(server.sessions) == 2


def test_refused_recipient_of_a_look_ahead_is_asked_again_in_the_ordinary_way():
    """A refusal behind the dot is no failure: it is given back, refused again in its own turn, and only then counts."""
    server = SmtpServer(
        {"RCPT": lambda session: b"550 5.1.1 who\r\n" if b"bad" in str(server.commands[-1]).encode() else None}
    )
    work = sent(server, attempt("b1@x.test"), attempt("bad@x.test"), attempt("b2@x.test"), attempt("b3@x.test"))
    assert work.kinds == ["delivered", "failed", "delivered", "delivered"]
    assert len(work.given_back) == 1
    assert server.commands.count("RCPT TO:<bad@x.test>") == 2


def test_look_ahead_with_some_recipients_accepted_is_an_ordinary_transaction():
    """354 with one of two recipients accepted: the message goes to the one, the other keeps its refusal."""
    said = replies(b"250 ok\r\n", b"250 ok\r\n", b"550 5.1.1 who\r\n")
    server = SmtpServer({"RCPT": said})
    work = sent(server, attempt("a@x.test"), attempt("b@x.test", "c@x.test"))
    assert work.kinds == ["delivered", "delivered", "failed"]
    assert not work.given_back
    assert [rcpts for _, rcpts, _ in server.delivered] == [("RCPT TO:<a@x.test>",), ("RCPT TO:<b@x.test>",)]


@pytest.mark.parametrize("keywords", EXTENSIONS)
@pytest.mark.parametrize("said", [Close(), Close(CLOSING)])
def test_kept_connection_found_dead_costs_no_attempt(keywords, said):
    """OUT-12: closed or 421 just as MAIL of a second message arrives: given back, not counted."""
    server = SmtpServer({"MAIL": lambda session: said if session.messages else None}, keywords)
    work = sent(server, attempt("b@x.test"), attempt("c@x.test"))
    assert work.kinds == ["delivered"]
    assert [a.recipients[0].address.local for a in work.given_back] == ["c"]
    assert work.ending == (Ending.CLOSED, None)


def test_refused_reset_costs_no_attempt():
    """OUT-12: RSET fails: the message behind it has not been tried."""
    server = SmtpServer({"RCPT": replies(b"550 5.1.1 no\r\n"), "RSET": b"500 what\r\n"})
    work = sent(server, attempt("b@x.test"), attempt("c@x.test"))
    assert work.kinds == ["failed"]
    assert [a.recipients[0].address.local for a in work.given_back] == ["c"]


@pytest.mark.parametrize("said", [b"250 2.0.0 done already\r\n", b"552 5.3.4 too big\r\n"])
@pytest.mark.parametrize("keywords", [("PIPELINING",), ()])
def test_reply_before_the_end_of_data_is_no_answer_to_it(said, keywords):
    """OUT-15: an early final reply is a protocol error: closed, deferred."""
    work = sent(SmtpServer({"content": said}, keywords), attempt(body=b"x" * 5_000_000 + b"\r\n"))
    assert work.kinds == ["deferred"]
    assert work.first.code == 0


@pytest.mark.parametrize("keywords", [("PIPELINING",), ()])
@pytest.mark.parametrize("size", [10, 500_000])
def test_reply_in_one_piece_with_354_is_no_delivery(keywords, size):
    """OUT-15: "354 go, 250 taken" from a server that reads nothing: deferred and closed, with look-ahead or without."""
    said = replies(b"354 go\r\n250 2.0.0 taken\r\n")
    server = SmtpServer({"DATA": said}, keywords)
    work = sent(server, attempt("b@x.test", body=b"x" * size + b"\r\n"))
    assert statuses(work) == [("deferred", 0, "4.4.2")]
    assert work.ending is not None
    ahead = SmtpServer({"DATA": replies(None, b"354 go\r\n250 2.0.0 taken\r\n")}, keywords)
    work = sent(ahead, attempt("a@x.test"), attempt("b@x.test", body=b"x" * size + b"\r\n"))
    # of a message that was only looked ahead to nothing was sent: it is given back
    assert work.kinds + ["given back"] * len(work.given_back) == ["delivered", "given back" if keywords else "deferred"]
    assert [rcpts for _, rcpts, _ in ahead.delivered][:1] == [("RCPT TO:<a@x.test>",)]


@pytest.mark.parametrize("stage", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "."])
def test_replies_that_nobody_asked_for_end_the_connection(stage):
    """OUT-05: an extra reply shifts every later one: no message is called delivered by a reply to something else."""
    extra = {"greeting": b"220 hi\r\n", "DATA": b"354 go\r\n"}.get(stage, b"250 ok\r\n") + b"250 extra\r\n"
    server = SmtpServer({stage: extra})
    work = sent(server, attempt("b@x.test"), attempt("c@x.test"), attempt("d@x.test"))
    assert work.kinds.count("delivered") <= len(server.delivered)
    assert "failed" not in work.kinds
    assert work.ending is not None


def test_unsolicited_421_on_an_idle_connection_is_a_quiet_end():
    """RFC 5321 section 3.8: a server that tires of an idle connection has done nothing wrong."""

    async def scenario(server):
        work = FakeWork(destination(server.port), attempt())
        agent(connection_idle=100.0).start(work)
        await asyncio.sleep(10)
        server.dialogues[0].writer.write(CLOSING)
        await work.end.wait()
        return work, asyncio.get_running_loop().time()

    work, now = with_server(SmtpServer(), scenario)
    assert work.kinds == ["delivered"]
    assert work.ending == (Ending.CLOSED, None)
    assert now < 20


@pytest.mark.parametrize("keywords", [
    tuple(f"X{n}" for n in range(400)), ("LIMITS RCPTMAX=0 MAILMAX=0", "PIPELINING"), ("AUTH=LOGIN", "AUTH", "SIZE SIZE SIZE"),
    ("pipelining",), ("",),
])  # fmt: skip
def test_odd_extensions_are_survived(keywords):
    """OUT-08: hundreds of keywords, limits of nothing, old spellings: the message is delivered."""
    assert sent(SmtpServer(keywords=keywords), attempt()).kinds == ["delivered"]


def test_body_goes_out_no_faster_than_it_is_read():
    """C44: towards a server that does not read, little more than one buffer of a large body is taken from the store."""
    taken = []

    class Endless:
        size = 200_000_000

        def read(self, start, length):
            return b"x" * min(length, 1000)

        def chunks(self):
            while sum(taken) < self.size:
                taken.append(100_000)
                yield b"x" * 99_998 + b"\r\n"

    async def scenario(server):
        one = attempt()
        one.message = msgspec.structs.replace(one.message, body=Endless())
        work = FakeWork(destination(server.port), one)
        agent().start(work)
        await asyncio.wait_for(work.end.wait(), 1000)
        return work, asyncio.get_running_loop().time()

    work, now = with_server(SmtpServer({"content": HANG}), scenario)
    assert statuses(work) == [("deferred", 0, "4.4.2")]
    assert 180 <= now < 200  # RFC 5321 section 4.5.3.2.5: three minutes for a block
    assert sum(taken) < 20_000_000  # the kernel's buffers and ours, of 200 MB


@pytest.mark.parametrize("keywords", EXTENSIONS)
def test_body_that_cannot_be_read_is_never_half_delivered(keywords):
    """STO-18: a disk that fails in the middle of a body: no end of data goes out, the message waits."""

    class Failing:
        size = 300_000

        def read(self, start, length):
            return b"x" * min(length, 1000)

        def chunks(self):
            yield b"x" * 99_998 + b"\r\n"
            raise OSError(5, "Input/output error")

    one = attempt()
    one.message = msgspec.structs.replace(one.message, body=Failing())
    server = SmtpServer(keywords=keywords)
    work = sent(server, one)
    assert statuses(work) == [("deferred", 0, "4.3.0")]
    assert not server.delivered
