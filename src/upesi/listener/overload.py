"""The overload mode of one worker: it looks at itself twice a second, and puts harder terms to its clients while it is short of something.

The terms are another `SmtpSettings` in the contexts of the listeners for everybody: every session reads them there, so nothing is told to
10,000 sessions, and the usual path pays nothing. What is measured: sessions, descriptors, the memory of the process, the lateness of the
loop. When the memory itself is used up, new mail is answered 452 4.3.1 as on a full disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from upesi.config.settings import OverloadSettings, SmtpSettings
from upesi.limits.memory import MemoryBudget
from upesi.limits.overload import Load, Marks, Overload
from upesi.listener.admission import SPARE, Admission
from upesi.session.context import Emit, SessionContext

__all__ = ["OverloadWatch", "harder"]

_PERIOD = 0.5


def harder(smtp: SmtpSettings, overload: OverloadSettings) -> SmtpSettings:
    """Return `smtp` as it is in overload: nothing in it is milder than before."""
    replace = msgspec.structs.replace
    timeouts = smtp.timeouts
    return replace(
        smtp,
        timeouts=replace(
            timeouts,
            command=min(timeouts.command, overload.command),
            data_block=min(timeouts.data_block, overload.data_block),
        ),
        hard_errors=min(smtp.hard_errors, overload.hard_errors),
        max_idle_commands=min(smtp.max_idle_commands, overload.max_idle_commands),
        min_rate_after=min(smtp.min_rate_after, overload.min_rate_after),
    )


class OverloadWatch:
    """Watches one worker. `began` counts how often the mode was entered, for ever."""

    __slots__ = (
        "_admission", "_budget", "_contexts", "_descriptors", "_emit", "_hard", "_lag", "_loop", "_memory", "_normal", "_sessions",
        "_state", "_timer", "began",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: OverloadSettings,
        smtp: SmtpSettings,
        *,
        contexts: Sequence[SessionContext],
        sessions: Callable[[], float],
        admission: Admission,
        budget: MemoryBudget,
        memory: Callable[[], float],
        descriptors: Callable[[], tuple[int, int]],
        lag: Callable[[], float],
        emit: Emit,
    ) -> None:
        """`contexts` are those of the listeners that get harder terms. `sessions` and `memory` give the part in use,
        `descriptors` how many are open and how many may be, `lag` seconds."""
        self._loop = loop
        self._contexts = contexts
        self._normal = smtp
        self._hard = harder(smtp, settings)
        self._state = Overload(Marks(settings.enter, settings.leave, settings.lag, settings.calm))
        self._sessions = sessions
        self._admission = admission
        self._budget = budget
        self._memory = memory
        self._descriptors = descriptors
        self._lag = lag
        self._emit = emit
        self._timer: asyncio.TimerHandle | None = None
        self.began = 0

    @property
    def cause(self) -> str:
        """What we are short of; empty while nothing is."""
        return self._state.cause

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(_PERIOD, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._loop.call_later(_PERIOD, self._look)
        taken, most = self._descriptors()
        # a place that cannot be accepted is refused by nobody: the client would be closed without a word
        most = max(1, most - SPARE)
        self._admission.fit(most - taken)
        load = Load(sessions=self._sessions(), memory=self._memory(), descriptors=taken / most, lag=self._lag())
        self._budget.full = load.memory >= 1.0
        now = self._loop.time()
        if self._state.measured(now, load):
            self._changed(now, load)

    def _changed(self, now: float, load: Load) -> None:
        state = self._state
        for context in self._contexts:
            context.settings = self._hard if state.cause else self._normal
        measured = {name: round(value, 3) for name, value in msgspec.structs.asdict(load).items()}
        if state.cause:
            self.began += 1
            self._emit("overload.began", {"cause": state.cause, **measured})
        else:
            self._emit("overload.ended", {"seconds": round(now - state.began, 1), **measured})
