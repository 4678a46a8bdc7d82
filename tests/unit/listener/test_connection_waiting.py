"""A connection that waits: for hooks, for the spool, for a client that does not read; and clients that leave meanwhile."""

from __future__ import annotations

import asyncio
import gc

import pytest
from sessionkit import Dialogue, take_all

from upesi.hooks.verdict import accept, reject
from upesi.listener.connection import MAX_HELD, MAX_UNREAD

ASKED = ["connect", "helo", "capabilities", "mail", "rcpt", "route", "data", "message", "command"]


class Gate:
    """An asynchronous hook that answers when it is told to."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.waiting: list[asyncio.Future[None]] = []
        self.cancelled = 0

    async def __call__(self, *_: object) -> object:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        try:
            await future
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.answer

    async def open(self) -> None:
        """Let the call that waits longest go on."""
        await settle()
        self.waiting.pop(0).set_result(None)
        await settle()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(12):
        await asyncio.sleep(0)


def script() -> list[str]:
    return ["EHLO client.example", "XYZZY", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>", "DATA"]


@pytest.mark.parametrize("point", ASKED)
async def test_commands_behind_a_slow_hook_are_held_in_order(point: str) -> None:
    """CMD-27, C40: whatever verb a hook makes wait, all its followers are answered behind it, in order, and none is lost."""
    gate = Gate(accept() if point == "rcpt" else None)
    talk = Dialogue(**{point: gate})
    talk.connection.data_received("".join(f"{line}\r\n" for line in script()).encode())
    talk.connection.data_received(b"Subject: x\r\n\r\n.\r\nNOOP\r\n")
    assert not talk.transport.written.endswith(b"250 2.0.0 Ok\r\n")
    await gate.open()
    codes = [line[:3] for line in talk.heard() if line[3] == " "]
    assert codes == ["220", "250", "500", "250", "250", "354", "250", "250"]
    assert len(talk.intake.accepted) == 1
    assert gate.waiting == []


async def test_a_client_may_send_only_so_much_ahead() -> None:
    """CMD-27: 64 kB are held behind a command that waits, then nothing more is read until it is answered."""
    gate = Gate(accept())
    talk = Dialogue(rcpt=gate)
    talk.hello()
    talk.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    line = b"RCPT TO:<" + b"x" * 40 + b"@example.net>\r\n"
    for _ in range(MAX_HELD // len(line) - 1):
        talk.connection.data_received(line)
    assert talk.transport.reading
    talk.connection.data_received(line * 2)
    assert not talk.transport.reading
    for _ in range(MAX_HELD // len(line) + 2):
        await gate.open()
    assert talk.transport.reading
    assert talk.connection._protocol.buffered == 0


async def test_hooks_cost_a_task_only_where_they_wait() -> None:
    """ARCHITECTURE.md: without an asynchronous hook there is no task."""
    before = len(asyncio.all_tasks())
    talk = Dialogue(mail=lambda tx, sender: None, message=lambda tx: None)
    talk.begin()
    talk.send()
    assert len(asyncio.all_tasks()) == before


async def test_the_write_is_one_for_a_group() -> None:
    """ARCHITECTURE.md: a pipelined group is answered with one write."""
    talk = Dialogue()
    talk.hello()
    before = talk.transport.writes
    assert talk.codes("MAIL FROM:<a@example.org>", *["RCPT TO:<b@example.net>"] * 50, "DATA")[-1] == "354"
    assert talk.transport.writes == before + 1


@pytest.mark.parametrize("point", ASKED)
async def test_hanging_up_cancels_the_hook_that_runs(point: str) -> None:
    """PLUGINS.md: a hook that runs when the client hangs up is cancelled; nothing is stored, nothing stays behind."""
    gate = Gate(accept() if point == "rcpt" else None)
    talk = Dialogue(**{point: gate})
    talk.connection.data_received("".join(f"{line}\r\n" for line in script()).encode())
    talk.connection.data_received(b"x\r\n.\r\n")
    await settle()
    talk.hang_up()
    await settle()
    assert gate.cancelled == 1
    assert talk.intake.accepted == []
    assert len(talk.named("session.ended")) == 1
    assert all(writer.discarded for writer in talk.intake.writers)
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_verdict_for_a_client_that_left_goes_nowhere() -> None:
    """A hook that ends in the same turn in which the client leaves starts nothing."""
    gate = Gate(accept())
    talk = Dialogue(rcpt=gate)
    talk.hello()
    talk.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.net>")
    await settle()
    gate.waiting.pop().set_result(None)
    talk.hang_up()
    written = talk.transport.written
    await settle()
    assert talk.transport.written == written


@pytest.mark.parametrize("steps", range(9))
def test_a_client_may_hang_up_at_any_state(steps: int) -> None:
    """Whenever the client leaves, the session is told once, each transaction once, and no body stays open."""
    talk = Dialogue()
    for line in [*script(), "Subject: x", "", ".", "MAIL FROM:<c@example.org>"][:steps]:
        talk.say(line)
    talk.hang_up()
    assert len(talk.named("session.ended")) == 1
    assert len(talk.named("transaction.accepted")) == (steps >= 8)
    assert len(talk.named("transaction.refused")) == (3 <= steps < 8 or steps == 9)
    assert all(writer.discarded for writer in talk.intake.writers)
    assert talk.home.open == set()


def test_a_half_closed_client_gets_its_reply() -> None:
    """CMD-24: FIN behind the end of data does not take away the answer."""
    talk = Dialogue()
    talk.intake.hold = True
    talk.begin()
    talk.send()
    assert talk.connection.eof_received() is True
    assert not talk.transport.closed
    talk.intake.commit()
    assert talk.heard()[0].startswith("250 ")
    assert talk.transport.closed


def test_what_a_half_closed_client_said_is_done() -> None:
    """CMD-24: commands that came whole before FIN are answered; the connection then closes."""
    talk = Dialogue()
    talk.intake.hold = True
    talk.begin()
    talk.say("DATA")
    talk.say(b"x\r\n.\r\nNOOP\r\nNO")
    talk.connection.eof_received()
    talk.intake.commit()
    assert [line[:3] for line in talk.heard()] == ["250", "250"]
    assert talk.transport.closed
    talk.hang_up()
    assert talk.named("session.ended")[0]["reason"] == "client left"


def test_fin_in_the_midst_of_data_stores_nothing() -> None:
    """FRM-14: a message whose end never came is dropped."""
    talk = Dialogue()
    talk.begin()
    talk.say("DATA")
    talk.say(b"x\r\n.")
    talk.connection.eof_received()
    assert talk.transport.closed
    talk.hang_up()
    assert talk.intake.accepted == []


def test_quit_is_said_once_and_the_rest_ignored() -> None:
    """CMD-23: QUIT and a megabyte of junk, or a second QUIT: one 221, then close without a reset."""
    talk = Dialogue()
    talk.hello()
    assert talk.codes("QUIT", "QUIT", b"j" * 1000) == ["221"]
    assert talk.transport.ended
    assert not talk.transport.closed
    talk.say(b"QUIT\r\n" + b"j" * 500_000)
    assert talk.heard() == []
    assert talk.connection.eof_received() is False
    # a plain QUIT needs no patience
    talk = Dialogue()
    talk.hello()
    talk.say("QUIT")
    assert talk.transport.closed


def test_junk_behind_the_end_is_bounded() -> None:
    """CMD-23: a client that does not stop talking is cut off."""
    talk = Dialogue()
    talk.hello()
    talk.say("QUIT", "more")
    for _ in range(17):
        talk.connection.data_received(b"j" * 65536)
    assert talk.transport.aborted


def test_a_client_that_does_not_read_is_not_read() -> None:
    """FLD-04: unread replies are bounded by the high-water mark; reading stops, and goes on where it stood."""
    talk = Dialogue()
    talk.begin()
    talk.transport.stuck = True
    count = 12_000
    talk.connection.data_received(b"RCPT TO:<b@example.net>\r\n" * count)
    talk.loop.turn()
    assert not talk.transport.reading
    assert talk.transport.unread <= MAX_UNREAD + 16 * 1024 + 100
    before = talk.transport.writes
    talk.connection.data_received(b"RCPT TO:<b@example.net>\r\n")
    assert talk.transport.writes == before
    while not talk.transport.reading:
        talk.transport.unread = 0
        talk.connection.resume_writing()
        talk.loop.turn()
    assert len(talk.heard()) == count + 1


async def test_data_before_the_banner_is_noted_and_held() -> None:
    """CMD-21: early talk is a result that checks can score; the commands are not lost."""
    gate = Gate()
    talk = Dialogue(connect=gate)
    talk.connection.data_received(b"EHLO a.example\r\n")
    assert talk.heard() == []
    await gate.open()
    assert talk.heard()[0].startswith("220 ")
    assert talk.engine.session.results["early_talk"][0] == "fail"


@pytest.mark.parametrize("point", ["connect", "helo", "capabilities", "mail", "rcpt", "route", "data", "message"])
@pytest.mark.parametrize("slow", [False, True])
async def test_a_hook_that_raises_defers(point: str, slow: bool) -> None:
    """PLUGINS.md: an exception in a plugin is 451 4.3.0 at that verb, never a 250 and never the end of the session."""

    def fails(*_: object) -> object:
        raise RuntimeError("secret of the plugin")

    async def fails_late(*_: object) -> object:
        await asyncio.sleep(0)
        raise RuntimeError("secret of the plugin")

    talk = Dialogue(**{point: fails_late if slow else fails})
    for line in [*script(), "x", "."]:
        talk.say(line)
        await settle()
    text = talk.transport.written
    assert b"secret" not in text
    assert b"Traceback" not in text
    assert (b"451 4.3.0 " in text) or (point == "connect" and b"421 4.3.0 " in text)
    assert talk.intake.accepted == []


@pytest.mark.parametrize("point", ["queued", "reset", "disconnect"])
async def test_a_hook_that_only_listens_changes_nothing(point: str) -> None:
    """PLUGINS.md: `queued`, `reset` and `disconnect` have no verdict; a failure there is no client's business."""

    def fails(*_: object) -> object:
        raise RuntimeError

    talk = Dialogue(**{point: fails})
    talk.begin()
    assert talk.send()[0].startswith("250 ")
    talk.say("QUIT")
    talk.hang_up()
    assert len(talk.named("session.ended")) == 1


async def test_listening_hooks_that_wait_belong_to_the_listener() -> None:
    """Nobody's session waits for an asynchronous `queued` hook: it is handed to `spawn`."""
    gate = Gate()
    talk = Dialogue(queued=gate)
    talk.begin()
    assert talk.send()[0].startswith("250 ")
    (left,) = talk.spawned
    task = asyncio.ensure_future(left)
    await gate.open()
    assert task.done()


def test_our_own_failure_ends_one_session_with_421() -> None:
    """ARCHITECTURE.md: an exception in a session is logged, answered 421 4.3.0, and ends that session only."""
    talk = Dialogue()

    def broken(*_: object) -> object:
        raise RuntimeError("secret")

    talk.intake.full = broken  # type: ignore[method-assign,assignment]
    talk.hello()
    assert talk.say("MAIL FROM:<a@example.org>", "NOOP") == ["421 4.3.0 Mail system error, closing connection"]
    assert talk.transport.ended
    assert isinstance(talk.named("session.failed")[0]["exception"], RuntimeError)


def test_a_failing_machine_ends_one_session_with_421() -> None:
    """The same where the protocol itself breaks, outside any verb."""
    talk = Dialogue()
    talk.hello()
    # STARTTLS is looked up there
    talk.connection._protocol._limits = None  # type: ignore[assignment]
    assert talk.say("STARTTLS") == ["421 4.3.0 Mail system error, closing connection"]


def test_a_session_leaves_no_cycle_behind() -> None:
    """ARCHITECTURE.md: no cycles on the path of a message: what ended is freed at once, not at the next full collection."""
    talk = Dialogue(rcpt=take_all)
    # what other tests left may have finalizers, and be gone only the second time
    for _ in range(5):
        gc.collect()
    gc.disable()
    try:
        talk.begin()
        talk.send()
        talk.begin()
        talk.send()
        talk.intake.accepted.clear()
        talk.intake.writers.clear()
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("verdict", [reject("5.7.1", "No")])
async def test_denied_hooks_may_override(verdict: object) -> None:
    """PLUGINS.md: `denied` with accept() takes a refusal back; somebody must still vote for the recipient."""
    talk = Dialogue(mail=lambda tx, sender: verdict, denied=take_all)
    talk.begin()
    assert talk.send()[0].startswith("250 ")


def test_a_client_that_pipelines_without_end_takes_turns() -> None:
    """FLD-04, CMD-27: 20,000 commands in one segment are handled in pieces, so that other sessions run between them."""
    talk = Dialogue()
    talk.begin()
    count = 20_000
    talk.connection.data_received(b"RCPT TO:<b@example.net>\r\n" * count)
    turns = 0
    while talk.loop.soon:
        callback, args = talk.loop.soon.pop(0)
        callback(*args)
        turns += 1
    assert turns >= count // 250
    assert talk.transport.reading
    assert len(talk.heard()) == count


def test_a_client_that_leaves_between_its_turns_is_let_go() -> None:
    """CMD-24: what was to be done in the next turn is not done for a connection that is gone."""
    talk = Dialogue()
    talk.begin()
    talk.connection.data_received(b"RCPT TO:<b@example.net>\r\n" * 1000)
    before = talk.transport.writes
    talk.hang_up()
    talk.loop.turn()
    assert talk.transport.writes == before


@pytest.mark.parametrize(("lines", "segments", "turns"), [(50, 100, 3), (4000, 1, 1)])
def test_a_client_with_a_large_body_takes_turns(lines: int, segments: int, turns: int) -> None:
    """FLD-04: whoever always has more to read makes way for others every 128 kB, in segments of a socket as in records of TLS."""
    talk = Dialogue()
    talk.begin()
    talk.say("DATA")
    segment = (b"x" * 78 + b"\r\n") * lines
    taken = 0
    for _ in range(segments):
        talk.connection.data_received(segment)
        taken += not talk.transport.reading
        talk.loop.turn()
        assert talk.transport.reading
    assert taken == turns
    talk.connection.data_received(segment * 50)
    talk.hang_up()
    talk.loop.turn()
    assert not talk.transport.reading
