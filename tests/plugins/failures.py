"""Every way to fail that a plugin was seen or imagined to have, as functions that can stand at any hook point."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from types import MappingProxyType
from typing import Any

import msgspec

from upesi.hooks.verdict import Verdict, VerdictKind, accept, reject
from upesi.mail.reply import Reply

Function = Callable[..., object]


class Own(BaseException):
    """One that nobody has heard of."""


class Wordless(Exception):
    """One that fails when it is to be shown."""

    def __str__(self) -> str:
        raise SystemExit("no words")

    __repr__ = __str__


def _deep(*arguments: object) -> object:
    return _deep(*arguments)


class Hostile:
    """Fails whatever it is asked."""

    def __getattribute__(self, name: str) -> object:
        raise SystemExit(name)

    def __eq__(self, other: object) -> bool:
        raise KeyboardInterrupt

    def __hash__(self) -> int:
        raise SystemExit

    def __bool__(self) -> bool:
        raise SystemExit


class Liar:
    """Says that it is a Verdict, and equal to everything."""

    __class__ = Verdict  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(VerdictKind.ACCEPT)


class Junk:
    """Can be awaited, and yields what no event loop knows."""

    def __await__(self) -> Generator[Any, Any, object]:
        yield 5
        return accept()


class Unawaitable:
    """Says that it can be awaited."""

    def __await__(self) -> Any:
        return 7


def _forged() -> object:
    """A refusal whose octets are those of a success."""
    good = Reply.make(550, "5.7.1", "No")
    return Verdict(VerdictKind.REJECT, msgspec.structs.replace(good, wire=b"250 2.0.0 Ok\r\n"))


def _raising(error: BaseException | type[BaseException]) -> Function:
    def hook(*arguments: object) -> object:
        raise error

    return hook


def _raising_at_once(error: BaseException | type[BaseException]) -> Function:
    async def hook(*arguments: object) -> object:
        raise error

    return hook


def _raising_later(error: BaseException | type[BaseException]) -> Function:
    async def hook(*arguments: object) -> object:
        await asyncio.sleep(0.1)
        raise error

    return hook


def _returning(make: Callable[[], object]) -> Function:
    return lambda *arguments: make()


def _returning_later(make: Callable[[], object]) -> Function:
    async def hook(*arguments: object) -> object:
        await asyncio.sleep(0)
        return make()

    return hook


async def _hangs(*arguments: object) -> object:
    await asyncio.Event().wait()
    return accept()


async def _swallows(*arguments: object) -> object:
    """Will not be cancelled, and at last says yes."""
    end = asyncio.get_running_loop().time() + 100
    while asyncio.get_running_loop().time() < end:
        try:
            await asyncio.sleep(50)
        except asyncio.CancelledError:
            continue
    return accept()


async def _accepts_when_cancelled(*arguments: object) -> object:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return accept()


async def _raises_when_cancelled(*arguments: object) -> object:
    try:
        await asyncio.Event().wait()
    finally:
        raise SystemExit


async def _cancels_itself(*arguments: object) -> object:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(1)


async def _cancels_everybody(*arguments: object) -> object:
    """Cancels whatever waits for this hook."""
    for task in asyncio.all_tasks():
        if task.get_name() != "test":
            task.cancel()
    await asyncio.sleep(1)


async def _fails_in_a_thread(*arguments: object) -> object:
    """A thread of its own sets what nobody can take."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()

    def work() -> None:
        loop.call_soon_threadsafe(future.set_exception, RuntimeError("in a thread"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return await future


async def _group(*arguments: object) -> object:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
        raise ValueError("inside")


async def _own_timeout(*arguments: object) -> object:
    """A deadline of its own, which is a failure like any other."""
    async with asyncio.timeout(1):
        await asyncio.Event().wait()


def _of_another_loop() -> object:
    loop = asyncio.new_event_loop()
    loop.close()
    return asyncio.Future(loop=loop)


def _awaited_before() -> object:
    async def nothing() -> None:
        return None

    coroutine = nothing()
    coroutine.close()
    return coroutine


_ERRORS: tuple[BaseException | type[BaseException], ...] = (
    ValueError, MemoryError, SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, asyncio.InvalidStateError, StopIteration,
    StopAsyncIteration, Own, Wordless, BaseExceptionGroup("both", [SystemExit(), KeyboardInterrupt()]), TimeoutError,
)  # fmt: skip
_ANSWERS: tuple[tuple[str, Callable[[], object]], ...] = (
    ("true", lambda: True),
    ("a number", lambda: 250),
    ("a text", lambda: "OK"),
    ("an object", object),
    ("a function", lambda: reject),
    ("the class", lambda: Verdict),
    ("two verdicts", lambda: (accept(), reject())),
    ("a generator", lambda: (x for x in ())),
    ("hostile", Hostile),
    ("a liar", Liar),
    ("junk to await", Junk),
    ("nothing to await", Unawaitable),
    ("a future of another loop", _of_another_loop),
    ("awaited before", _awaited_before),
    ("a refusal with a 250", lambda: Verdict(VerdictKind.REJECT, Reply.make(250, "2.0.0", "fine"))),
    ("a refusal with the octets of a 250", _forged),
    ("a refusal without a reply", lambda: Verdict(VerdictKind.REJECT, Liar())),  # type: ignore[arg-type]
    ("a kind of its own", lambda: Verdict(Liar())),  # type: ignore[arg-type]
    ("a hostile flag", lambda: Verdict(VerdictKind.REJECT, reject().reply, disconnect=Hostile())),  # type: ignore[arg-type]
)


def _table() -> dict[str, Function]:
    table: dict[str, Function] = {"recursion": _deep}
    for error in _ERRORS:
        name = error.__name__ if isinstance(error, type) else type(error).__name__
        table[f"raises {name}"] = _raising(error)
        table[f"raises {name} at once"] = _raising_at_once(error)
        table[f"raises {name} later"] = _raising_later(error)
    for name, make in _ANSWERS:
        table[f"answers {name}"] = _returning(make)
        table[f"answers {name} later"] = _returning_later(make)
    for function in (
        _hangs, _swallows, _accepts_when_cancelled, _raises_when_cancelled, _cancels_itself, _fails_in_a_thread, _group, _own_timeout,
    ):  # fmt: skip
        table[function.__name__.strip("_").replace("_", " ")] = function
    return table


FAILURES = MappingProxyType(_table())
CANCELS_EVERYBODY = _cancels_everybody
