"""Sending to servers that behave: round trips, framing, what is kept and what is not sent at all."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from tests.unit.delivery.sendkit import (
    BODY,
    FakeWork,
    SmtpServer,
    agent,
    attempt,
    destination,
    sent,
    stored,
    with_server,
)  # fmt: skip

from upesi.mail.envelope import BodyType, Transmission
from upesi.scheduler.work import Ending

CONTENT = b"Received: y\r\n" + BODY
KEYWORDS = [
    ("8BITMIME",),
    ("PIPELINING", "8BITMIME"),
    ("PIPELINING", "8BITMIME", "CHUNKING", "BINARYMIME"),
    ("CHUNKING",),
]


@pytest.mark.parametrize("keywords", KEYWORDS)
def test_messages_arrive_whole_over_one_connection_whatever_the_server_offers(keywords):
    """C41, RFC 5321 section 4.5.2: content arrives octet for octet, and every recipient is told so once."""
    server = SmtpServer(keywords=keywords)
    work = sent(server, *(attempt(f"b{n}@example.net") for n in range(5)))
    assert work.kinds == ["delivered"] * 5
    assert [data for _, _, data in server.delivered] == [CONTENT] * 5
    assert [rcpts for _, rcpts, _ in server.delivered] == [(f"RCPT TO:<b{n}@example.net>",) for n in range(5)]
    assert len(server.sessions) == 1
    assert work.ending == (Ending.CLOSED, None)
    assert not work.given_back


def test_next_envelope_goes_out_behind_the_dot_before_its_reply():
    """RFC 2920: the server has MAIL of the second message before it answers the first one's end of data."""
    seen = []

    def end(session):
        # a server that is slow to answer the dot, and reads on meanwhile
        seen.append(bytes(server.dialogues[0].buffer))

    server = SmtpServer({".": end})
    work = sent(server, attempt("b1@example.net"), attempt("b2@example.net"))
    assert work.kinds == ["delivered"] * 2
    assert [line.split(" ")[0] for line in server.commands] == ["EHLO", *["MAIL", "RCPT", "DATA"] * 2, "QUIT"]
    assert seen[0] == b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b2@example.net>\r\nDATA\r\n"


@pytest.mark.parametrize("keywords", KEYWORDS)
def test_large_body_is_streamed_whole(keywords):
    """C44: a body beyond every buffer arrives whole, dots and all."""
    body = b"Subject: big\r\n\r\n" + b".a line that begins with a dot\r\n" * 40_000
    server = SmtpServer(keywords=keywords)
    work = sent(server, attempt(body=body), attempt())
    assert work.kinds == ["delivered"] * 2
    assert [len(data) for _, _, data in server.delivered] == [len(body) + 13, len(CONTENT)]
    assert server.delivered[0][2].endswith(body)


def test_binary_goes_by_bdat_and_only_so():
    """RFC 3030 section 3: BINARYMIME content is never sent by DATA."""
    message = msgspec.structs.replace(stored(b"a\nb\r\0.\r\n."), transmission=Transmission(body=BodyType.BINARY))
    server = SmtpServer(keywords=("PIPELINING", "CHUNKING", "BINARYMIME"))
    assert sent(server, attempt(message=message)).kinds == ["delivered"]
    assert server.delivered[0][2] == b"Received: y\r\na\nb\r\0.\r\n."
    refused = sent(SmtpServer(), attempt(message=message))
    assert (refused.first.kind, refused.first.status) == ("failed", "5.6.3")


@pytest.mark.parametrize("keywords", [("PIPELINING",), ("PIPELINING", "CHUNKING")])
def test_bare_line_feed_never_leaves(keywords):
    """RFC 5321 section 2.3.8: content that DATA cannot carry fails with 5.6.3; nothing of it is delivered, the next message is."""
    for body in (b"a\r\n\r\nb\n.\r\nMAIL FROM:<x@y>\r\n", b"Subject: a\r\n\r\n" + b"x" * 100_000 + b"\n.\r\n"):
        server = SmtpServer(keywords=keywords)
        work = sent(server, attempt(body=body))
        assert (work.first.kind, work.first.status) == ("failed", "5.6.3")
        assert not server.delivered


def test_message_above_the_announced_size_is_not_sent():
    """C39: MAIL of a message above SIZE never leaves; SIZE 0 and nonsense mean unknown."""
    large = b"Subject: a\r\n\r\n" + b"x" * 70 + b"\r\n" * 50_000
    work = sent(server := SmtpServer(keywords=("PIPELINING", "SIZE 90000")), attempt(body=large), attempt())
    assert [(o.kind, o.status) for _, outcomes in work.outcomes for o in outcomes] == [
        ("failed", "5.3.4"),
        ("delivered", "2.0.0"),
    ]
    assert [line for line in server.commands if line.startswith("MAIL")] == [
        f"MAIL FROM:<a@example.com> SIZE={len(CONTENT)}"
    ]
    for keyword in ("SIZE 0", "SIZE", "SIZE x", "SIZE 1"):
        assert sent(SmtpServer(keywords=("PIPELINING", keyword)), attempt(body=large)).kinds == ["delivered"]


def test_internationalized_mail_needs_smtputf8():
    """RFC 6531 section 3.4: not offered and needed: 5.6.7; not needed: sent without."""
    assert sent(SmtpServer(), attempt("j\u00f6@example.net", smtputf8=True)).first.status == "5.6.7"
    assert sent(SmtpServer(), attempt(body="Subject: \u00f6\r\n\r\n".encode(), smtputf8=True)).first.status == "5.6.7"
    plain = SmtpServer()
    assert sent(plain, attempt(smtputf8=True)).kinds == ["delivered"]
    assert "MAIL FROM:<a@example.com>" in plain.commands
    able = SmtpServer(keywords=("PIPELINING", "SMTPUTF8", "8BITMIME"))
    assert sent(able, attempt("j\u00f6@example.net", smtputf8=True)).kinds == ["delivered"]
    assert "MAIL FROM:<a@example.com> SMTPUTF8" in able.commands


def test_eight_bit_content_is_declared_where_it_can_be_and_sent_all_the_same():
    """RFC 6152: BODY=8BITMIME where offered; where not, the octets go undeclared."""
    eight = {"body": "Subject: x\r\n\r\n\u00f6\r\n".encode()}
    message = msgspec.structs.replace(stored(**eight), transmission=Transmission(body=BodyType.EIGHT_BIT))
    for keywords, mail in ((("8BITMIME",), " BODY=8BITMIME"), ((), "")):
        server = SmtpServer(keywords=keywords)
        assert sent(server, attempt(message=message)).kinds == ["delivered"]
        assert "MAIL FROM:<a@example.com>" + mail in server.commands
        assert server.delivered[0][2].endswith(eight["body"])


def test_idle_connection_is_kept_woken_and_closed():
    """A kept connection takes new work at `wake` and says QUIT after `connection_idle`."""

    async def scenario(server):
        loop = asyncio.get_running_loop()
        work = FakeWork(destination(server.port), attempt())
        running = agent(connection_idle=5.0).start(work)
        while not work.outcomes:  # noqa: ASYNC110  virtual time
            await asyncio.sleep(0.01)
        await asyncio.sleep(3)
        work.waiting.append(attempt())
        running.wake()
        running.wake()
        await work.end.wait()
        return work, loop.time()

    server = SmtpServer()
    work, at = with_server(server, scenario)
    assert work.kinds == ["delivered"] * 2
    assert len(server.sessions) == 1
    assert 8 <= at < 9
    assert work.ending == (Ending.CLOSED, None)


def test_connection_is_used_for_so_many_messages_and_no_more():
    """`connection_messages`, and RFC 9422 MAILMAX where it is lower: never one more, looking ahead or not."""
    for keywords, most in (
        (("PIPELINING",), 3),
        (("PIPELINING", "LIMITS MAILMAX=2"), 2),
        (("PIPELINING", "CHUNKING"), 3),
        ((), 3),
    ):
        server = SmtpServer(keywords=keywords)
        work = sent(server, *(attempt() for _ in range(5)), connection_messages=3)
        assert len(work.outcomes) == most == len(server.delivered)
        assert not work.given_back
        assert sum(line.startswith("MAIL") for line in server.commands) == most


@pytest.mark.parametrize(("at", "kinds", "back"), [
    ("MAIL", [], 1), ("RCPT", [], 1), ("DATA", [], 1), ("content", ["delivered"], 0), (".", ["delivered"], 0),
])  # fmt: skip
def test_stop_finishes_what_is_past_its_end_and_gives_back_the_rest(at, kinds, back):
    """`Running.stop`: no message past its final dot is cut off, none before it is counted."""

    async def scenario(server):
        work = FakeWork(destination(server.port), attempt())
        running = agent().start(work)
        server.replies[at] = lambda session: asyncio.get_running_loop().call_soon(running.stop) and None
        await work.end.wait()
        return work

    for keywords in ((), ("PIPELINING",)):
        server = SmtpServer(keywords=keywords)
        work = with_server(server, scenario)
        if at not in ("content", "."):
            assert (work.kinds, len(work.given_back)) == (kinds, back)
            assert not server.delivered
        else:
            # the body may or may not have left when we are told: either way each message has exactly one fate
            assert (work.kinds, len(work.given_back)) in ((["delivered"], 0), ([], 1))


def test_stop_gives_back_what_was_sent_ahead():
    """`Running.stop` past the dot of one message: that one is finished, the look-ahead one given back, and not delivered."""

    async def scenario(server):
        work = FakeWork(destination(server.port), attempt("b1@example.net"), attempt("b2@example.net"))
        running = agent().start(work)
        server.replies["."] = lambda session: running.stop()
        await work.end.wait()
        return work

    server = SmtpServer()
    work = with_server(server, scenario)
    assert work.kinds == ["delivered"]
    assert len(work.given_back) == 1
    assert len(server.delivered) == 1


def test_stop_while_connecting_ends_at_once():
    """`Running.stop` before a connection: `ended`, nothing taken."""

    async def scenario(server):
        work = FakeWork(destination(server.port), attempt())
        running = agent().start(work)
        await asyncio.sleep(1)
        running.stop()
        running.stop()
        return work

    from tests.unit.delivery.sendkit import HANG

    work = with_server(SmtpServer({"greeting": HANG}), scenario)
    assert work.ending == (Ending.CLOSED, None)
    assert not work.outcomes


def test_lmtp_recipients_have_replies_of_their_own():
    """C99, RFC 2033 section 4.2: one reply for each accepted recipient after the end of data, in order."""
    rcpts = iter([b"250 ok\r\n", b"550 5.1.1 who\r\n", b"250 ok\r\n", b"250 ok\r\n"] * 2)
    for keywords in (("PIPELINING",), ("PIPELINING", "CHUNKING")):
        server = SmtpServer(
            {"RCPT": lambda session: next(rcpts), ".": b"250 2.1.5 ok\r\n452 4.2.2 full\r\n552 5.2.2 full\r\n"},
            keywords=keywords, lmtp=True,
        )  # fmt: skip
        work = sent(server, attempt("a@x.test", "b@x.test", "c@x.test", "d@x.test"), lmtp=True)
        assert work.kinds == ["delivered", "failed", "deferred", "failed"]
        assert server.commands[0] == "LHLO client.example.org"


def test_return_of_dsn_parameters_to_a_server_that_knows_them():
    """RFC 3461 section 5.2.1: RET and ENVID go on where DSN is announced, and nowhere else."""
    for keywords, mail in ((("DSN",), " ENVID=e+2Be"), ((), "")):
        server = SmtpServer(keywords=keywords)
        sent(server, attempt(envid="e+e"))
        assert "MAIL FROM:<a@example.com>" + mail in server.commands


@pytest.mark.parametrize(
    ("limits", "room"),
    [
        ("RCPTMAX=3", 3),
        ("RCPTDOMAINMAX=1", 1),
        ("RCPTMAX=50 RCPTDOMAINMAX=2 MAILMAX=9", 2),
        ("RCPTMAX=0", 0),
        ("MAILMAX=5", 0),
        ("x", 0),
    ],
)
def test_limits_on_recipients_are_told_to_who_hands_out_work(limits, room):
    """C108, RFC 9422: RCPTMAX and RCPTDOMAINMAX (so many recipients have at most so many domains); 0 and nonsense are none (OUT-08)."""
    work = sent(SmtpServer(keywords=("PIPELINING", f"LIMITS {limits}")), attempt())
    assert work.kinds == ["delivered"]
    assert work.room == room
