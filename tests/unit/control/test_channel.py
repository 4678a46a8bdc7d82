"""Channels between processes and the control socket, over real Unix sockets (they are the thing under test)."""

import asyncio
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from upesi.control.channel import Call, Channel, Peer
from upesi.control.client import ControlClient
from upesi.control.errors import ChannelClosed, RequestFailed, RequestTimeout, ServerDown
from upesi.control.frames import Frame, FrameError, Kind, encode_frame
from upesi.control.hints import Hints
from upesi.control.paths import socket_address
from upesi.control.server import ControlInUse, ControlServer
from upesi.mail.errors import UpesiError


class Failures:
    """Remembers what handlers raised."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, BaseException]] = []

    def __call__(self, name: str, error: BaseException) -> None:
        self.seen.append((name, error))


async def pair(left: dict[str, Callable[[Call], object]], right: dict[str, Callable[[Call], object]]):
    one, two = socket.socketpair()
    failures = Failures()
    ends = [await Channel.open(sock, handlers, failed=failures) for sock, handlers in ((one, left), (two, right))]
    return *ends, failures


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def ask(path: str, name: str) -> object:
    with ControlClient(path, timeout=5) as client:
        return client.request(name)


async def in_thread(work: Callable[[], object]) -> object:
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def test_both_ends_may_ask_and_answers_may_overtake_each_other() -> None:
    """Requests are matched to replies by id, whichever is ready first."""
    slow = asyncio.Event()

    async def wait(call: Call) -> object:
        await slow.wait()
        return "slow"

    left, right, _ = await pair({"left": lambda call: "from left"}, {"wait": wait, "echo": lambda call: call.arguments})
    first = asyncio.ensure_future(left.request("wait", timeout=5))
    assert await left.request("echo", {"a": [1, b"x", None]}, timeout=5) == {"a": [1, b"x", None]}
    assert await right.request("left", timeout=5) == "from left"
    slow.set()
    assert await first == "slow"
    left.close()
    right.close()


async def test_a_notice_arrives_and_gets_no_answer() -> None:
    """Notices are fire and forget: an unknown or failing one sends nothing back."""
    seen: list[Call] = []
    left, right, failures = await pair({}, {"here": seen.append, "bad": lambda call: 1 / 0})
    assert left.notify("here", {"worker": 3})
    assert left.notify("unknown")
    assert left.notify("bad")
    with pytest.raises(RequestFailed, match="not known"):
        await left.request("nothing", timeout=5)
    assert seen == [Call("here", {"worker": 3}, None)]
    assert [name for name, _ in failures.seen] == ["bad"]
    left.close()
    right.close()


async def test_a_request_without_an_answer_ends_at_its_deadline() -> None:
    """A hung worker does not hang the supervisor."""
    left, right, _ = await pair({}, {"hang": lambda call: asyncio.Event().wait()})
    with pytest.raises(RequestTimeout):
        await left.request("hang", timeout=0.02)
    left.close()
    right.close()


async def test_a_closed_end_fails_what_waits_and_is_announced_once() -> None:
    """The supervisor learns of a worker's death from its channel."""
    one, two = socket.socketpair()
    closed: list[Channel] = []
    left = await Channel.open(one, {}, failed=Failures(), closed=closed.append)
    waiting = asyncio.ensure_future(left.request("x", timeout=5))
    await asyncio.sleep(0)
    two.close()
    with pytest.raises(ChannelClosed):
        await waiting
    assert closed == [left]
    assert not left.notify("more")
    assert left.dropped == 1


async def test_the_text_of_our_errors_is_sent_and_of_others_only_the_kind() -> None:
    """A failed request says what the operator can use; a bug is logged where it happened."""

    def known(call: Call) -> object:
        raise UpesiError("the spool is full")

    def bug(call: Call) -> object:
        raise KeyError("secret")

    left, right, failures = await pair({}, {"known": known, "bug": bug})
    with pytest.raises(RequestFailed, match="the spool is full"):
        await left.request("known", timeout=5)
    with pytest.raises(RequestFailed, match="KeyError") as caught:
        await left.request("bug", timeout=5)
    assert "secret" not in str(caught.value)
    assert [name for name, _ in failures.seen] == ["bug"]
    left.close()
    right.close()


async def test_an_end_that_does_not_read_costs_no_memory() -> None:
    """Past 16 MB of unread frames notices are dropped and counted."""
    one, two = socket.socketpair()
    left = await Channel.open(one, {}, failed=Failures())
    piece = b"x" * 1_000_000
    sent = sum(left.notify("fill", piece) for _ in range(40))
    assert 16 <= sent <= 19
    assert left.dropped == 40 - sent
    two.close()
    left.close()


async def test_arguments_of_the_wrong_shape_are_a_failed_request() -> None:
    """What another version sends cannot raise in a handler's middle."""
    assert Call("x", {"a": 1}).arguments_as(dict[str, int]) == {"a": 1}
    with pytest.raises(RequestFailed, match=r"x: Expected `int`"):
        Call("x", {"a": "b"}).arguments_as(dict[str, int])


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ControlServer]:
    async def count(call: Call) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    handlers = {"echo": lambda call: call.arguments, "who": lambda call: call.peer, "count": count}
    server = ControlServer(str(tmp_path / "control.sock"), handlers, failed=Failures())
    await server.start()
    yield server
    await server.stop()


async def test_the_command_line_asks_and_streams(server: ControlServer, tmp_path: Path) -> None:
    """The blocking client gets results, pieces, and the peer's identity is the kernel's word."""

    def work() -> object:
        with ControlClient(str(tmp_path / "control.sock"), timeout=5) as client:
            who = client.request("who")
            return client.request("echo", [1, 2]), list(client.stream("count")), who

    assert await in_thread(work) == (
        [1, 2],
        [0, 1, 2],
        {"pid": os.getpid(), "uid": os.getuid(), "gid": os.getgid()},
    )


async def test_the_socket_is_for_its_owner_alone(server: ControlServer, tmp_path: Path) -> None:
    """ADM-04: the file's mode is 0600."""
    mode = stat.S_IMODE((tmp_path / "control.sock").stat().st_mode)
    assert mode == 0o600


async def test_another_user_is_told_why_and_hung_up_on(tmp_path: Path) -> None:
    """ADM-04: peer credentials decide, and nothing that a stranger asks reaches a handler."""
    calls: list[Call] = []
    path = str(tmp_path / "control.sock")
    stranger = Peer(pid=1, uid=54321, gid=1)
    server = ControlServer(
        path, {"stop": calls.append}, failed=Failures(), peer=lambda _: stranger, allowed=frozenset((0,))
    )
    await server.start()

    def work() -> object:
        with ControlClient(path, timeout=5) as client:
            return client.request("stop")

    with pytest.raises(RequestFailed, match="only the server's user"):
        await in_thread(work)
    assert calls == []
    await server.stop()


async def test_another_version_is_named_on_both_sides(server: ControlServer, tmp_path: Path) -> None:
    """During an upgrade the command line is new and the server is old: both say so."""
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
    writer.write(encode_frame(Frame(Kind.REQUEST, 1, "echo"), version=9))
    answer = await asyncio.wait_for(reader.read(), 5)
    assert b"speaks version 9" in answer
    writer.close()


def test_a_client_of_another_version_is_told_to_restart(tmp_path: Path) -> None:
    """The client names the other version instead of guessing at its frames."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(encode_frame(Frame(Kind.REPLY, 1, "x", 1), version=2))
                connection.recv(1000)

        thread = threading.Thread(target=answer)
        thread.start()
        with ControlClient(path, timeout=5) as client, pytest.raises(FrameError, match=r"version 2.*restart"):
            client.request("x")
        thread.join(5)


async def test_a_live_socket_is_not_taken_and_a_stale_one_is(server: ControlServer, tmp_path: Path) -> None:
    """A second server on the same spool is refused; one that was killed leaves nothing in the way."""
    path = str(tmp_path / "control.sock")
    with pytest.raises(ControlInUse):
        await ControlServer(path, {}, failed=Failures()).start()
    stale = str(tmp_path / "stale.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(stale)
    second = ControlServer(stale, {"echo": lambda call: "alive"}, failed=Failures())
    await second.start()
    assert await in_thread(lambda: ask(stale, "echo")) == "alive"
    await second.stop()
    assert "stale.sock" not in names_in(tmp_path)


async def test_a_stopped_server_leaves_its_successors_socket(tmp_path: Path) -> None:
    """A reload's new supervisor may already listen under the name."""
    path = tmp_path / "control.sock"
    server = ControlServer(str(path), {}, failed=Failures())
    await server.start()
    path.unlink()
    path.write_text("successor")
    await server.stop()
    assert path.read_text() == "successor"


def test_no_server_is_said_in_one_error(tmp_path: Path) -> None:
    """Missing, stale and impossible paths are all: nobody answers."""
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    for path in (tmp_path / "none", tmp_path / "no" / "folder", stale):
        with pytest.raises(ServerDown):
            ControlClient(str(path))


async def test_a_path_beyond_107_octets_works(tmp_path: Path) -> None:
    """unix(7) bounds the address, not where a spool may lie."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    path = str(folder / "control.sock")
    server = ControlServer(path, {"echo": lambda call: "deep"}, failed=Failures())
    await server.start()
    assert await in_thread(lambda: ask(path, "echo")) == "deep"
    await server.stop()
    with socket_address(path) as address:
        assert len(address) < 107


async def test_hints_of_one_turn_arrive_together(tmp_path: Path) -> None:
    """A thousand messages for one worker are one datagram with each queue once."""
    loop = asyncio.get_running_loop()
    got: list[list[str]] = []
    arrived = asyncio.Event()

    def received(queues: list[str]) -> None:
        got.append(queues)
        arrived.set()

    one = Hints(loop, str(tmp_path), "1", lambda _: None)
    two = Hints(loop, str(tmp_path), "2", received)
    for number in range(1000):
        one.send("2", f"domain:{number % 3}.example")
    await asyncio.wait_for(arrived.wait(), 5)
    assert got == [["domain:0.example", "domain:1.example", "domain:2.example"]]
    one.close()
    two.close()
    assert names_in(tmp_path) == []


async def test_a_hint_to_nobody_and_too_many_hints_are_dropped_and_counted(tmp_path: Path) -> None:
    """A hint never waits: the owner polls the store in any case."""
    hints = Hints(asyncio.get_running_loop(), str(tmp_path), "1", lambda _: None)
    hints.send("gone", "domain:a.example")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert hints.dropped == 1
    for number in range(300):
        hints.send("gone", f"domain:{number}.example")
    assert hints.dropped == 1 + 300 - 256
    hints.close()


async def test_a_datagram_that_is_no_hint_is_ignored(tmp_path: Path) -> None:
    """What another version sends cannot end a worker."""
    got: list[list[str]] = []
    arrived = asyncio.Event()

    def received(queues: list[str]) -> None:
        got.append(queues)
        arrived.set()

    loop = asyncio.get_running_loop()
    two = Hints(loop, str(tmp_path), "2", received)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.sendto(b"\xc1nonsense", str(tmp_path / "hints.2"))
        other.sendto(b"\x91\xa1q", str(tmp_path / "hints.2"))
    await asyncio.wait_for(arrived.wait(), 5)
    assert got == [["q"]]
    two.close()


async def test_a_name_of_megabytes_is_answered_in_few_octets_and_nothing_fails() -> None:
    """What a caller calls its request is cut in answers and errors: it can neither break them nor fill our log."""
    left, right, failures = await pair({}, {})
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
    with pytest.raises(RequestFailed, match="is not known here") as caught:
        await left.request("x" * 9_000_000, timeout=20)
    assert len(str(caught.value)) < 300
    assert not raised
    assert not failures.seen
    left.close()
    right.close()
