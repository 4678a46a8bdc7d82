"""One function of one plugin at one point, bound and guarded: how it is called, awaited and contained.

Containment is for everything that Python can contain, SystemExit and KeyboardInterrupt from a plugin too (the worker's own
signals do not arrive as exceptions). The one exception that passes is the cancellation of the session that waits.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import Final, cast

from upesi.hooks.begun import Raised, first_step
from upesi.hooks.guard import Guard
from upesi.hooks.points import Point
from upesi.hooks.subject import SUBJECT
from upesi.hooks.verdict import Verdict, VerdictKind
from upesi.mail.reply import Reply

__all__ = ["DEADLINE", "Hook", "Running"]

# Seconds that an asynchronous hook may take where neither its author nor the operator says otherwise
DEADLINE: Final = 30.0

# RFC 3463 section 3.4: other or undefined mail system status
_TROUBLE: Final = Reply.make(451, "4.3.0", "Temporary failure, please try again later")


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _can_be_awaited(kind: type) -> bool:
    # by the type and not by isinstance: that asks the object for its __class__, and an object of the plugin's own may answer anything
    return any("__await__" in vars(base) for base in kind.__mro__)


class Running:
    """A hook that has not answered yet: the coroutine, and the task that runs it; none where there was no event loop to begin on."""

    __slots__ = ("coroutine", "task")

    def __init__(self, coroutine: Coroutine[object, object, object], task: asyncio.Task[object] | None) -> None:
        self.coroutine = coroutine
        self.task = task


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
        """Call the function and return its answer, or `Running` if it waits for something; its failure is `on_error`."""
        guard = self.guard
        if guard.troubled and guard.shut():
            return self.on_error
        try:
            answer = self.function(*arguments)
        except BaseException as error:
            return self.failed(error)
        if answer is None:
            if guard.troubled:
                guard.recovered()
            return None
        return self.begun(answer, arguments)

    def begun(self, answer: object, arguments: tuple[object, ...]) -> object:
        """Return what the function gave back; if that is to be awaited, what came of its first step: the answer, or `Running`."""
        kind = type(answer)
        if kind is Verdict:
            return answer
        if kind is CoroutineType:
            return self._first_step(cast("Coroutine[object, object, object]", answer), arguments)
        if not _can_be_awaited(kind):
            return answer
        return self._first_step(_awaited(cast("Awaitable[object]", answer)), arguments)

    def _first_step(self, coroutine: Coroutine[object, object, object], arguments: tuple[object, ...]) -> object:
        """Run a coroutine up to its first wait."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return Running(coroutine, None)
        # the hook's task gets a copy of the context: so services know whom they work for
        token = SUBJECT.set(arguments[0] if arguments else None)
        begun, task = first_step(coroutine, loop)
        SUBJECT.reset(token)
        if not begun.ended:
            return Running(begun, task)
        answer = begun.answer
        if type(answer) is Raised:
            return self._raised(answer.error)
        if answer is None and self.guard.troubled:
            self.guard.recovered()
        return answer

    async def wait(self, running: Running) -> object:
        """Await what `call` returned, at most until the deadline.

        Cancelling this cancels the hook. It has a task of its own, because one that swallows its cancellation must not hold the session.
        """
        task = running.task
        if task is None:
            _, task = first_step(running.coroutine, asyncio.get_running_loop())
        try:
            await asyncio.wait((task,), timeout=self.deadline)
        finally:
            if not task.done():
                task.add_done_callback(lambda _: running.coroutine.close())
                self.guard.abandon(task, self.point.name)
        return self._outcome(task)

    def _outcome(self, task: asyncio.Task[object]) -> object:
        if not task.done():
            self.guard.late(self.point.name, self.deadline, where=self._where())
            return self.on_error
        if task.cancelled():
            return self._raised(asyncio.CancelledError())
        error = task.exception()
        answer = task.result() if error is None else Raised(error)
        if type(answer) is Raised:
            return self._raised(answer.error)
        if answer is None and self.guard.troubled:
            self.guard.recovered()
        return answer

    def _raised(self, error: BaseException) -> Verdict | None:
        if isinstance(error, asyncio.CancelledError):
            self.guard.failed(self.point.name, "cancelled itself", where=self._where())
            return self.on_error
        return self.failed(error)

    def checked(self, answer: object) -> object:
        """Return `answer` if this point takes it, else what the failure becomes."""
        if answer is None or answer is self.on_error:
            return answer
        try:
            takes = self.point.takes(answer)
        except BaseException as error:
            # an object of the plugin's own that fails when it is looked at
            return self.failed(error)
        if not takes:
            given = (
                answer.kind.value
                if type(answer) is Verdict and type(answer.kind) is VerdictKind
                else type(answer).__name__
            )
            reason = f"answered {given}; {self.point.name} takes {self.point.expects}"
            self.guard.failed(self.point.name, reason, where=self._where())
            return self.on_error
        if self.guard.troubled:
            self.guard.recovered()
        return answer

    def failed(self, error: BaseException) -> Verdict | None:
        """Count a failure, and return what it becomes."""
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
