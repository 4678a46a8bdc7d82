"""One function of one plugin at one point, bound and guarded: how it is called, awaited and contained.

Containment is for everything that Python can contain, SystemExit and KeyboardInterrupt from a plugin too (the worker's own
signals do not arrive as exceptions). The one exception that passes is the cancellation of the session that waits.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable

import msgspec

from upesi.hooks.guard import Guard
from upesi.hooks.points import Point
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.reply import Reply

__all__ = ["DEADLINE", "Hook"]

# Seconds that an asynchronous hook may take where neither its author nor the operator says otherwise
DEADLINE = 30.0

# RFC 3463 section 3.4: other or undefined mail system status
_TROUBLE = Reply.make(451, "4.3.0", "Temporary failure, please try again later")


class _Raised(msgspec.Struct, frozen=True):
    """What a hook's task ended with, carried as a value: a SystemExit kept in a task would end the event loop."""

    error: BaseException


async def _contained(awaitable: Awaitable[object]) -> object:
    try:
        return await awaitable
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return _Raised(error)


def _close(awaitable: Awaitable[object]) -> None:
    # a coroutine that was cancelled before its first step would complain that nobody awaited it
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()


class Hook:
    """One hook as a chain runs it. `on_error` is the verdict that stands for a failure, None for "go on"."""

    __slots__ = (
        "asynchronous", "deadline", "file", "final", "function", "guard", "line", "mandatory", "name", "on_error", "point",
    )  # fmt: skip

    def __init__(
        self,
        point: Point,
        guard: Guard,
        function: Callable[..., object],
        *,
        name: str = "",
        deadline: float = DEADLINE,
        defers: bool = True,
        mandatory: bool = False,
        final: bool = False,
        asynchronous: bool = False,
        file: str = "",
        line: int = 0,
    ) -> None:
        """`final` says that the configuration lets this plugin end chains; `defers` that its `on_error` is "defer"."""
        self.point = point
        self.guard = guard
        self.function = function
        self.name = name or getattr(function, "__name__", "hook")
        self.deadline = deadline
        self.mandatory = mandatory
        self.final = final
        self.asynchronous = asynchronous
        self.file = file
        self.line = line
        self.on_error: Verdict | None = None
        if defers and point.defers:
            self.on_error = Verdict(VerdictKind.DEFER, _TROUBLE, plugin=guard.name)

    def call(self, arguments: tuple[object, ...]) -> object:
        """Call the function and return its answer, which may be an awaitable; its failure is `on_error`."""
        guard = self.guard
        if guard.troubled and guard.shut():
            return self.on_error
        try:
            answer = self.function(*arguments)
        except BaseException as error:
            return self._failed(error)
        if answer is None and guard.troubled:
            guard.recovered()
        return answer

    async def wait(self, awaitable: Awaitable[object]) -> object:
        """Await what `call` returned, at most until the deadline.

        Cancelling this cancels the hook. It has a task of its own, because one that swallows its cancellation must not hold the session.
        """
        task = asyncio.get_running_loop().create_task(_contained(awaitable))
        try:
            await asyncio.wait((task,), timeout=self.deadline)
        finally:
            if not task.done():
                task.add_done_callback(lambda _: _close(awaitable))
                self.guard.abandon(task, self.point.name)
        return self._outcome(task)

    def _outcome(self, task: asyncio.Task[object]) -> object:
        if not task.done():
            self.guard.late(self.point.name, self.deadline, where=self._where())
            return self.on_error
        if task.cancelled():
            self.guard.failed(self.point.name, "cancelled itself", where=self._where())
            return self.on_error
        answer = task.result()
        if type(answer) is _Raised:
            return self._failed(answer.error)
        if answer is None and self.guard.troubled:
            self.guard.recovered()
        return answer

    def checked(self, answer: object) -> object:
        """Return `answer` if this point takes it, else what the failure becomes."""
        if answer is None or answer is self.on_error:
            return answer
        if not self.point.takes(answer):
            given = answer.kind.value if type(answer) is Verdict else type(answer).__name__
            reason = f"answered {given}; {self.point.name} takes {self.point.expects}"
            self.guard.failed(self.point.name, reason, where=self._where())
            return self.on_error
        if self.guard.troubled:
            self.guard.recovered()
        return answer

    def _failed(self, error: BaseException) -> Verdict | None:
        self.guard.failed(self.point.name, type(error).__name__, error, where=self._where(error))
        return self.on_error

    def _where(self, error: BaseException | None = None) -> str:
        """Return FILE:LINE of the plugin: where `error` left its code, else where the hook begins; empty where neither is known."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        if code is None:
            return self.file
        line = code.co_firstlineno
        for frame, number in traceback.walk_tb(error.__traceback__ if error is not None else None):
            # `reject("5.7", ...)` raises in our file: the line to mend is the call in theirs
            if frame.f_code.co_filename == code.co_filename:
                line = number
        return f"{code.co_filename}:{line}"
