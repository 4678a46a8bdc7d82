"""The scheduler of one worker: what may be sent now.

It stands between the spool and the agents. Accepted mail comes from memory (`accepted`), everything else is claimed from the spool
(`backlog`); what has no site yet is routed (`routing`); what has one waits in its path (`paths`) until a connection takes it
(`dispatch`, `connection`); outcomes are made durable together with what follows from them (`settlement`).

Everything runs on one event loop and nothing on the way of a message awaits. It knows no network and no clock or chance of its own.
Only the owner of a shard sends its mail, so every limit of a path is local and exact (QUEUE.md); before a shard changes hands,
`yield_shards` ends what we do for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from upesi.config.settings import DeliverySettings
from upesi.mail.ids import MessageId, MessageIds
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import Route
from upesi.scheduler.backlog import Backlog
from upesi.scheduler.completion import expired, returned
from upesi.scheduler.consultation import Consultation
from upesi.scheduler.delays import Delays
from upesi.scheduler.dispatch import Dispatch
from upesi.scheduler.gate import Gate
from upesi.scheduler.hooks import DeliveryHooks
from upesi.scheduler.leaps import Leaps
from upesi.scheduler.loading import Loading
from upesi.scheduler.memory import Entry, Held, Memory
from upesi.scheduler.paths import Path
from upesi.scheduler.retry import RetrySchedule
from upesi.scheduler.routing import ROUTING, Routing, queue_of
from upesi.scheduler.settlement import Settlement
from upesi.scheduler.sharing import Shares
from upesi.scheduler.status import SchedulerStatus, Why, path_status
from upesi.scheduler.tasks import Emit, Tasks
from upesi.scheduler.work import Deliverer, Reporter, Router
from upesi.spool.records import RETURNED, Completion, Delivery, NewMessage, StoredMessage, shard_of, stored
from upesi.spool.store import SpoolError, Store

__all__ = ["Scheduler"]

# A path may hold this part of the memory for new mail; the rest of its mail waits in the spool, and newer mail behind that
_PATH_PART: Final = 4
# What may be in memory at all, as a multiple of the budget
_EXCESS: Final = 1.25
# How often waits for an end look again
_TICK: Final = 0.02
# RFC 3463 section 3.5: no answer from host, where nothing more is known
_UNTRIED: Final = Outcome(OutcomeKind.DEFERRED, 0, "4.4.1", "", "")


class Scheduler:
    """Decides for one worker. All calls are made on the event loop's thread."""

    def __init__(
        self,
        store: Store,
        router: Router,
        deliverer: Deliverer,
        reporter: Reporter | None,
        settings: DeliverySettings,
        *,
        ids: MessageIds,
        wall: Callable[[], float],
        random: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        shares: Shares,
        emit: Emit,
        hint_others: Callable[[set[str]], None] = lambda queues: None,
        idle: Callable[[frozenset[int]], None] = lambda shards: None,
        hooks: DeliveryHooks | None = None,
        current: Callable[[str, Route], str] | None = None,
        ended: Callable[[MessageId, bool], None] = lambda message, delivered: None,
    ) -> None:
        """`current` names the queue where mail that has waited in one belongs now: what divides queues may have been reconfigured.

        `ended` hears of the end of each attempt before it is durable: whether all recipients have the mail and nothing follows.
        """
        self._current = current
        self._store = store
        self._wall = wall
        self._loop = loop
        self._hint_others = hint_others
        self._idle = idle
        self._tasks = Tasks(loop, emit)
        self._memory = Memory(settings.memory_deliveries, settings.memory_bodies)
        self._most = settings.memory_deliveries * _EXCESS
        self._path_most = max(1, settings.memory_deliveries // _PATH_PART)
        retry = RetrySchedule(settings.retry, settings.jitter, random)
        consultation = Consultation(hooks, self._tasks, emit) if hooks is not None and hooks.outcomes else None
        delays = Delays(settings.delay_notice, settings.expire)
        leaps = Leaps(wall, loop.time, settings.expire)
        self._settlement = Settlement(
            store, self._memory, reporter, retry, ids, wall, loop, emit, consultation, delays, leaps
        )
        self._dispatch = Dispatch(
            self._memory, self._settlement, router, deliverer, shares, retry, settings, loop, self._tasks, emit
        )
        self._loading = Loading(store, self._memory, self._tasks, emit, self._drop, self._release_one)
        self._routing = Routing(router, self._tasks, emit, self._routed, self._dispatch.put_off)
        self._backlog = Backlog(
            store, self._memory, self._dispatch, self._routing, wall, loop, self._tasks, emit, self._loading,
            self._claimed, self._expired, leaps,
        )  # fmt: skip
        self._gate: Gate | None = None
        if hooks is not None and hooks.attempt is not None:
            self._gate = self._dispatch.gate = Gate(
                hooks.attempt, queue_of(router), self._settlement, loop, self._tasks, emit,
                opened=self._dispatch.pump, admits=self._admits, dismiss=self._release,
            )  # fmt: skip
        self._paused = False
        self._draining = False
        self._shards: frozenset[int] = frozenset()
        # shards that we give up: nothing new is taken in for them
        self._yielding: frozenset[int] = frozenset()
        self._yield_timer: asyncio.TimerHandle | None = None
        self._tie()
        self._settlement.ended = ended

    def _tie(self) -> None:
        """Tell the parts what to call: they know each other by these, and not by name."""
        self._settlement.wants = self.wants
        self._settlement.adopt = self._adopt
        self._settlement.waiting = self._waiting
        self._settlement.settled = self._settled
        self._dispatch.loading = self._loading
        self._dispatch.refill = self._backlog.refill
        self._dispatch.dismiss = self._release
        self._dispatch.admits = self._admits
        self._dispatch.reroute = lambda entry, destination: self._routed(entry, destination.site)

    # -- what comes in ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look into the spool."""
        self._backlog.start()

    def accepted(self, message: NewMessage, deliveries: Sequence[Delivery]) -> None:
        """Take in deliveries of `message` that were born ACTIVE here, after their commit: the first attempt needs no read."""
        if deliveries:
            self._take_in(self._memory.bodies.offer(stored(message)), deliveries)

    def withdraw(self, deliveries: Iterable[int]) -> None:
        """Let go what has not been started of `deliveries`: their message was refused, and is taken out of the spool."""
        entries = self._memory.entries
        found = {entry for id in deliveries if (entry := entries.get(id)) is not None and not entry.started}
        leaves = found.__contains__
        self._routing.withdraw(leaves)
        if self._gate is not None:
            self._gate.withdraw(leaves)
        for entry in found:
            if entry.path is not None:
                self._dispatch.withdraw(entry.path, leaves)
                self._dispatch.forget(entry.path)
            self._memory.forget(entry)

    def wants(self, queue: str) -> bool:
        """Return whether a new delivery for `queue` may be born ACTIVE: ours, room in memory, and nobody waits in the spool before it."""
        if self._paused or self._draining or not self._store.owns(queue):
            return False
        if len(self._memory.entries) >= self._memory.limit or (self._yielding and shard_of(queue) in self._yielding):
            return False
        path = self._dispatch.paths.get(queue)
        if path is None:
            return True
        if path.backlog or path.failures:
            return False
        if len(path.ready) >= self._path_most:
            # from now on mail goes to the spool, and later mail behind it, until a claim finds nothing left there
            path.backlog = True
            return False
        return True

    def hint(self, queues: Iterable[str]) -> None:
        """Look into these queues soon: another worker put something there, or an operator released it."""
        self._backlog.hint(queues)

    def wake(self, queues: Sequence[str]) -> None:
        """End the pauses of these queues' sites, of all sites where none is named, and look for their mail: an operator says now.

        Failures are remembered, so one connection asks first, as after any pause, and the next pause is no shorter; but nor is it longer
        for having been asked: who asks often would have a site left alone for ever longer.
        """
        now = self._loop.time()
        paths = self._dispatch.paths
        chosen = [paths[queue] for queue in queues if queue in paths] if queues else list(paths.values())
        paused = [path for path in chosen if path.blocked(now)]
        for path in paused:
            path.blocked_until = now
            path.failures = max(1, path.failures - 1)
        self._backlog.hint([path.site for path in paused])

    # -- shards -------------------------------------------------------------------------------------------------------

    def set_shards(self, shards: frozenset[int]) -> None:
        """Take note of our shards: lost ones are yielded, gained ones are looked into."""
        lost = self._shards - shards
        self._shards = shards
        self._yielding -= shards
        self._store.set_shards(shards)
        if lost:
            self.yield_shards(lost)
        self._backlog.hint(())

    def yield_shards(self, shards: frozenset[int]) -> None:
        """Give up `shards`: nothing new is started; `idle(shards)` is called when no connection, attempt or record of theirs is left."""
        self._shards -= shards
        self._store.set_shards(self._shards)
        self._yielding |= shards
        self._give_back(self._lost)
        for path in tuple(self._dispatch.paths.values()):
            if path.shard in shards:
                path.backlog = False
                for connection in tuple(path.works):
                    connection.stop()
        self._watch_yield()

    def _watch_yield(self) -> None:
        """Look every tick whether shards have become idle, while there are any to give up."""
        if self._yield_timer is not None:
            self._yield_timer.cancel()
            self._yield_timer = None
        busy = {path.shard for path in self._dispatch.paths.values() if path.works or path.completing}
        for entry in self._memory.entries.values():
            busy.add(shard_of(entry.delivery.queue))
        done = self._yielding - busy
        if done and not self._backlog.claiming:
            self._yielding -= done
            self._idle(done)
        if self._yielding:
            self._yield_timer = self._loop.call_later(_TICK, self._watch_yield)

    def _lost(self, entry: Entry) -> bool:
        """Whether `entry` must go: its row's shard, or that of the site it waits for, is not ours."""
        return not self._store.owns(entry.delivery.queue) or (
            entry.path is not None and not self._store.owns(entry.path.site)
        )

    # -- stopping -----------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Start nothing more; what is under way goes on."""
        self._paused = self._dispatch.halted = True
        self._backlog.stop()

    def resume(self) -> None:
        """Go on after `pause`."""
        if not self._draining:
            self._paused = self._dispatch.halted = False
            self._backlog.start()
            for path in tuple(self._dispatch.paths.values()):
                self._dispatch.pump(path)

    async def recall(self) -> None:
        """Give back everything unstarted and return when that is durable, so that an operator's change meets it in the spool.

        To be called while paused. What is under way stays ACTIVE until its outcome. Raise SpoolError if the store cannot write.
        """
        while self._backlog.claiming:
            await self._sleep(_TICK)
        self._give_back(lambda entry: True)
        await self._barrier()

    async def drain(self, deadline: float) -> bool:
        """Stop for good: give back what is unstarted, let connections finish; return whether all ended before `deadline` (loop time)."""
        self._draining = True
        self.pause()
        self._give_back(lambda entry: True)
        for connection in tuple(self._dispatch.connections):
            connection.stop()
        while self._dispatch.connections or self._memory.entries or self._backlog.claiming:
            if self._loop.time() >= deadline:
                break
            await self._sleep(_TICK)
        ended = not self._dispatch.connections and not self._memory.entries
        self._settlement.ask_no_more()
        await self._tasks.close()
        return ended

    async def _barrier(self) -> None:
        """Return after the commit of all writes handed in before: a completion of no delivery changes nothing, but its sync covers them."""
        done: asyncio.Future[None] = self._loop.create_future()

        def answer(error: SpoolError | None, _applied: bool, _born: Sequence[Delivery]) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        self._store.complete(Completion(0, MessageId(bytes(16))), answer)
        await done

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # -- what it says about itself ------------------------------------------------------------------------------------

    def status(self, sites: int = 100) -> SchedulerStatus:
        """Return counts, and the `sites` longest paths."""
        now = self._loop.time()
        paths = self._dispatch.paths
        longest = sorted(paths.values(), key=lambda path: (-len(path.ready), -len(path.works), path.site))[:sites]
        return SchedulerStatus(
            deliveries=len(self._memory.entries),
            routing=len(self._routing),
            bodies=self._memory.bodies.used,
            connections=len(self._dispatch.connections),
            paths=len(paths),
            paused=self._paused,
            sites=tuple(path_status(path, now) for path in longest),
        )

    def why(self, queue: str) -> Why:
        """Return why due mail of `queue` is not being sent this moment."""
        now = self._loop.time()
        path = self._dispatch.paths.get(queue)
        last = path.last if path is not None else None
        if not self._store.owns(queue):
            return Why(queue, "not-ours")
        if self._paused:
            return Why(queue, "paused", last=last)
        if self._routing.waiting(queue):
            return Why(queue, "routing")
        if path is None:
            return Why(queue, "due-later")
        if path.blocked(now):
            return Why(queue, "unreachable", path.blocked_until - now, last)
        if path.waiting:
            return Why(queue, "machine-limit", last=last)
        if path.limit.room(now) < 1:
            return Why(queue, "connection-limit", last=last)
        if path.aside:
            return Why(queue, "plugin", last=last)
        return Why(queue, "in-turn" if path.ready or path.backlog else "due-later", last=last)

    # -- between the parts --------------------------------------------------------------------------------------------

    def _take_in(self, held: Held | None, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries that are ACTIVE under our epoch where they belong. Those of one message come together, so that they join."""
        memory = self._memory
        if len(deliveries) == 1:
            path = self._place(memory.add(deliveries[0], held))
            if path is not None:
                self._dispatch.pump(path)
            return
        self._enter([memory.add(delivery, held) for delivery in deliveries])

    def _enter(self, entries: Sequence[Entry]) -> None:
        paths = {path: None for entry in entries if (path := self._place(entry)) is not None}
        for path in paths:
            self._dispatch.pump(path)

    def _place(self, entry: Entry) -> Path | None:
        """Send `entry` to its path, which must be pumped then, or to routing; give it back where it may not stay."""
        queue = entry.delivery.queue
        if not self._admits(entry):
            self._release([entry])
            return None
        if queue.startswith(ROUTING):
            self._routing.route(entry)
            return None
        return self._dispatch.enqueue(queue, entry)

    def _admits(self, entry: Entry) -> bool:
        if self._paused or self._draining:
            return False
        # many accepts may have been told yes before the first of them was committed: what is far too much goes back
        if len(self._memory.entries) > self._most and not entry.started:
            return False
        return not self._lost(entry)

    def _expired(self, deliveries: Sequence[Delivery], messages: Mapping[MessageId, StoredMessage]) -> None:
        """Fail what the backlog claimed because its time is over, or an operator said so, with what was last heard of it or of its site."""
        entries = self._remembered(deliveries, messages)
        staying = [entry for entry in entries if self._admits(entry)]
        self._release([entry for entry in entries if not self._admits(entry)])
        for entry in staying:
            queue = entry.delivery.queue
            path = self._dispatch.paths.get(queue)
            last = entry.delivery.last or (path.last if path is not None else None) or _UNTRIED
            over = returned if entry.delivery.expires == RETURNED else expired
            self._dispatch.put_off((entry,), queue, over(last))

    def _claimed(self, deliveries: Sequence[Delivery], messages: Mapping[MessageId, StoredMessage]) -> None:
        """Take in what came from the spool, with the messages that were read already; the others are read when their turn comes."""
        entries = self._remembered(deliveries, messages)
        self._enter(entries if self._current is None else self._in_place(entries, self._current))

    def _in_place(self, entries: list[Entry], current: Callable[[str, Route], str]) -> list[Entry]:
        """Return the entries that still belong where they waited, and send the others where they belong now."""
        staying = []
        for entry in entries:
            queue = entry.delivery.queue
            site = current(queue, entry.delivery.route)
            if site == queue:
                staying.append(entry)
            else:
                self._routed(entry, site)
        return staying

    def _remembered(self, deliveries: Sequence[Delivery], messages: Mapping[MessageId, StoredMessage]) -> list[Entry]:
        memory, bodies = self._memory, self._memory.bodies
        entries = []
        for delivery in deliveries:
            held = bodies.find(delivery.message)
            if held is None and (message := messages.get(delivery.message)) is not None:
                held = bodies.offer(message)
            entries.append(memory.add(delivery, held))
        return entries

    def _adopt(self, message: NewMessage | Held | None, deliveries: Sequence[Delivery]) -> None:
        held = self._memory.bodies.offer(stored(message)) if isinstance(message, NewMessage) else message
        self._take_in(held, deliveries)

    def _routed(self, entry: Entry, site: str) -> None:
        """Take note of an entry's site: send it here if that is ours and takes more, else move its row there."""
        if self._paused or self._draining or not self._store.owns(entry.delivery.queue):
            self._release([entry])
            return
        if site == entry.delivery.queue or self._wants_site(site):
            self._dispatch.pump(self._dispatch.enqueue(site, entry))
            return
        self._settlement.move(entry, site)

    def _wants_site(self, site: str) -> bool:
        path = self._dispatch.paths.get(site)
        if not self._store.owns(site) or shard_of(site) in self._yielding:
            return False
        return path is None or not (path.backlog or path.failures or len(path.ready) >= self._path_most)

    def _waiting(self, queues: set[str]) -> None:
        """Tell of queues with something READY: ourselves or their owners."""
        ours = {queue for queue in queues if self._store.owns(queue)}
        if ours:
            self._backlog.hint(ours)
        if others := queues - ours:
            self._hint_others(others)

    def _settled(self, entry: Entry) -> None:
        path = entry.path
        if path is not None and not path.works and not path.ready:
            self._dispatch.forget(path)

    def _give_back(self, leaves: Callable[[Entry], bool]) -> None:
        """Give unstarted entries for which `leaves` is true back to the spool."""
        gone = self._routing.withdraw(leaves)
        if self._gate is not None:
            gone += self._gate.withdraw(leaves)
        for path in tuple(self._dispatch.paths.values()):
            gone += self._dispatch.withdraw(path, leaves)
            self._dispatch.forget(path)
        self._release(gone)

    def _release_one(self, entry: Entry) -> None:
        """Give back an entry whose message could not be read now."""
        if entry.path is not None and not entry.started:
            self._dispatch.withdraw(entry.path, lambda other: other is entry)
        self._release([entry])

    def _release(self, entries: list[Entry]) -> None:
        if entries:
            self._store.release([entry.delivery.id for entry in entries])
            for entry in entries:
                self._memory.forget(entry)

    def _drop(self, entry: Entry) -> None:
        """Let go an entry whose message is gone or in quarantine: there is nothing to record."""
        if entry.path is not None and not entry.started:
            self._dispatch.withdraw(entry.path, lambda other: other is entry)
            self._dispatch.pump(entry.path)
        self._memory.forget(entry)
