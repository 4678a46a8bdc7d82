"""Lines between workers, over real Unix sockets: what is offered is answered once, whatever happens to the other end."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.control import lines
from upesi.control.lines import LOST, MAX_OFFER, UNSURE, Answer, Lines, remove_lines

LANGUAGE = 7


class Kept:
    """A keeper's other half: remembers what came, and answers when it is told to, or at once."""

    def __init__(self, at_once: int | None = None) -> None:
        self.at_once = at_once
        self.came: list[tuple[bytes, Answer]] = []
        self._news = asyncio.Event()

    def __call__(self, data: bytes, answer: Answer) -> None:
        self.came.append((data, answer))
        self._news.set()
        if self.at_once is not None:
            answer(self.at_once)

    async def wait_for(self, count: int) -> None:
        while len(self.came) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 5)


class Told:
    """Who offered: remembers the answers."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self._news = asyncio.Event()

    def __call__(self, answer: int) -> None:
        self.answers.append(answer)
        self._news.set()

    async def wait_for(self, count: int) -> None:
        while len(self.answers) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), 5)


Make = Callable[..., "asyncio.Future[Lines]"]


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Make started `Lines` in one folder; all are closed at the end."""
    made: list[Lines] = []

    async def started(name: str, keep: Kept | None = None, language: int = LANGUAGE) -> Lines:
        one = Lines(asyncio.get_running_loop(), str(tmp_path), name, language, keep or Kept())
        await one.start()
        made.append(one)
        return one

    yield started  # type: ignore[misc]
    for one in made:
        for end in (*one._keepers, *one._givers.values()):
            end.hang_up()
    for one in made:
        await one.close()


async def offered(giver: Lines, worker: str, data: bytes, told: Answer) -> None:
    """Offer until it goes: the line may still be on its way."""
    await until(lambda: giver.offer(worker, data, told))


async def until(claim: Callable[[], bool]) -> None:
    """Wait until `claim` is true, five seconds at most."""
    for _ in range(1000):
        if claim():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come true")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_what_is_offered_comes_whole_and_each_offer_has_its_own_answer(make: Make) -> None:
    kept, first, second = Kept(), Told(), Told()
    await make("2", kept)
    giver = await make("1")
    await offered(giver, "2", b"one\r\n\0", first)
    assert giver.offer("2", b"x" * MAX_OFFER, second)
    await kept.wait_for(2)
    assert [data for data, _ in kept.came] == [b"one\r\n\0", b"x" * MAX_OFFER]
    kept.came[1][1](3)
    await second.wait_for(1)
    assert (first.answers, second.answers) == ([], [3])
    kept.came[0][1](0)
    await first.wait_for(1)
    assert (first.answers, second.answers) == ([0], [3])


async def test_nobody_waits_for_a_line_that_is_not_there(make: Make) -> None:
    """An offer to nobody is declined at once, and no answer ever comes; when there is somebody, it goes."""
    giver, told = await make("1"), Told()
    assert not giver.offer("2", b"a", told)
    await asyncio.sleep(0.02)
    assert told.answers == []
    kept = Kept(at_once=0)
    await make("2", kept)
    await offered(giver, "2", b"b", told)
    await told.wait_for(1)
    assert [data for data, _ in kept.came] == [b"b"]


async def test_a_worker_that_cannot_be_reached_is_not_tried_for_every_offer(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    giver = await make("1")
    tried = 0

    async def connected(worker: str) -> None:
        nonlocal tried
        tried += 1

    monkeypatch.setattr(Lines, "_connected", lambda self, worker: connected(worker))
    for _ in range(50):
        assert not giver.offer("2", b"a", Told())
        await asyncio.sleep(0)
    assert tried == 1


async def test_who_speaks_another_language_is_offered_nothing(make: Make) -> None:
    """A reload after an upgrade: what one version writes the other may read as something else."""
    kept = Kept(at_once=0)
    await make("2", kept, language=LANGUAGE + 1)
    giver = await make("1")
    giver.meet(["2"])
    await asyncio.sleep(0.05)
    assert not giver.offer("2", b"a", Told())
    assert kept.came == []


async def test_what_is_unanswered_when_the_line_ends_alone_is_unsure(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process lives (here: it is our own) and may still be keeping it: whoever wrote it once more would have it twice."""
    monkeypatch.setattr(lines, "_DEATH", 0.05)
    kept, told = Kept(), Told()
    keeper = await make("2", kept)
    giver = await make("1")
    for _ in range(3):
        await offered(giver, "2", b"a", told)
    await kept.wait_for(3)
    kept.came[0][1](0)
    await told.wait_for(1)
    for end in tuple(keeper._keepers):
        end.hang_up()
    await asyncio.sleep(0.01)
    assert told.answers == [0]
    await told.wait_for(3)
    assert told.answers == [0, UNSURE, UNSURE]
    # too late: nobody is there to be told, and nothing breaks
    kept.came[1][1](0)
    await asyncio.sleep(0.02)
    assert told.answers == [0, UNSURE, UNSURE]


# A worker in a process of its own: keeps what it is offered, answers the first, and lets a forked child hold its descriptors
_OTHER = """
import asyncio, os, sys
from upesi.control.lines import Lines

def keep(data, answer):
    if data == b"first":
        answer(0)
    elif data == b"fork" and not os.fork():
        os.close(1)
        import time
        time.sleep(60)
        os._exit(0)
    print(data.decode(), flush=True)

async def main():
    await Lines(asyncio.get_running_loop(), sys.argv[1], "2", 7, keep).start()
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OTHER, str(tmp_path), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    yield process
    with contextlib.suppress(ProcessLookupError):
        # its forked child too
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


@pytest.mark.parametrize("what", [b"second", b"fork"])
async def test_what_a_dead_process_left_unanswered_is_lost(
    make: Make, other: asyncio.subprocess.Process, what: bytes
) -> None:
    """Also where a child that it forked still holds the line open (a plugin's pool of processes): nobody waits for that one."""
    giver, first, second = await make("1"), Told(), Told()
    await offered(giver, "2", b"first", first)
    assert giver.offer("2", what, second)
    await first.wait_for(1)
    assert other.stdout is not None
    assert [await other.stdout.readline() for _ in range(2)] == [b"first\n", what + b"\n"]
    os.kill(other.pid, signal.SIGKILL)
    await second.wait_for(1)
    assert (first.answers, second.answers) == ([0], [LOST])
    await until(lambda: not giver._givers)


async def test_one_that_cannot_take_its_answer_keeps_no_news_from_the_others(make: Make) -> None:
    """A mistake in one session: its neighbours on the line are told what became of theirs, and the line lives."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context["exception"]))

    def mistaken(answer: int) -> None:
        raise RuntimeError("a mistake")

    kept, told = Kept(), Told()
    await make("2", kept)
    giver = await make("1")
    await offered(giver, "2", b"a", mistaken)
    assert giver.offer("2", b"b", told)
    await kept.wait_for(2)
    for _, answer in kept.came:
        answer(0)
    await told.wait_for(1)
    assert (told.answers, [str(error) for error in errors]) == ([0], ["a mistake"])
    assert giver.offer("2", b"c", told)


async def test_a_line_that_comes_at_the_goodbye_hears_it(make: Make) -> None:
    keeper, giver = await make("2"), await make("1")
    giver.meet(["2"])
    await until(lambda: bool(keeper._keepers))
    keeper.say_goodbye()
    await until(lambda: not keeper._keepers)


async def test_more_than_may_be_unanswered_is_declined(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """RES-05: what waits for an answer is bounded in number and in octets."""
    monkeypatch.setattr(lines, "MAX_OFFERS", 4)
    monkeypatch.setattr(lines, "MAX_OFFERED", 1000)
    kept, told = Kept(), Told()
    await make("2", kept)
    giver = await make("1")
    await offered(giver, "2", b"a", told)
    assert [giver.offer("2", b"a", told) for _ in range(5)] == [True, True, True, False, False]
    await kept.wait_for(4)
    for _, answer in kept.came:
        answer(0)
    await told.wait_for(4)
    assert giver.offer("2", b"x" * 1000, told)
    assert not giver.offer("2", b"a", told)
    await kept.wait_for(5)
    kept.came[4][1](0)
    await told.wait_for(5)
    assert giver.offer("2", b"a", told)


async def test_an_offer_that_is_too_long_is_declined(make: Make) -> None:
    kept, told = Kept(at_once=0), Told()
    await make("2", kept)
    giver = await make("1")
    await offered(giver, "2", b"a", told)
    assert not giver.offer("2", b"x" * (MAX_OFFER + 1), told)
    await told.wait_for(1)
    assert [data for data, _ in kept.came] == [b"a"]


async def test_who_answers_nothing_for_a_while_is_offered_nothing_more(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that hangs is killed after seconds; until then it must not gather everybody's mail."""
    monkeypatch.setattr(lines, "_SILENT", 0.05)
    kept, told = Kept(), Told()
    await make("2", kept)
    giver = await make("1")
    await offered(giver, "2", b"a", told)
    await kept.wait_for(1)
    assert giver.offer("2", b"b", told)
    await asyncio.sleep(0.1)
    assert not giver.offer("2", b"c", told)
    kept.came[0][1](0)
    await told.wait_for(1)
    assert giver.offer("2", b"d", told)


async def test_a_goodbye_loses_nothing(make: Make) -> None:
    """A worker that leaves is offered nothing more, answers what it has, and only then the line ends."""
    kept, told = Kept(), Told()
    keeper = await make("2", kept)
    giver = await make("1")
    await offered(giver, "2", b"a", told)
    await kept.wait_for(1)
    closing = asyncio.ensure_future(keeper.close())
    await until(lambda: not giver._givers["2"]._open)
    assert not giver.offer("2", b"b", told)
    assert not closing.done()
    kept.came[0][1](0)
    await asyncio.wait_for(closing, 5)
    assert told.answers == [0]


async def test_a_giver_that_does_not_hang_up_is_waited_for_within_a_bound(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "_GOODBYE", 0.05)
    monkeypatch.setattr(lines, "_DEATH", 0.05)
    kept, told = Kept(), Told()
    keeper = await make("2", kept)
    await offered(await make("1"), "2", b"a", told)
    await kept.wait_for(1)
    await asyncio.wait_for(keeper.close(), 2)
    await told.wait_for(1)
    assert told.answers == [UNSURE]


async def test_a_closed_worker_leaves_no_socket_and_a_killed_ones_is_removed(make: Make, tmp_path: Path) -> None:
    one = await make("1")
    path = tmp_path / "line.1"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    await one.close()
    assert not path.exists()
    for name in ("line.3", "line.3.99", "line.34", "hints.3"):
        (tmp_path / name).touch()
    remove_lines(str(tmp_path), "3")
    assert names_in(tmp_path) == ["hints.3", "line.34"]
    remove_lines(str(tmp_path))
    assert names_in(tmp_path) == ["hints.3"]


async def raw(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    sock.connect(str(path))
    reader, writer = await asyncio.open_unix_connection(sock=sock)
    # its language
    assert await reader.readexactly(5) == b"\0\0\0\1\7"
    return reader, writer


def frame(what: object) -> bytes:
    body = msgspec.msgpack.encode(what)
    return len(body).to_bytes(4, "big") + body


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\1\xc1",
        frame("text"),
        frame([[1, "text"]]),
        frame([[1]]),
        frame([["one", b"a"]]),
        frame({"a": 1}),
        b"\0\0\0\0",
    ],
)
async def test_who_sends_what_is_no_frame_is_hung_up_on(make: Make, tmp_path: Path, data: bytes) -> None:
    kept = Kept()
    await make("2", kept)
    reader, writer = await raw(tmp_path / "line.2")
    writer.write(data)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert kept.came == []


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
async def test_frames_may_come_in_pieces(make: Make, tmp_path: Path, size: int) -> None:
    """Split anywhere, they say the same."""
    kept = Kept(at_once=2)
    await make("2", kept)
    reader, writer = await raw(tmp_path / "line.2")
    data = frame([[1, b"first"], [2, b""]]) + frame([[3, b"x" * 20]])
    for start in range(0, len(data), size):
        writer.write(data[start : start + size])
        await asyncio.sleep(0)
    await kept.wait_for(3)
    assert [what for what, _ in kept.came] == [b"first", b"", b"x" * 20]
    answers: list[list[int]] = []
    while len(answers) < 3:
        length = int.from_bytes(await asyncio.wait_for(reader.readexactly(4), 5), "big")
        answers += msgspec.msgpack.decode(await reader.readexactly(length))
    assert sorted(answers) == [[1, 2], [2, 2], [3, 2]]
    writer.close()


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_any_octets_are_frames_or_end_the_line(pieces: list[bytes]) -> None:
    """Parses or hangs up: nothing is raised, whatever comes."""
    loop = asyncio.new_event_loop()
    with contextlib.closing(loop):
        for end in (
            lines._Keeper(loop, LANGUAGE, lambda data, answer: None, lambda _: None),
            lines._Giver(loop, LANGUAGE, lambda _: None),
        ):
            for piece in pieces:
                end.data_received(piece)
