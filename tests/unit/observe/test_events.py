"""Events: one clean, bounded line each, whatever clients wrote (LOG-01); nothing that waits (LOG-02)."""

import asyncio
import json
import os
import re
import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.config.settings import LogFormat, LogSettings
from upesi.observe.console import console_renderer
from upesi.observe.events import MAX_FIELD, Events
from upesi.observe.setup import StandardLog, make_events
from upesi.observe.sink import FileSink

UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Lines:
    """A sink that keeps what it gets; `lost` makes it look as if some had been dropped."""

    def __init__(self) -> None:
        self.data = b""
        self.writes = 0
        self.dropped = 0
        self.closed = False

    def write(self, lines: bytes, count: int) -> None:
        self.data += lines
        self.writes += 1

    def close(self) -> None:
        self.closed = True

    @property
    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.data.splitlines()]


class FakeLoop:
    """Keeps timers until they are fired by hand."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, object]] = []

    def call_later(self, delay: float, callback: object) -> "FakeLoop":
        self.timers.append((delay, callback))
        return self

    def cancel(self) -> None:
        self.timers.clear()


def events_to(sink: Lines, **more: object) -> Events:
    return Events(sink, now=lambda: 1700000000.5, **more)  # type: ignore[arg-type]


def test_an_event_is_one_json_line_with_time_name_and_common_fields() -> None:
    """The wide event: who, what, when, in one record."""
    sink = Lines()
    events_to(sink, common={"worker": 3}).emit("transaction.accepted", {"id": "ab", "size": 42, "tls": None})
    assert sink.records == [
        {
            "time": "2023-11-14T22:13:20.500Z",
            "event": "transaction.accepted",
            "worker": 3,
            "id": "ab",
            "size": 42,
            "tls": None,
        }
    ]


NASTY = [
    "a\r\nb",
    "\x1b[31mred",
    "nul\x00",
    "line\u2028sep",
    "\u202eoverride",
    "\x85",
    "\x7f",
    "x" * 1_000_000,
    "\udcff",
    "é" * 5000,
]


@pytest.mark.parametrize("value", NASTY)
@pytest.mark.parametrize(
    "wrap", [lambda v: v, lambda v: [v], lambda v: {"k": v}, lambda v: v.encode("utf-8", "surrogatepass")]
)
def test_no_value_shapes_the_log(value: str, wrap) -> None:
    """LOG-01: CR, LF, ESC, NUL, U+2028, overrides and a megabyte become one clean line of at most 2 kB a field."""
    sink = Lines()
    events_to(sink).emit("session.ended", {"helo": wrap(value)})
    text = sink.data.decode()
    assert text.count("\n") == 1
    assert not UNSAFE.search(text[:-1])
    assert len(sink.data) < MAX_FIELD + 200
    json.loads(text)


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.recursive(st.text() | st.binary() | st.integers() | st.floats() | st.none(), st.lists),
    )
)
def test_whatever_is_passed_in_becomes_exactly_one_line(fields: dict[str, object]) -> None:
    """An event never raises and never breaks the stream."""
    sink = Lines()
    events_to(sink).emit("x.y", fields)  # type: ignore[arg-type]
    assert sink.data.count(b"\n") == 1
    assert json.loads(sink.data)["event"] == "x.y"


def test_a_long_value_says_how_long_it_was() -> None:
    """What was cut is visible as cut."""
    sink = Lines()
    events_to(sink).emit("x.y", {"helo": "h" * 5000, "many": list(range(1000))})
    record = sink.records[0]
    assert str(record["helo"]).endswith("h... (5000 in all)")
    assert record["many"] == list(range(50))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_value_whose_text_raises_ends_nothing(error: type[BaseException]) -> None:
    """PLG-01: a plugin may leave anything in a session, and its events tell of it; "never raises" holds for all that Python can contain."""

    class Hostile:
        def __str__(self) -> str:
            raise error("secret of the plugin")

    sink = Lines()
    events = events_to(sink)
    events.emit("session.ended", {"session": Hostile(), "list": [Hostile()], "code": 250})  # type: ignore[dict-item]
    events.flush()
    (record,) = sink.records
    assert record["code"] == 250
    assert "Hostile that cannot be written" in str(record["session"])
    assert "secret" not in str(record)


def test_events_are_written_together() -> None:
    """Many events in one turn of the loop are one write, at most 50 ms later."""
    sink, loop = Lines(), FakeLoop()
    events = events_to(sink, loop=loop)
    for _ in range(100):
        events.emit("x.y", {})
    assert sink.writes == 0
    ((delay, fire),) = loop.timers
    assert delay <= 0.05
    fire()  # type: ignore[operator]
    assert (sink.writes, len(sink.records)) == (1, 100)


def test_a_flood_is_written_before_the_timer() -> None:
    """The buffer is bounded: 64 kB are handed on at once."""
    sink, loop = Lines(), FakeLoop()
    events = events_to(sink, loop=loop)
    for _ in range(100):
        events.emit("x.y", {"text": "t" * 2000})
    assert sink.writes == 3
    events.close()
    assert len(sink.records) == 100
    assert sink.closed


def test_events_of_other_threads_are_carried_to_the_loop() -> None:
    """The store's writer and libraries' threads may report; buffer and timer are touched by the loop's thread alone."""
    sink = Lines()

    async def main() -> None:
        events = events_to(sink, loop=asyncio.get_running_loop())
        threads: list[int] = []
        write = sink.write
        sink.write = lambda *a: (threads.append(threading.get_ident()), write(*a))[1]  # type: ignore[method-assign]
        await asyncio.get_running_loop().run_in_executor(None, events.emit, "a.b", {"from": "a thread"})
        await asyncio.sleep(0)
        events.close()
        assert threads == [threading.get_ident()]

    asyncio.run(main())
    assert [record["from"] for record in sink.records] == ["a thread"]


def test_lost_events_are_told_once_the_stream_flows_again() -> None:
    """LOG-02: a gap must not look like silence."""
    sink = Lines()
    events = events_to(sink)
    sink.dropped = 7
    events.emit("x.y", {})
    events.emit("x.y", {})
    assert [record["event"] for record in sink.records] == ["x.y", "log.dropped", "x.y"]
    assert sink.records[1]["events"] == 7


def test_what_is_reported_after_the_end_is_dropped_and_ends_nothing(tmp_path: Path) -> None:
    """LOG-02: a worker reports as it ends, and its sink may be closed: each loss was told by a write that was lost as well, without end."""
    sink = FileSink(str(tmp_path / "log"))
    events = events_to(sink)
    events.emit("a.b", {})
    events.close()
    for _ in range(3):
        events.emit("x.y", {})
    assert sink.dropped >= 3
    assert [json.loads(line)["event"] for line in (tmp_path / "log").read_text().splitlines()] == ["a.b"]


def test_an_exception_is_logged_once_with_its_traceback() -> None:
    """The same exception seen again on its way up is named, not printed again."""
    sink = Lines()
    events = events_to(sink)
    try:
        raise ValueError("bad\nnews")
    except ValueError as error:
        events.failure("plugin.failed", error, {"plugin": "p"})
        events.failure("session.failed", error, {})
    first, second = sink.records
    assert first["error"] == "ValueError: bad?news"
    assert any("test_an_exception_is_logged_once" in line for line in first["traceback"])  # type: ignore[union-attr]
    assert "traceback" not in second
    assert second["error"] == first["error"]


def test_console_lines_are_for_reading() -> None:
    """Plain columns without a terminal, colour with one, and tracebacks on lines of their own."""
    record: dict[str, object] = {
        "time": "2023-11-14T22:13:20.500Z",
        "event": "delivery.deferred",
        "to": "a b",
        "n": 1.23456789,
    }
    assert console_renderer(colour=False)(record) == b"22:13:20.500 delivery.deferred        to='a b' n=1.235"
    assert b"\x1b[33mdelivery.deferred" in console_renderer(colour=True)({**record, "traceback": ["one", "two"]})
    assert console_renderer(colour=False)({**record, "traceback": ["one", "two"]}).endswith(b"\n    one\n    two")


def test_json_goes_to_a_file_and_is_appended(tmp_path: Path) -> None:
    """`[log] file`: what was there stays, and lines are whole."""
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    events = make_events(LogSettings(file=str(path), format=LogFormat.AUTO), now=lambda: 0.0, common={"worker": 1})
    events.emit("a.b", {"x": 1})
    events.close()
    old, new = path.read_bytes().splitlines()
    assert old == b"old"
    assert msgspec.json.decode(new) == {"time": "1970-01-01T00:00:00.000Z", "event": "a.b", "worker": 1, "x": 1}


def test_standard_logging_comes_through_as_events() -> None:
    """asyncio's complaints are events like all others."""
    import logging

    sink = Lines()
    logger = logging.Logger("asyncio")
    logger.addHandler(StandardLog(events_to(sink)))
    logger.warning("Executing %s took\r\n%s seconds", "it", 3)
    logger.info("not this")
    try:
        raise KeyError("k")
    except KeyError:
        logger.exception("broken")
    assert [(record["event"], record["level"]) for record in sink.records] == [
        ("log.asyncio", "warning"),
        ("log.asyncio", "error"),
    ]
    assert sink.records[0]["text"] == "Executing it took??3 seconds"
    assert sink.records[1]["error"] == "KeyError: 'k'"


def test_a_blocked_pipe_drops_and_counts_and_never_waits() -> None:
    """LOG-02: nobody reads standard error; the loop goes on and the loss is counted."""
    reader, writer = os.pipe()
    sink = FileSink(fd=writer, limit=200_000)
    started = time.monotonic()
    line = b"x" * 999 + b"\n"
    for _ in range(1000):
        sink.write(line, 1)
    assert time.monotonic() - started < 30
    assert sink.dropped >= 700
    # the reader comes back: what was kept arrives, in whole lines
    got = bytearray()
    thread = threading.Thread(target=lambda: drain(reader, got))
    thread.start()
    sink.close()
    os.close(writer)
    thread.join(60)
    assert len(got) == (1000 - sink.dropped) * 1000
    assert set(bytes(got).split(b"\n")) == {b"x" * 999, b""}


def drain(reader: int, into: bytearray) -> None:
    while data := os.read(reader, 65536):
        into += data
    os.close(reader)


def test_a_full_disk_loses_lines_and_is_not_an_error() -> None:
    """LOG-02: ENOSPC is counted; the process goes on."""
    sink = FileSink("/dev/full")
    sink.write(b"lost\n", 1)
    sink.close()
    assert sink.dropped == 1


def test_a_rotated_file_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LOG-02: logrotate moves the file away; lines go to the new one without a signal."""
    monkeypatch.setattr("upesi.observe.sink._ROTATION_SECONDS", 0.0)
    path = tmp_path / "log"
    sink = FileSink(str(path))
    sink.write(b"one\n", 1)
    wait_for(lambda: path.stat().st_size == 4)
    path.rename(tmp_path / "log.1")
    sink.write(b"two\n", 1)
    sink.close()
    assert path.read_bytes() == b"two\n"
    assert (tmp_path / "log.1").read_bytes() == b"one\n"


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_log_file_that_cannot_be_opened_stops_the_start(tmp_path: Path) -> None:
    """A wrong path is the operator's to know at once."""
    with pytest.raises(FileNotFoundError):
        FileSink(str(tmp_path / "no" / "log"))
