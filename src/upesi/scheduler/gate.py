"""What stands between a path's front and its connections: the `attempt` hooks of plugins.

Every delivery is asked about when its turn comes and before a connection is made for it, so that a plugin can lead mail
around a site that is down. An answer at once costs a call. Where the answer takes its time, the delivery waits aside and the next one
is asked about; it comes back to the front of its path with the answer. So a plugin that hangs holds its own deliveries only.

Bounds: `ASIDE` deliveries wait aside, `PATH_ASIDE` of one path; at the bound nothing more is asked about, and what was not asked
about is not sent. Each has the deadline of its hook, so places become free. A plugin may change the route of a delivery once between two
attempts: a second change is put off by the retry schedule, for plugins that send mail to and fro.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.scheduler.hooks import AttemptAnswer, Postpone
from upesi.scheduler.memory import Entry
from upesi.scheduler.paths import Path
from upesi.scheduler.settlement import Settlement
from upesi.scheduler.tasks import Emit, Tasks
from upesi.spool.records import Delivery, StoredMessage

if TYPE_CHECKING:
    from upesi.mail.route import Route

__all__ = ["ASIDE", "PATH_ASIDE", "Gate"]

# Deliveries that wait for an answer at once: as many tasks, and a plugin that asks a daemon makes as many questions
ASIDE = 1000
# Those of one path: ten paths whose questions hang leave room for the others
PATH_ASIDE = 100
# Deliveries asked about in a row before the loop has its turn: a plugin may put off all of a long path
_IN_A_ROW: Final = 32

_CHANGED: Final = Outcome(OutcomeKind.DEFERRED, 0, "4.4.0", "a plugin changed the route")
_TO_AND_FRO: Final = Outcome(OutcomeKind.DEFERRED, 0, "4.4.6", "plugins changed the route twice")
_TROUBLE: Final = Postpone(Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "local error in delivery"))


class Gate:
    """Asks about deliveries. `opened`, `admits` and `dismiss` come from the engine."""

    __slots__ = (
        "_aside", "_ask", "_emit", "_loop", "_place", "_settlement", "_stuck", "_tasks", "admits", "dismiss", "opened",
    )  # fmt: skip

    def __init__(
        self,
        ask: Callable[[StoredMessage, Delivery], AttemptAnswer | Awaitable[AttemptAnswer]],
        place: Callable[[Route], str],
        settlement: Settlement,
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        emit: Emit,
        *,
        opened: Callable[[Path], None],
        admits: Callable[[Entry], bool],
        dismiss: Callable[[list[Entry]], None],
    ) -> None:
        """`place` names the queue of a route."""
        self._ask = ask
        self._place = place
        self._settlement = settlement
        self._loop = loop
        self._tasks = tasks
        self._emit = emit
        # to be told that something may be sent now
        self.opened = opened
        # whether an entry may stay in memory (shards, pauses); what may not is given back to the spool
        self.admits = admits
        self.dismiss = dismiss
        self._aside: dict[Entry, asyncio.Task[object]] = {}
        # paths that found no place aside, in order
        self._stuck: dict[Path, None] = {}

    def open(self, path: Path) -> bool:
        """Ask about what is at the front of `path`; return whether what is there then may be sent. Stops at what is not read yet."""
        ready = path.ready
        for _ in range(_IN_A_ROW):
            if not ready:
                return False
            entry = ready[0]
            if entry.cleared:
                return True
            if entry.held is None or not self._room(path):
                return False
            ready.popleft()
            path.taken += 1
            answer = self._answer(path, entry.held.message, entry.delivery)
            if isinstance(answer, Awaitable):
                self._put_aside(path, entry, answer)
            else:
                self._follow(path, entry, answer)
        if ready and ready[0].cleared:
            return True
        self._loop.call_soon(self.opened, path)
        return False

    def withdraw(self, leaves: Callable[[Entry], bool]) -> list[Entry]:
        """Take out the entries for which `leaves` is true; their questions are cancelled."""
        taken = [entry for entry in self._aside if leaves(entry)]
        for entry in taken:
            # not within this turn of the loop: a task that never began leaves a coroutine that nobody awaited
            self._loop.call_soon(self._aside.pop(entry).cancel)
            if entry.path is not None:
                entry.path.aside -= 1
        return taken

    def _room(self, path: Path) -> bool:
        if path.aside >= PATH_ASIDE:
            # its own answers will open it again
            return False
        if len(self._aside) >= ASIDE:
            self._stuck[path] = None
            return False
        return True

    def _answer(
        self, path: Path, message: StoredMessage, delivery: Delivery
    ) -> AttemptAnswer | Awaitable[AttemptAnswer]:
        if delivery.queue != path.site:
            # the row is still in its domain's queue; plugins are told where the mail is about to go
            delivery = msgspec.structs.replace(delivery, queue=path.site)
        try:
            return self._ask(message, delivery)
        except Exception as error:  # plugins are contained below; this is a bug of ours, and strands nothing
            self._emit("scheduler.failed", {"error": type(error).__name__, "queue": delivery.queue})
            return _TROUBLE

    def _put_aside(self, path: Path, entry: Entry, answer: Awaitable[AttemptAnswer]) -> None:
        path.aside += 1
        self._aside[entry] = self._tasks.run(self._wait(path, entry, answer))

    async def _wait(self, path: Path, entry: Entry, awaitable: Awaitable[AttemptAnswer]) -> None:
        try:
            answer = await awaitable
        except Exception as error:
            self._emit("scheduler.failed", {"error": type(error).__name__, "queue": path.site})
            answer = _TROUBLE
        if self._aside.pop(entry, None) is None:
            return
        path.aside -= 1
        if self.admits(entry):
            self._follow(path, entry, answer)
        else:
            self.dismiss([entry])
        self.opened(path)
        while self._stuck and len(self._aside) < ASIDE:
            waiting = next(iter(self._stuck))
            del self._stuck[waiting]
            self.opened(waiting)

    def _follow(self, path: Path, entry: Entry, answer: AttemptAnswer) -> None:
        """Do what the answer says."""
        delivery = entry.delivery
        if answer is None or answer == delivery.route:
            entry.cleared = True
            path.ready.appendleft(entry)
        elif isinstance(answer, Postpone):
            if answer.delay is None:
                self._fail(entry, path.site, answer.outcome)
            else:
                self._settlement.postpone(entry, path.site, answer.outcome, answer.delay)
        elif delivery.last == _CHANGED:
            self._fail(entry, path.site, _TO_AND_FRO)
        else:
            self._settlement.reroute(entry, self._place(answer), answer, _CHANGED)

    def _fail(self, entry: Entry, site: str, outcome: Outcome) -> None:
        self._settlement.record(entry, site, (outcome,) * len(entry.delivery.recipients))
