"""What waits in the spool: found by index, claimed only where there is room.

Hints say which queues have something new; a look at the index every second finds what no hint told of. A queue whose site is left alone,
or whose share of memory is full, is skipped by its head: its rows are neither read nor scanned, however many there are. A path that
hangs may not fill memory: when others need room, the longest path gives its tail back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence

from upesi.mail.ids import MessageId
from upesi.scheduler.dispatch import Dispatch
from upesi.scheduler.leaps import Leaps
from upesi.scheduler.loading import Loading
from upesi.scheduler.memory import Memory
from upesi.scheduler.paths import Path
from upesi.scheduler.routing import ROUTING, Routing
from upesi.scheduler.tasks import Emit, Tasks
from upesi.spool.records import RETURNED, Delivery, StoredMessage
from upesi.spool.store import SpoolError, Store

__all__ = ["Backlog"]

# Between two looks at the index: what a lost hint can cost
POLL = 1.0
# The same, where something is left, for as long after a look that brought something
_SOON = 0.1
_FRESH = 1.0
# Hints that come within this time are one look
_COALESCE = 0.002
# Queues taken from the index in one look
_HEADS = 100
# What one path may hold in memory: no more than this, and at least that
_MOST = 1000
_LEAST = 10
# Deliveries of one domain that may wait for routing
_ROUTING_ROOM = 200
# Seconds between two looks for a path that holds too much
_EVICTION = 0.1
# Looks between two sweeps over all paths
_SWEEP = 5
# Expired deliveries claimed at once
_EXPIRED = 200
# stands for them among the queues that are being claimed; no queue has this name
_EXPIRY = ""


class Backlog:
    """Claims due deliveries; `arrived` takes what was claimed of a queue, with the messages that there was room for."""

    def __init__(
        self,
        store: Store,
        memory: Memory,
        dispatch: Dispatch,
        routing: Routing,
        wall: Callable[[], float],
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        emit: Emit,
        loading: Loading,
        arrived: Callable[[Sequence[Delivery], Mapping[MessageId, StoredMessage]], None],
        expired: Callable[[Sequence[Delivery], Mapping[MessageId, StoredMessage]], None],
        leaps: Leaps,
    ) -> None:
        """`expired` takes what was claimed because its time is over: it is not to be tried again."""
        self._store = store
        self._memory = memory
        self._dispatch = dispatch
        self._routing = routing
        self._wall = wall
        self._loop = loop
        self._tasks = tasks
        self._emit = emit
        self._loading = loading
        self._arrived = arrived
        self._expired = expired
        self._leaps = leaps
        self._hinted: set[str] = set()
        self._hint_timer: asyncio.TimerHandle | None = None
        self._poll_timer: asyncio.TimerHandle | None = None
        self._polling = False
        self._polls = 0
        # when a look last brought something, by the loop's clock
        self._brought = -_FRESH
        self._evicted_at = 0.0
        # queue -> how many were asked for and may still come
        self._claiming: dict[str, int] = {}
        self.stopped = True

    def start(self) -> None:
        """Begin to look, now."""
        self.stopped = False
        self._poll_in(0.0)

    def stop(self) -> None:
        """Claim nothing more."""
        self.stopped = True
        for timer in (self._hint_timer, self._poll_timer):
            if timer is not None:
                timer.cancel()
        self._hint_timer = self._poll_timer = None

    @property
    def claiming(self) -> bool:
        """Whether a claim is under way: it may still bring something."""
        return bool(self._claiming)

    def hint(self, queues: Iterable[str]) -> None:
        """Look at these queues soon."""
        self._hinted.update(queues)
        if self._hint_timer is None and not self.stopped:
            self._hint_timer = self._loop.call_later(_COALESCE, self._follow_hints)

    def refill(self, path: Path) -> None:
        """Claim more for `path` if there is room."""
        if not self.stopped and path.site not in self._claiming and self._room(path.site):
            self._tasks.run(self._claim(path.site))

    def fair(self) -> int:
        """Return how much one path may hold in memory now."""
        return min(_MOST, max(_LEAST, self._memory.limit // (len(self._dispatch.paths) + 1)))

    # -- looking ------------------------------------------------------------------------------------------------------

    def _follow_hints(self) -> None:
        self._hint_timer = None
        # a claim that is under way may have read the index before the hinted mail was there: looked at again when it is done
        ready = tuple(self._hinted.difference(self._claiming))
        self._hinted.difference_update(ready)
        self._tasks.run(self._claim_all(ready))

    def _poll_in(self, delay: float) -> None:
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        if not self.stopped:
            self._poll_timer = self._loop.call_later(delay, self._look)

    def _look(self) -> None:
        self._poll_timer = None
        if not self._polling:
            self._polling = True
            self._tasks.run(self._poll())

    async def _poll(self) -> None:
        delay = POLL
        try:
            self._dispatch.sharing.ask()
            self._leaps.look()
            self._polls += 1
            if self._polls % _SWEEP == 0:
                await self._sweep()
                await self._expire()
            if await self._claim_due():
                delay = 0.0
            else:
                due = await self._store.next_due()
                now = self._wall()
                if due is not None and due > now:
                    delay = min(POLL, max(0.01, due - now))
                elif due is not None and self._brought + _FRESH > self._loop.time():
                    # the store hands out one at a time of what is under suspicion (spool.suspects)
                    delay = _SOON
                # else what is due already and was not claimed has no room: asking sooner would not change that
        except SpoolError as error:
            self._emit("spool.failed", {"error": type(error).__name__})
        finally:
            self._polling = False
            self._poll_in(delay)

    async def _claim_due(self) -> bool:
        """Claim from the queues with something due; return whether there may be more to claim at once."""
        now = self._loop.time()
        blocked = sum(1 for path in self._dispatch.paths.values() if path.blocked_until and path.blocked(now))
        limit = _HEADS + blocked
        heads = await self._store.heads(self._wall(), limit)
        claimed = await self._claim_all(tuple(head.queue for head in heads))
        if claimed:
            self._brought = self._loop.time()
        return claimed > 0 and len(heads) >= limit

    async def _sweep(self) -> None:
        for path in tuple(self._dispatch.paths.values()):
            self._dispatch.forget(path)
            if path.backlog and not path.ready:
                await self._claim(path.site)

    async def _expire(self) -> None:
        """Claim what expired while its site was left alone: of such a site's mail only a few are tried after each pause.

        The mail of other sites is tried once more, when its turn comes, whenever that is.
        """
        now = self._loop.time()
        sites = [path.site for path in self._dispatch.paths.values() if path.failures and path.blocked(now)]
        room = min(_EXPIRED, self._memory.free - sum(self._claiming.values()))
        while sites and room > 0 and not self.stopped:
            self._claiming[_EXPIRY] = room
            try:
                got = await self._store.claim_expired(sites, self._wall() - self._leaps.behind, room)
                messages = await self._loading.fetch(got)
            finally:
                del self._claiming[_EXPIRY]
            if got:
                self._expired(got, messages)
            if len(got) < room:
                return
            room = min(_EXPIRED, self._memory.free - sum(self._claiming.values()))

    # -- claiming -----------------------------------------------------------------------------------------------------

    async def _claim_all(self, queues: tuple[str, ...]) -> int:
        claimed = 0
        for queue in queues:
            claimed += await self._claim(queue)
        return claimed

    async def _claim(self, queue: str) -> int:
        """Claim as much of `queue` as there is room for; return how many came."""
        room = 0 if self.stopped or queue in self._claiming or not self._store.owns(queue) else self._room(queue)
        if not room:
            return 0
        self._claiming[queue] = room
        try:
            got = await self._store.claim(queue, self._wall(), room)
            messages = await self._loading.fetch(got)
        except SpoolError as error:
            self._emit("spool.failed", {"queue": queue, "error": type(error).__name__})
            return 0
        finally:
            del self._claiming[queue]
            if queue in self._hinted:
                self.hint((queue,))
        path = self._dispatch.paths.get(queue)
        if path is not None:
            path.backlog = len(got) >= room
        elif len(got) >= room and not queue.startswith(ROUTING):
            self._dispatch.path(queue).backlog = True
        if got:
            over = [delivery for delivery in got if delivery.expires == RETURNED]
            if over:
                self._expired(over, messages)
            self._arrived([delivery for delivery in got if delivery.expires != RETURNED] if over else got, messages)
        elif path is not None:
            self._dispatch.forget(path)
        return len(got)

    def _room(self, queue: str) -> int:
        """Return how many deliveries of `queue` may be claimed now."""
        free = max(0, self._memory.free - sum(self._claiming.values()))
        if queue.startswith(ROUTING):
            room = _ROUTING_ROOM - self._routing.waiting(queue)
            return max(0, min(room, free or self._evict()))
        path = self._dispatch.paths.get(queue)
        room = self.fair()
        if path is not None:
            if path.blocked(self._loop.time()):
                return 0
            # a site that could not be reached is asked with a few
            room = min(room, _LEAST) if path.failures else room
            # only when half is gone: a claim of one costs as much as a claim of hundreds
            held = path.held
            if held > room // 2:
                return 0
            room -= held
        return max(0, min(room, free or self._evict()))

    def _evict(self) -> int:
        """Make room at the cost of the path that holds most; return how much there is now. Looked for ten times a second at most."""
        now = self._loop.time()
        if now < self._evicted_at + _EVICTION:
            return 0
        self._evicted_at = now
        largest = max(self._dispatch.paths.values(), key=lambda path: path.held if path.ready else 0, default=None)
        surplus = 0 if largest is None else min(len(largest.ready), largest.held - self.fair())
        if largest is None or surplus <= 0:
            return 0
        # from the tail: it would have been sent last
        self._dispatch.dismiss([largest.ready.pop() for _ in range(surplus)])
        largest.backlog = True
        return self._memory.free
