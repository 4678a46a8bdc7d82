"""Connections: when one is started, woken or stopped, and what it is given.

How many for a site. A waiting message wakes an idle connection where none is at work, or more than `QUEUE` wait for each that is; a site
without one gets one; another is started where more than `BATCH` messages wait for each there is; and where something has waited for
`PATIENCE`, one more is woken or started. What waits behind a message goes out with its end, in one write. So a burst of fifty on a fresh
site opens seven at once and more as long as it does not flow off, a stream that one connection can carry stays on one, and one that
hangs delays the next message by `PATIENCE` (twice that where a wait was under way), not by its timeout.

Two limits: the receiver's (`neighbours`), and a share of the machine's (`sharing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from upesi.config.settings import DeliverySettings
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import Route
from upesi.scheduler.charge import Charge
from upesi.scheduler.connection import Connection
from upesi.scheduler.gate import Gate
from upesi.scheduler.loading import Loading
from upesi.scheduler.memory import Entry, Memory
from upesi.scheduler.neighbours import Neighbours
from upesi.scheduler.paths import Path
from upesi.scheduler.retry import RetrySchedule
from upesi.scheduler.settlement import Settlement
from upesi.scheduler.sharing import PATIENCE, Shares, Sharing
from upesi.scheduler.tasks import Emit, Tasks
from upesi.scheduler.work import Deliverer, Destination, Ending, Router, Unroutable

__all__ = ["Dispatch"]

# Messages a connection is trusted with before another is started beside it: a handshake costs about as much as eight messages
BATCH: Final = 8
# Messages that wait for a connection at work before an idle one is woken beside it: each would go out alone, in two writes and two answers.
# Beside a slow disk, where mail comes in small groups, 4 % more by turns
QUEUE: Final = 4
# Entries at the front of a path whose messages are read ahead
AHEAD: Final = 32
# Seconds that a destination stands before routing is asked again; DNS keeps its own, often longer, lifetimes
FRESH: Final = 60.0
# Connections that ended before anything was sent, in a row, until the site counts as unreachable
FUTILE: Final = 3
# Seconds that a receiver's refusal of one more connection is remembered
CEILING: Final = 60.0
# Seconds after a pause for which a site's failures are remembered: longer than the early waits between tries, so that pauses grow
REMEMBERED: Final = 3600.0
# Paths beyond which that memory is given up
PATHS: Final = 20_000


class Dispatch:
    """The paths and their connections. `refill`, `dismiss` and `reroute` come from the engine."""

    def __init__(
        self,
        memory: Memory,
        settlement: Settlement,
        router: Router,
        deliverer: Deliverer,
        shares: Shares,
        retry: RetrySchedule,
        settings: DeliverySettings,
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        emit: Emit,
    ) -> None:
        self._memory = memory
        self._settlement = settlement
        self._router = router
        self._deliverer = deliverer
        self._retry = retry
        self._settings = settings
        self._loop = loop
        self._tasks = tasks
        self._emit = emit
        self.paths: dict[str, Path] = {}
        self._neighbours = Neighbours(settings.site_connections)
        self.connections: set[Connection] = set()
        self.halted = False
        self.sharing = Sharing(shares, self.connections, loop, self._use)
        # what plugins say before an attempt; None where nobody says anything
        self.gate: Gate | None = None
        self.loading: Loading
        # asks the spool for more of a path's mail
        self.refill: Callable[[Path], None] = _ignore
        # gives unstarted entries back to the spool
        self.dismiss: Callable[[list[Entry]], None] = _ignore
        # whether an entry may stay in memory for this path (shards, pauses)
        self.admits: Callable[[Entry], bool] = _yes
        # sends an entry whose site has changed through routing again
        self.reroute: Callable[[Entry, Destination], None] = _lost

    # -- what waits ---------------------------------------------------------------------------------------------------

    def path(self, site: str) -> Path:
        """Return the path of `site`, made where there is none."""
        path = self.paths.get(site)
        if path is None:
            path = self.paths[site] = self._neighbours.add(site)
        return path

    def enqueue(self, site: str, entry: Entry) -> Path:
        """Put `entry` at the end of its path; `pump` must follow."""
        path = self.paths.get(site) or self.path(site)
        entry.path = path
        if entry.delivery.due < entry.delivery.received:
            path.overtake(entry)
        else:
            path.ready.append(entry)
        return path

    def pump(self, path: Path) -> None:
        """Wake or start connections for what waits."""
        ready = path.ready
        if not ready or self.halted:
            return
        if path.blocked_until and path.blocked(self._loop.time()):
            self._clear(path)
            return
        if self.gate is not None and not self._cleared(path, self.gate):
            return
        if ready[0].held is None:
            self._read_ahead(path)
        elif path.idle:
            self._wake(path)
        while ready and len(ready) > BATCH * len(path.works) and self._connect(path):
            pass
        if ready and path.stalled is None:
            path.stalled = self._loop.call_later(PATIENCE, self._impatient, path, path.taken + len(ready))

    def withdraw(self, path: Path, leaves: Callable[[Entry], bool]) -> list[Entry]:
        """Take the waiting entries for which `leaves` is true out of `path`."""
        taken = [entry for entry in path.ready if leaves(entry)]
        if taken:
            gone = set(taken)
            kept = [entry for entry in path.ready if entry not in gone]
            path.ready.clear()
            path.ready.extend(kept)
        return taken

    def forget(self, path: Path) -> None:
        """Drop `path` if nothing is lost by it."""
        memory = REMEMBERED if len(self.paths) < PATHS else 0.0
        if path.spent(self._loop.time(), memory) and self.paths.get(path.site) is path:
            del self.paths[path.site]
            self._neighbours.remove(path)
            if path.stalled is not None:
                path.stalled.cancel()

    def put_off(self, entries: Iterable[Entry], site: str, outcome: Outcome) -> None:
        """Record `outcome` for every recipient of unstarted entries: one attempt, which none of them needed a connection for."""
        for entry in entries:
            entry.started = True
            outcomes = (outcome,) * len(entry.delivery.recipients)
            if self._settlement.must_load(entry, outcomes):
                self.loading.want(entry, _Recording(self._settlement, site, outcomes))
            else:
                self._settlement.record(entry, site, outcomes)

    # -- what connections ask (connection.Office) ---------------------------------------------------------------------

    def next_charge(self, connection: Connection) -> Charge | None:
        """Return the next attempt for the connection's site, None where nothing may be sent now."""
        path = connection.path
        ready = path.ready
        if not ready or self.halted or (self.gate is not None and not self._cleared(path, self.gate)):
            return None
        entry = ready[0]
        held = entry.held
        if held is None:
            self._read_ahead(path)
            held = entry.held
            if held is None:
                return None
        ready.popleft()
        path.taken += 1
        entry.started = True
        delivery = entry.delivery
        recipients = delivery.recipients
        room = self._settings.transaction_recipients
        if connection.room:
            room = min(room, connection.room)
        if ready and ready[0].delivery.message == delivery.message and len(recipients) < room:
            charge = self._joined(path, entry, room)
        else:
            if len(recipients) > room:
                recipients = recipients[:room]
            charge = Charge(
                held.message, recipients, delivery.attempts + 1, (delivery.id,), (entry,), (len(recipients),)
            )
        if path.backlog:
            self.refill(path)
        # when half of what was read ahead is gone, not for every message: asking costs a look at each of them
        if ready and ready[min(AHEAD // 2, len(ready)) - 1].held is None:
            self._read_ahead(path)
        return charge

    def returned(self, connection: Connection, charge: Charge) -> None:
        """Put what did not count in front again, in its order; where the path may not keep it, give it to the spool."""
        path = connection.path
        refused: list[Entry] = []
        for entry in reversed(charge.entries):
            entry.started = False
            if self.admits(entry):
                path.ready.appendleft(entry)
            else:
                refused.append(entry)
        if refused:
            self.dismiss(refused)
        if path.ready and path.stalled is None:
            # the same connection may be about to take again, or to end: neither needs a new one at once
            path.stalled = self._loop.call_later(PATIENCE, self._impatient, path, path.taken + len(path.ready))

    def finished(self, connection: Connection, charge: Charge, outcomes: tuple[Outcome, ...]) -> None:
        """Record an attempt: the site can be reached."""
        path = connection.path
        if path.failures or path.futile:
            path.failures = path.futile = 0
            path.blocked_until = 0.0
        if outcomes[0].kind is not OutcomeKind.DELIVERED:
            path.last = outcomes[0]
        if len(charge.entries) == 1:
            self._settlement.record(charge.entries[0], path.site, outcomes, charge.counts[0])
            return
        self._settlement.record_all(charge.entries, path.site, outcomes, charge.counts)

    def gone(self, connection: Connection, ending: Ending, outcome: Outcome | None) -> None:
        """Take note of a connection's end, and of what it says about the site."""
        path = connection.path
        path.works.discard(connection)
        self.connections.discard(connection)
        path.limit.release()
        self.sharing.release()
        if ending is Ending.UNREACHABLE:
            self._unreachable(path, connection.destination.route, outcome or _SILENT)
        elif not (connection.finished or connection.stopping or connection.starved or self.halted) and path.ready:
            # it was accepted, closed, and nothing could be sent: without a bound that would be a tight loop against the receiver
            path.futile += 1
            if path.futile >= FUTILE and not path.works:
                self._unreachable(path, connection.destination.route, _FUTILE)
        self.sharing.pass_on()
        for neighbour in self._neighbours.waiting(path, self._loop.time()):
            self.pump(neighbour)
        if not (connection.starved and path.ready and path.ready[0].held is None):
            self.pump(path)
        # else the next connection would starve as well: the path is pumped when its first message has been read
        self.forget(path)

    # -- starting and waking ------------------------------------------------------------------------------------------

    def _wake(self, path: Path) -> None:
        for _ in range(min(len(path.idle), len(path.ready) - path.coming)):
            busy = len(path.works) - len(path.idle)
            if busy and len(path.ready) <= QUEUE * busy:
                return
            connection = _freest(path.idle)
            # an agent may take, and so change everything here, within the call
            if connection is None or len(path.ready) <= path.coming:
                return
            connection.wake()

    def _connect(self, path: Path) -> bool:
        """Start one more connection if the path's limit and the shares allow it; ask for what is missing if not."""
        now = self._loop.time()
        if not self._may_connect(path, now):
            return False
        if path.destination is None or now - path.resolved_at > FRESH:
            self._resolve_soon(path)
            return False
        return self.sharing.acquire(path) and self._start(path, path.destination, now)

    def _use(self, path: Path) -> bool:
        """Start a connection with the share that `path` waited for; return whether it still wanted it."""
        now = self._loop.time()
        if self.halted or not path.ready or path.destination is None or not self._may_connect(path, now):
            return False
        self._start(path, path.destination, now)
        self.pump(path)
        return True

    def _may_connect(self, path: Path, now: float) -> bool:
        # after a pause one connection asks for all
        if path.blocked(now) or (path.failures and path.works):
            return False
        return self._neighbours.may_connect(path, now)

    def _start(self, path: Path, destination: Destination, now: float) -> bool:
        path.limit.acquire(now)
        self._neighbours.started(path)
        connection = Connection(self, path, destination, now)
        path.works.add(connection)
        self.connections.add(connection)
        try:
            running = self._deliverer.start(connection)
        except Exception as error:  # an agent's bug must not stop the others' mail
            self._emit("scheduler.failed", {"error": type(error).__name__, "queue": path.site})
            if not connection.ended_:
                connection.ended(Ending.UNREACHABLE, _INTERNAL)
            return False
        connection.running = running
        return not connection.ended_

    def _impatient(self, path: Path, mark: int) -> None:
        """Wake or start one more if what waited when the timer was set has not all been taken."""
        path.stalled = None
        if not path.ready or self.halted:
            self.forget(path)
            return
        if path.taken < mark and (self.gate is None or self._cleared(path, self.gate)):
            connection = _freest(path.idle) if path.ready[0].held is not None else None
            if connection is not None and not connection.charges:
                connection.wake()
            else:
                self._connect(path)
        self.pump(path)

    def _joined(self, path: Path, first: Entry, room: int) -> Charge:
        """Return one attempt of deliveries of the same message, as many as one transaction takes (RFC 5321 section 4.5.4.1)."""
        assert first.held is not None
        entries = [first]
        recipients = list(first.delivery.recipients)
        ready = path.ready
        while ready:
            entry = ready[0]
            delivery = entry.delivery
            if self.gate is not None and not entry.cleared:
                if not self._cleared(path, self.gate):
                    break
                continue
            if delivery.message != first.delivery.message or delivery.attempts != first.delivery.attempts:
                break
            if len(recipients) + len(delivery.recipients) > room:
                break
            ready.popleft()
            path.taken += 1
            entry.started = True
            entries.append(entry)
            recipients += delivery.recipients
        return Charge(
            first.held.message,
            tuple(recipients),
            first.delivery.attempts + 1,
            tuple(entry.delivery.id for entry in entries),
            tuple(entries),
            tuple(len(entry.delivery.recipients) for entry in entries),
        )

    def _cleared(self, path: Path, gate: Gate) -> bool:
        """Return whether plugins let something go that is at the front now; see that what they must be asked about is read."""
        ready = path.ready
        while not gate.open(path):
            if not ready or ready[0].held is not None:
                return False
            held = self._memory.bodies.find(ready[0].delivery.message)
            if held is None:
                self._read_ahead(path)
                return False
            self._memory.bodies.attach(ready[0], held)
        return True

    def _read_ahead(self, path: Path) -> None:
        """Have the messages at the front read: the first always (its turn has come), the others while the budget lasts."""
        bodies = self._memory.bodies
        for n, entry in enumerate(tuple(islice(path.ready, AHEAD))):
            if entry.held is None:
                if n and bodies.used >= bodies.budget:
                    return
                self.loading.want(entry, self._loaded)

    def _loaded(self, entry: Entry) -> None:
        path = entry.path
        # pumping once the first is there is enough; the others follow it
        if path is not None and path.ready and path.ready[0] is entry:
            self.pump(path)

    # -- where to ----------------------------------------------------------------------------------------------------

    def _resolve_soon(self, path: Path) -> None:
        if not path.resolving:
            path.resolving = True
            self._tasks.run(self._resolve(path, path.ready[0].delivery.route))

    async def _resolve(self, path: Path, route: Route) -> None:
        """Ask where the path's mail goes now. What has moved or cannot be routed leaves the path; the rest goes on."""
        destination: Destination | None = None
        outcome = _INTERNAL
        try:
            destination = await self._router.resolve(route)
        except Unroutable as unroutable:
            outcome = unroutable.outcome
        except Exception as error:  # a router's bug puts mail off, it does not strand it
            self._emit("scheduler.failed", {"error": type(error).__name__, "queue": path.site})
        finally:
            path.resolving = False
        if destination is not None and destination.site == path.site:
            path.destination = destination
            path.resolved_at = self._loop.time()
        else:
            leaving = self.withdraw(path, lambda entry: entry.delivery.route == route)
            if destination is None:
                path.last = outcome
                self.put_off(leaving, path.site, outcome)
            else:
                for entry in leaving:
                    self.reroute(entry, destination)
        self.pump(path)
        self.forget(path)

    # -- sites that cannot be reached ---------------------------------------------------------------------------------

    def _unreachable(self, path: Path, tried: Route, outcome: Outcome) -> None:
        """Leave the site alone for a while, and put off all that waits for it in one go.

        A permanent outcome is only about the route that was `tried`: while mail of others waits, the site is asked by theirs.
        Where other connections to it live, it is not unreachable: it takes no more than those (421 to the one too many).
        """
        path.last = outcome
        now = self._loop.time()
        if path.works:
            path.limit.lower(path.limit.open, now + CEILING)
            return
        path.destination = None
        if outcome.kind is OutcomeKind.FAILED and any(entry.delivery.route != tried for entry in path.ready):
            # bounded: each time one route's mail leaves, and the caller's pump asks for the destination of what is now in front
            self.put_off(self.withdraw(path, lambda entry: entry.delivery.route == tried), path.site, outcome)
            return
        path.failures += 1
        path.futile = 0
        pause = self._retry.pause(path.failures)
        path.blocked_until = now + pause
        # new mail goes to the spool now; it is asked for when the pause is over
        path.backlog = True
        waiting = list(path.ready)
        path.ready.clear()
        self._emit(
            "site.suspended",
            {"queue": path.site, "seconds": round(pause, 3), "failures": path.failures, "waiting": len(waiting),
             "status": outcome.status, "text": outcome.text, "remote": outcome.remote},
        )  # fmt: skip
        self.put_off(waiting, path.site, outcome)

    def _clear(self, path: Path) -> None:
        """Give back what came for a site that is left alone: untried, so nothing is counted."""
        waiting = list(path.ready)
        path.ready.clear()
        self.dismiss(waiting)


class _Recording:
    """Records an outcome when the entry's message has been read."""

    __slots__ = ("_outcomes", "_settlement", "_site")

    def __init__(self, settlement: Settlement, site: str, outcomes: tuple[Outcome, ...]) -> None:
        self._settlement = settlement
        self._site = site
        self._outcomes = outcomes

    def __call__(self, entry: Entry) -> None:
        self._settlement.record(entry, self._site, self._outcomes)


def _freest(idle: list[Connection]) -> Connection | None:
    """Return the connection to wake: the last one used (warm), one with nothing under way before one that only looked ahead."""
    second = None
    for connection in reversed(idle):
        if connection.stopping:
            continue
        if not connection.charges:
            return connection
        second = second or connection
    return second


_SILENT: Final = Outcome(OutcomeKind.DEFERRED, 0, "4.4.1", "no answer from host")
_FUTILE: Final = Outcome(OutcomeKind.DEFERRED, 0, "4.4.2", "connection closed before a message could be sent")
_INTERNAL: Final = Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "local error in delivery")


def _ignore(_what: object) -> None:
    return None


def _yes(_entry: Entry) -> bool:
    return True


def _lost(_entry: Entry, _destination: Destination) -> None:
    return None
