"""Plugins that fail, hang and resist: PLUGINS, "Rules that the framework keeps"; PLG-01, PLG-02."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from upesi.config.problems import ConfigError
from upesi.hooks.discovery import file_source
from upesi.hooks.guard import BREAK_AFTER, BREAK_FOR, CANCEL_GRACE, MAX_RESISTING
from upesi.hooks.loading import plugin_from
from upesi.hooks.points import POINTS
from upesi.hooks.registry import Hooks
from upesi.hooks.session import TransactionRecipient
from upesi.hooks.verdict import Verdict, VerdictKind, accept, reject
from upesi.mail.address import Address
from upesi.testkit import FakeClock, run_virtual

from .hookkit import Bench, answering, answering_later

ERRORS = (ValueError, RecursionError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration)


def raising(error: type[BaseException]) -> Callable[..., object]:
    def hook(*arguments: object) -> object:
        raise error("secret of the plugin")

    return hook


def raising_later(error: type[BaseException]) -> Callable[..., object]:
    async def hook(*arguments: object) -> object:
        await asyncio.sleep(0)
        raise error("secret of the plugin")

    return hook


async def run(hooks: Hooks, bench: Bench, point: str) -> object:
    """Run one point of a session with as many arguments as it has."""
    answer = getattr(hooks, point).run(bench.session, bench.tx, *POINTS[point].arguments[1:])
    return await answer if isinstance(answer, Awaitable) else answer


def is_trouble(answer: object) -> bool:
    return isinstance(answer, Verdict) and str(answer.reply) == "451 4.3.0 Temporary failure, please try again later"


@pytest.mark.parametrize("make", [raising, raising_later])
@pytest.mark.parametrize("point", POINTS)
def test_an_exception_at_any_point_defers_or_is_contained(point: str, make: Callable[..., Callable[..., object]]):
    """PLG-01: 451 4.3.0 by default, never a 250 by accident; where there is nobody to defer it is counted and logged."""
    bench = Bench()
    hooks = bench.hooks(bench.hook(point, make(ValueError)))
    answer = run_virtual(run(hooks, bench, point))
    assert is_trouble(answer) if POINTS[point].defers else answer is None
    assert bench.names() == ["plugin.failed"]
    fields = bench.events[0][1]
    assert (fields["plugin"], fields["hook"], fields["reason"]) == ("one", point, "ValueError")
    assert isinstance(fields["exception"], ValueError)
    assert bench.guards["one"].failures == 1


@pytest.mark.parametrize("make", [raising, raising_later])
@pytest.mark.parametrize("error", ERRORS)
def test_whatever_a_plugin_raises_is_contained(error: type[BaseException], make: Callable[..., Callable[..., object]]):
    """PLG-02: BaseException too; sys.exit() in a plugin ends nothing but its hook, and its text never reaches the reply."""
    bench = Bench()
    answer = run_virtual(run(bench.hooks(bench.hook("message", make(error))), bench, "message"))
    assert is_trouble(answer)


@pytest.mark.parametrize("make", [raising, raising_later])
def test_a_plugin_that_asked_for_it_is_passed_over_when_it_fails(make: Callable[..., Callable[..., object]]):
    """on_error = "continue": the rest of the chain decides."""
    bench = Bench()
    hooks = bench.hooks(
        bench.hook("rcpt", make(ValueError), defers=False), bench.hook("rcpt", answering(accept()), "list")
    )
    assert run_virtual(run(hooks, bench, "rcpt")) == accept()
    assert bench.names() == ["plugin.failed"]


@pytest.mark.parametrize("make", [answering, answering_later])
@pytest.mark.parametrize("junk", [True, False, 0, 250, "OK", b"", object(), [], (1, 2), reject])
def test_an_answer_that_is_no_verdict_is_a_failure(junk: object, make: Callable[[object], Callable[..., object]]):
    """PLG-02: junk is not acceptance."""
    bench = Bench()
    assert is_trouble(run_virtual(run(bench.hooks(bench.hook("message", make(junk))), bench, "message")))
    assert "takes accept, reject, defer, None" in str(bench.events[0][1]["reason"])


@pytest.mark.parametrize(
    ("point", "answer"),
    [("data", accept()), ("helo", accept()), ("route", accept()), ("command", reject()), ("denied", reject())],
)
def test_a_verdict_that_the_point_does_not_take_is_a_failure(point: str, answer: Verdict):
    """A vote where nothing is voted on is a mistake of the author, and said."""
    bench = Bench()
    assert is_trouble(run_virtual(run(bench.hooks(bench.hook(point, answering(answer))), bench, point)))
    assert str(bench.events[0][1]["reason"]).startswith(f"answered {answer.kind.value}; {point} takes")


def test_a_bad_reply_code_is_a_failure():
    """PLG-06: code 200 or 999 is refused where it is made, and the mail is deferred."""
    bench = Bench()
    for code in (200, 999, 354, 250):
        hooks = bench.hooks(bench.hook("message", lambda tx, code=code: reject(code=code)))
        assert is_trouble(run_virtual(run(hooks, bench, "message")))


def test_a_reply_text_cannot_break_its_line():
    """PLG-06: CR, LF and 2,000 octets in a verdict's text become lines and characters that can be sent."""
    reply = reject("5.7.1", "no\r\n250 OK\x00\x1b" + "x" * 2000).reply
    assert reply is not None
    lines = reply.wire.split(b"\r\n")
    assert all(line.startswith((b"550-5.7.1 ", b"550 5.7.1 ")) and len(line) <= 510 for line in lines[:-1])
    assert b"\x00" not in reply.wire


def test_at_the_deadline_the_hook_is_cancelled_and_the_client_answered():
    """Every asynchronous hook has a deadline, 30 s unless declared otherwise."""
    bench = Bench()
    cancelled: list[float] = []

    async def hangs(tx: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(asyncio.get_running_loop().time())

    async def main() -> None:
        assert is_trouble(await run(bench.hooks(bench.hook("message", hangs)), bench, "message"))
        assert asyncio.get_running_loop().time() == pytest.approx(30)
        await asyncio.sleep(0)
        assert cancelled == [pytest.approx(30)]
        assert await run(bench.hooks(bench.hook("message", hangs, deadline=2.0)), bench, "message") is not None
        assert asyncio.get_running_loop().time() == pytest.approx(32)
        await asyncio.sleep(5)

    run_virtual(main())
    assert bench.guards["one"].deadlines == 2
    assert bench.guards["one"].resisting == set()


def test_a_hook_that_resists_its_cancellation_does_not_hold_the_session():
    """PLG-02: the session answers at the deadline even if the task resists; it is counted until it ends."""
    bench = Bench()
    release = asyncio.Event()

    async def resists(tx: object) -> Verdict:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return accept()

    async def main() -> None:
        hooks = bench.hooks(bench.hook("message", resists, deadline=1.0))
        assert is_trouble(await run(hooks, bench, "message"))
        assert asyncio.get_running_loop().time() == pytest.approx(1.0)
        await asyncio.sleep(CANCEL_GRACE + 0.1)
        assert len(bench.guards["one"].resisting) == 1
        release.set()
        await asyncio.sleep(0.1)
        assert bench.guards["one"].resisting == set()

    run_virtual(main())
    assert bench.names() == ["plugin.failed", "plugin.resists_cancellation"]


def test_tasks_that_resist_are_bounded():
    """With MAX_RESISTING of them alive the plugin is not called; `on_error` is its answer until one ends."""
    bench = Bench()
    release = asyncio.Event()
    calls = 0

    async def resists(session: object) -> None:
        nonlocal calls
        calls += 1
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        hooks = bench.hooks(bench.hook("connect", resists))
        # clients that hang up: no failures, so that no breaker helps
        for _ in range(MAX_RESISTING):
            session = asyncio.ensure_future(run(hooks, bench, "connect"))
            await asyncio.sleep(0.01)
            session.cancel()
        await asyncio.sleep(CANCEL_GRACE + 0.1)
        assert calls == MAX_RESISTING
        assert is_trouble(await run(hooks, bench, "connect"))
        assert calls == MAX_RESISTING
        release.set()
        await asyncio.sleep(0.1)
        assert await run(hooks, bench, "connect") is None
        assert calls == MAX_RESISTING + 1

    run_virtual(main())


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_hook_is_cancelled_when_the_client_hangs_up(turns: int):
    """The session's own cancellation passes through and reaches the hook; that is no failure of the plugin."""
    bench = Bench()
    seen: list[str] = []

    async def hangs(tx: object) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        session = asyncio.ensure_future(run(bench.hooks(bench.hook("message", hangs)), bench, "message"))
        for _ in range(turns):
            await asyncio.sleep(0)
        session.cancel()
        with pytest.raises(asyncio.CancelledError):
            await session
        await asyncio.sleep(5)

    run_virtual(main())
    assert seen == ["cancelled"]
    assert bench.events == []


def test_a_hook_that_cancels_itself_has_failed():
    """CancelledError out of a plugin is not the session's cancellation."""
    bench = Bench()
    for make in (raising, raising_later):
        hooks = bench.hooks(bench.hook("message", make(asyncio.CancelledError)))
        assert is_trouble(run_virtual(run(hooks, bench, "message")))


def test_after_failures_in_a_row_the_plugin_is_not_called_for_a_while():
    """The breaker opens, loudly; `on_error` answers meanwhile; one call per pause tries again."""
    clock = FakeClock()
    bench = Bench(clock)
    calls: list[object] = []
    broken = True

    def scanner(tx: object) -> None:
        calls.append(tx)
        if broken:
            raise OSError

    chain = bench.hooks(bench.hook("message", scanner)).message
    for _ in range(BREAK_AFTER + 10):
        assert is_trouble(chain.run(bench.session, bench.tx))
    assert len(calls) == BREAK_AFTER
    assert bench.names() == ["plugin.failed"] * BREAK_AFTER + ["plugin.breaker_opened"]
    assert bench.guards["one"].broken

    clock.advance(BREAK_FOR)
    assert is_trouble(chain.run(bench.session, bench.tx))
    assert is_trouble(chain.run(bench.session, bench.tx))
    assert len(calls) == BREAK_AFTER + 1

    broken = False
    clock.advance(BREAK_FOR)
    assert chain.run(bench.session, bench.tx) is None
    assert chain.run(bench.session, bench.tx) is None
    assert not bench.guards["one"].broken
    assert bench.names()[-1] == "plugin.recovered"


def test_only_one_call_tries_a_plugin_whose_breaker_is_open():
    """A scanner that hangs costs one session its deadline per pause, not all of them."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bench = Bench(FakeClock(loop=loop))
        calls = 0

        async def hangs(tx: object) -> None:
            nonlocal calls
            calls += 1
            await asyncio.Event().wait()

        hooks = bench.hooks(bench.hook("message", hangs, deadline=10.0))
        for _ in range(BREAK_AFTER):
            await run(hooks, bench, "message")
        await asyncio.sleep(BREAK_FOR)
        answers = await asyncio.gather(*(run(hooks, bench, "message") for _ in range(20)))
        assert all(map(is_trouble, answers))
        assert calls == BREAK_AFTER + 1
        await asyncio.sleep(CANCEL_GRACE)

    run_virtual(main())


@pytest.mark.parametrize("make", [answering, answering_later])
@pytest.mark.parametrize("answer", [None, accept(), reject()])
def test_any_good_answer_ends_a_row_of_failures(answer: object, make: Callable[[object], Callable[..., object]]):
    """Four failures, one good answer, four failures: the breaker stays closed."""
    bench = Bench()
    good, bad = bench.hook("rcpt", make(answer)), bench.hook("rcpt", raising(ValueError))
    for _ in range(3):
        for _ in range(BREAK_AFTER - 1):
            run_virtual(run(bench.hooks(bad), bench, "rcpt"))
        run_virtual(run(bench.hooks(good), bench, "rcpt"))
    assert "plugin.breaker_opened" not in bench.names()
    assert not bench.guards["one"].troubled


def test_a_broken_plugin_that_continues_is_passed_over_meanwhile():
    """With on_error = "continue" an open breaker is no opinion."""
    bench = Bench()
    chain = bench.hooks(bench.hook("rcpt", raising(ValueError), defers=False)).rcpt
    for _ in range(BREAK_AFTER + 3):
        assert chain.run(bench.session, bench.tx, None) is None
    assert bench.guards["one"].failures == BREAK_AFTER


def test_one_plugins_breaker_is_its_own():
    """Others run on."""
    bench = Bench()
    healthy = bench.hook("rcpt", answering(accept()), "list")
    chain = bench.hooks(bench.hook("rcpt", raising(ValueError), "bad", defers=False), healthy).rcpt
    for _ in range(BREAK_AFTER + 3):
        assert chain.run(bench.session, bench.tx, None) == accept()


def test_start_stops_the_start_up_and_stop_is_contained():
    """An exception at `start` is raised; `stop` hooks run all, the last started first."""
    bench = Bench()
    order: list[str] = []
    hooks = bench.hooks(
        bench.hook("start", lambda: order.append("start one"), "one"),
        bench.hook("start", answering_later(None), "two"),
        bench.hook("stop", lambda: order.append("stop one"), "one"),
        bench.hook("stop", raising_later(ValueError), "two"),
    )
    run_virtual(hooks.begin())
    run_virtual(hooks.end())
    assert order == ["start one", "stop one"]
    for make in (raising, raising_later):
        with pytest.raises(ConfigError, match="plugin bad failed to start"):
            run_virtual(bench.hooks(bench.hook("start", make(OSError), "bad")).begin())


def test_every_point_says_what_its_failure_becomes():
    """No point that a client waits at lets mail through by a failure."""
    silent = {name for name, point in POINTS.items() if not point.defers}
    assert silent == {"start", "queued", "reset", "disconnect", "delivered", "deferred", "bounced", "stop"}
    assert VerdictKind.ACCEPT not in POINTS["data"].kinds


BAD_STATUS = """\
from upesi.plugin import hook, reject

def answer():
    return reject("5.7", "No")

@hook.mail
def plain(tx, sender):
    return answer()

@hook.rcpt
async def later(tx, recipient):
    return reject("5.7", "No")

@hook.data
def wrong(tx):
    return 7
"""


@pytest.mark.parametrize(("point", "line"), [("mail", 4), ("rcpt", 12), ("data", 14)])
def test_a_failure_names_the_line_of_the_plugin(tmp_path: Path, point: str, line: int):
    """PLG-01: what is found only when it runs is found quickly: file and line of the plugin, not of the framework it called."""
    file = tmp_path / "bad.py"
    file.write_text(BAD_STATUS)
    bench = Bench()
    loaded = plugin_from("bad", file_source(file).load())
    hooks = Hooks.build([loaded], monotonic=bench.clock.monotonic, emit=lambda *event: bench.events.append(event))
    assert is_trouble(run_virtual(run(hooks, bench, point)))
    ((name, fields),) = bench.events
    assert (name, fields["where"]) == ("plugin.failed", f"{file}:{line}")


class _Spiteful:
    """Stands among the recipients, and cannot be looked at."""

    @property
    def verdict(self) -> None:
        raise SystemExit("secret of the plugin")


class _Breaking:
    """Looks like recipients, and ends in a fault."""

    def __iter__(self) -> Iterator[TransactionRecipient]:
        recipient = TransactionRecipient(Address.parse("b@example.net"))
        recipient.verdict = reject()
        yield recipient
        raise SystemExit("secret of the plugin")


class _Posing(list[TransactionRecipient]):
    """Is a list, and ends in a fault."""

    def __iter__(self) -> Iterator[TransactionRecipient]:
        raise SystemExit("secret of the plugin")


@pytest.mark.parametrize("left", [None, 5, (), [_Spiteful()], _Breaking(), _Posing()])
def test_what_a_hook_leaves_for_recipients_raises_in_nobody_elses_place(left: object):
    """PLG-01: what is no list is that hook's failure where modules are compiled; else it is judged where the message is."""
    bench = Bench()
    ran: list[object] = []

    def spoil(tx: object) -> None:
        bench.tx.recipients = left  # type: ignore[assignment]

    hooks = bench.hooks(bench.hook("message", spoil), bench.hook("message", ran.append, "two"))
    end = run_virtual(run(hooks, bench, "message"))
    if bench.tx.recipients is left:
        assert end is None
        assert ran == [bench.tx]
    else:
        assert is_trouble(end)
        assert bench.events[0][0] == "plugin.failed"


@pytest.mark.parametrize("name", ["recipients", "reverse_path", "body", "session", "handling", "listeners"])
def test_what_a_hook_deletes_ends_nothing_but_its_own_mail(name: str):
    """PLG-01: compiled or not, what is no longer there is a fault that Python can contain (a property that can be set crashed there)."""
    bench = Bench()

    def spoil(tx: object) -> None:
        delattr(bench.tx, name)
        getattr(bench.tx, name)

    hooks = bench.hooks(bench.hook("message", spoil))
    assert is_trouble(run_virtual(run(hooks, bench, "message")))


def test_a_recipient_without_an_address_ends_nothing_but_its_own_mail():
    """PLG-01: the same for one recipient."""
    bench = Bench()
    recipient = TransactionRecipient(Address.parse("b@example.net"))

    def spoil(tx: object) -> None:
        del recipient.address
        recipient.recipient()

    hooks = bench.hooks(bench.hook("message", spoil))
    assert is_trouble(run_virtual(run(hooks, bench, "message")))
