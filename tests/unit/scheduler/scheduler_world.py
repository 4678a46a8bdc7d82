"""A world for the scheduler: virtual time, a store, a router and agents that do what a test says."""

from __future__ import annotations

import asyncio
import itertools
import selectors
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from upesi.config.settings import DeliverySettings
from upesi.limits.shares import Holder
from upesi.mail.address import Address
from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Recipient, Transmission
from upesi.mail.ids import MessageId, MessageIds
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import HostRoute, MxRoute, Route
from upesi.runtime.cut_through import CutThrough
from upesi.scheduler.engine import Scheduler
from upesi.scheduler.hooks import DeliveryHooks
from upesi.scheduler.work import Attempt, Destination, Ending, Host, Unroutable, Work
from upesi.spool.records import (
    SHARDS,
    Completion,
    Delivery,
    DeliveryState,
    NewDelivery,
    NewMessage,
    QueueHead,
    StoredMessage,
    shard_of,
)
from upesi.spool.store import AcceptDone, Begun, SpoolError

EPOCH = 1_700_000_000.0
DELIVERED = Outcome(OutcomeKind.DELIVERED, 250, "2.0.0", "ok", "mx")
DEFERRED = Outcome(OutcomeKind.DEFERRED, 451, "4.3.0", "later", "mx")
FAILED = Outcome(OutcomeKind.FAILED, 550, "5.1.1", "no such user", "mx")
DOWN = Outcome(OutcomeKind.DEFERRED, 0, "4.4.1", "connection refused")
ALL = frozenset(range(SHARDS))


class _Jump(selectors.SelectSelector):
    """Does not wait: moves the clock to where the wait would have ended."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if not events and timeout:
            self.loop.now += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time passes only where nothing else is to be done."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


class FakeStore:
    """Rows in memory; a write is durable, and answered, `delay` seconds later, all of a batch together."""

    epoch = 1

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.delay = 0.001
        # seconds for which a commit waits for its sync; what was committed in front of a failing one is taken back
        self.sync = 0.0
        self.failing: SpoolError | None = None
        self.rows: dict[int, Delivery] = {}
        self.messages: dict[MessageId, StoredMessage] = {}
        self.accepted: set[MessageId] = set()  # every message that was ever durable here
        self.shards: frozenset[int] = ALL
        self.ids = itertools.count(1)
        self.completions: list[Completion] = []
        self.writes: list[Callable[[], None]] = []
        self.broken = 0  # commits that fail
        self.refused: set[MessageId] = set()  # messages whose completions fail, alone
        self.claims: list[tuple[str, int, int]] = []
        self.loads: list[MessageId] = []
        self.events: list[Any] = []

    def owns(self, queue: str) -> bool:
        return shard_of(queue) in self.shards

    def set_shards(self, shards: frozenset[int]) -> None:
        self.shards = shards

    def full(self) -> bool:
        return False

    def accept(self, message: NewMessage, done: AcceptDone, begun: Begun | None = None) -> None:
        def commit() -> None:
            born = self._insert(message)
            if not self.sync:
                done(None, born)
                return
            if begun is not None:
                begun(born)
            self.loop.call_later(self.sync, synced, born)

        def synced(born: Sequence[Delivery]) -> None:
            if self.failing is None:
                done(None, born)
                return
            for id in [row.id for row in self.rows.values() if row.message == message.id]:
                del self.rows[id]
            self.messages.pop(message.id, None)
            done(self.failing, ())

        self._write(commit)

    async def kept(self, message: MessageId) -> bool:
        return message in self.accepted

    def complete(self, completion: Completion, done: Callable[..., None]) -> None:
        def commit() -> None:
            if self.broken:
                self.broken -= 1
                done(SpoolError("disk"), False, ())
                return
            if completion.message in self.refused:
                done(SpoolError("cannot be encoded"), False, ())
                return
            row = self.rows.get(completion.delivery)
            if row is None or row.state is not DeliveryState.ACTIVE:
                done(None, False, ())
                return
            del self.rows[completion.delivery]
            self.completions.append(completion)
            self.events += completion.events
            born = [self._row(completion.message, row.received, new) for new in completion.remaining]
            for message in completion.spawn:
                born += self._insert(message)
            if not any(each.message == completion.message for each in self.rows.values()):
                del self.messages[completion.message]
            done(None, True, [each for each in born if each.state is DeliveryState.ACTIVE])

        self._write(commit)

    def release(self, deliveries: Sequence[int]) -> None:
        ids = tuple(deliveries)

        def commit() -> None:
            for id in ids:
                row = self.rows.get(id)
                assert row is not None, "released what is settled"
                assert row.state is DeliveryState.ACTIVE, "released what is not ours"
                self.rows[id] = _state(row, DeliveryState.READY)

        self._write(commit)

    async def heads(self, now: float, limit: int) -> list[QueueHead]:
        heads: dict[str, list[float]] = {}
        for row in self._due(now):
            heads.setdefault(row.queue, []).append(row.due)
        found = [QueueHead(queue, len(dues), min(dues)) for queue, dues in heads.items()]
        return sorted(found, key=lambda head: head.next_due)[:limit]

    async def next_due(self) -> float | None:
        return min((row.due for row in self._due(float("inf"))), default=None)

    async def claim(self, queue: str, now: float, limit: int) -> list[Delivery]:
        due = sorted((row for row in self._due(now) if row.queue == queue), key=lambda row: (row.due, row.id))[:limit]
        await asyncio.sleep(self.delay)
        for row in due:
            self.rows[row.id] = _state(row, DeliveryState.ACTIVE)
        self.claims.append((queue, limit, len(due)))
        return [self.rows[row.id] for row in due]

    async def claim_expired(self, queues: Collection[str], now: float, limit: int) -> list[Delivery]:
        await asyncio.sleep(self.delay)
        over = [row for row in self._due(float("inf")) if row.queue in queues and row.expires <= now][:limit]
        for row in over:
            self.rows[row.id] = _state(row, DeliveryState.ACTIVE)
        return [self.rows[row.id] for row in over]

    async def load(self, message: MessageId) -> StoredMessage | None:
        self.loads.append(message)
        await asyncio.sleep(self.delay)
        return self.messages.get(message)

    async def load_many(self, wanted: Sequence[tuple[int, MessageId]]) -> list[StoredMessage | SpoolError | None]:
        # one journey for all of them; a subclass that makes single reads fail is asked one by one
        if type(self).load is not FakeStore.load:
            return [await self._load_or_error(message) for _, message in wanted]
        self.loads.extend(message for _, message in wanted)
        await asyncio.sleep(self.delay)
        return [self.messages.get(message) for _, message in wanted]

    async def _load_or_error(self, message: MessageId) -> StoredMessage | SpoolError | None:
        try:
            return await self.load(message)
        except SpoolError as error:
            return error

    async def close(self) -> None:
        return None

    def _due(self, now: float) -> list[Delivery]:
        waiting = (DeliveryState.READY, DeliveryState.ROUTING)
        return [row for row in self.rows.values() if row.state in waiting and row.due <= now and self.owns(row.queue)]

    def _insert(self, new: NewMessage) -> list[Delivery]:
        self.accepted.add(new.id)
        self.messages[new.id] = StoredMessage(
            new.id, new.received, new.reverse_path, new.transmission, new.prefix, new.body, new.origin, new.notes
        )
        rows = [self._row(new.id, new.received, each) for each in new.deliveries]
        return [row for row in rows if row.state is DeliveryState.ACTIVE]

    def _row(self, message: MessageId, received: float, new: NewDelivery) -> Delivery:
        state = DeliveryState.ACTIVE if new.claim and self.owns(new.queue) else new.state
        row = Delivery(
            next(self.ids),
            message,
            new.queue,
            state,
            new.route,
            new.recipients,
            received,
            new.due,
            new.expires,
            new.attempts,
            100,
            new.last,
        )
        self.rows[row.id] = row
        return row

    def _write(self, commit: Callable[[], None]) -> None:
        self.writes.append(commit)
        if len(self.writes) == 1:
            self.loop.call_later(self.delay, self._commit)

    def _commit(self) -> None:
        writes, self.writes = self.writes, []
        for commit in writes:
            commit()


def _state(row: Delivery, state: DeliveryState) -> Delivery:
    return Delivery(
        row.id,
        row.message,
        row.queue,
        state,
        row.route,
        row.recipients,
        row.received,
        row.due,
        row.expires,
        row.attempts,
        row.size,
        row.last,
    )


class FakeRouter:
    """Domains share a site by `sites`; hosts are their own. `known` are answered without asking."""

    def __init__(self) -> None:
        self.sites: dict[str, str] = {}
        self.known: set[str] = set()
        self.unroutable: dict[str, Outcome] = {}
        self.asked: list[Route] = []
        self.asking = 0
        self.most_asking = 0
        self.delay = 0.01

    def site(self, route: Route) -> str | None:
        if isinstance(route, HostRoute):
            return f"host:{route.host}:{route.port}"
        if isinstance(route, MxRoute) and route.domain in self.known:
            return self.site_of(route)
        return None

    def site_of(self, route: Route) -> str:
        if isinstance(route, HostRoute):
            return f"host:{route.host}:{route.port}"
        assert isinstance(route, MxRoute)
        return self.sites.get(route.domain, f"mx:{route.domain}")

    async def resolve(self, route: Route) -> Destination:
        self.asked.append(route)
        self.asking += 1
        self.most_asking = max(self.most_asking, self.asking)
        await asyncio.sleep(self.delay)
        self.asking -= 1
        if isinstance(route, MxRoute) and route.domain in self.unroutable:
            raise Unroutable(self.unroutable[route.domain])
        return Destination(self.site_of(route), route, (Host("mx"),))


@dataclass
class Site:
    """How a receiver behaves."""

    connect: float = 0.01
    reply: float = 0.005
    hangs: bool = False  # accepts the connection and the message, never answers
    down: Outcome | None = None
    outcome: Callable[[Recipient], Outcome] = lambda recipient: DELIVERED
    dies: int = 0  # connections that end before anything counted, the message given back
    idle: float = 5.0
    messages: int = 1000
    looks_ahead: bool = False
    room: int = 0  # recipients that it takes in one transaction, if it says so
    # seen
    open: int = 0
    most: int = 0
    started: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    delivered: list[tuple[MessageId, str]] = field(default_factory=list)


class FakeRunning:
    """One connection of the fake agent: connects, pulls, answers, waits, ends."""

    def __init__(self, loop: VirtualLoop, work: Work, site: Site) -> None:
        self.work = work
        self.site = site
        self.loop = loop
        self.woken = asyncio.Event()
        self.stopped = False
        site.started += 1
        site.open += 1
        site.most = max(site.most, site.open)
        self.task = loop.create_task(self.run())

    def wake(self) -> None:
        self.woken.set()

    def stop(self) -> None:
        self.stopped = True
        self.woken.set()

    async def run(self) -> None:
        site, work = self.site, self.work
        await asyncio.sleep(site.connect)
        if site.down is not None:
            self._end(Ending.UNREACHABLE, site.down)
            return
        if site.room:
            work.restrict(site.room)
        for _ in range(site.messages):
            attempt = None
            while attempt is None:
                self.woken.clear()
                attempt = None if self.stopped else work.take()
                if attempt is None and (self.stopped or not await self._woken()):
                    self._end(Ending.CLOSED)
                    return
            if site.dies:
                site.dies -= 1
                work.give_back(attempt)
                break
            site.attempts.append(attempt)
            ahead = work.take() if site.looks_ahead else None
            if site.hangs:
                await self.loop.create_future()
            await asyncio.sleep(site.reply)
            outcomes = tuple(site.outcome(recipient) for recipient in attempt.recipients)
            for recipient, outcome in zip(attempt.recipients, outcomes, strict=True):
                if outcome.kind is OutcomeKind.DELIVERED:
                    site.delivered.append((attempt.message.id, str(recipient.address)))
            work.finish(attempt, outcomes)
            if ahead is not None:
                work.give_back(ahead)
        self._end(Ending.CLOSED)

    def _end(self, ending: Ending, outcome: Outcome | None = None) -> None:
        # the socket is closed before it is reported, never after
        self.site.open -= 1
        self.work.ended(ending, outcome)

    async def _woken(self) -> bool:
        try:
            async with asyncio.timeout(self.site.idle):
                await self.woken.wait()
        except TimeoutError:
            return False
        return True


class FakeDeliverer:
    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.sites: dict[str, Site] = {}
        self.open = 0
        self.running: list[FakeRunning] = []

    def site(self, name: str) -> Site:
        return self.sites.setdefault(name, Site())

    def start(self, work: Work) -> FakeRunning:
        running = FakeRunning(self.loop, work, self.site(work.destination.site))
        self.running.append(running)
        return running


class FakeReporter:
    """Writes a one-line report to `host:bounce:25`."""

    def __init__(self) -> None:
        self.reports: list[tuple[StoredMessage, tuple[tuple[Recipient, Outcome], ...]]] = []
        # what else senders were told: "delayed" or "succeeded", when, of whom
        self.notices: list[tuple[str, float, tuple[tuple[Recipient, Outcome], ...]]] = []

    def failed(
        self, message: StoredMessage, recipients: tuple[tuple[Recipient, Outcome], ...], id: MessageId, now: float
    ) -> NewMessage | None:
        if message.reverse_path is None:
            return None
        self.reports.append((message, recipients))
        return self._report(message, id, now)

    def delayed(
        self,
        message: StoredMessage,
        recipients: tuple[tuple[Recipient, Outcome], ...],
        id: MessageId,
        now: float,
        until: float,
    ) -> NewMessage | None:
        assert until > now
        self.notices.append(("delayed", now, recipients))
        return self._report(message, id, now)

    def succeeded(
        self, message: StoredMessage, recipients: tuple[tuple[Recipient, Outcome], ...], id: MessageId, now: float
    ) -> NewMessage | None:
        self.notices.append(("succeeded", now, recipients))
        return self._report(message, id, now)

    def _report(self, message: StoredMessage, id: MessageId, now: float) -> NewMessage:
        assert message.reverse_path is not None
        to = NewDelivery("host:bounce:25", HostRoute("bounce"), (Recipient(message.reverse_path),), now, now + 5000.0)
        return NewMessage(id, now, None, Transmission(), b"", MemoryBody(b"report"), (to,))


class World:
    """The scheduler and all its neighbours."""

    def __init__(self, *, shares: int = 1000, hooks: DeliveryHooks | None = None, **settings: Any) -> None:
        self.loop = VirtualLoop()
        # seconds by which somebody has set the wall clock forward
        self.ahead = 0.0
        asyncio.set_event_loop(self.loop)
        self.store = FakeStore(self.loop)
        self.router = FakeRouter()
        self.agents = FakeDeliverer(self.loop)
        self.reporter = FakeReporter()
        self.holder = Holder(lambda message: None, held=shares)
        self.emitted: list[tuple[str, dict[str, object]]] = []
        self.hinted: set[str] = set()
        # queues whose mail belongs into another one now
        self.renamed: dict[str, str] = {}
        self.idle: list[frozenset[int]] = []
        self.settings = DeliverySettings(**{"jitter": 0.0, **settings})
        counter = itertools.count()
        self.ids = MessageIds(self.wall, lambda n: next(counter).to_bytes(n, "big") if n > 1 else b"\0")
        self.cut_through = CutThrough(self.loop, enabled=True)
        self.scheduler = Scheduler(
            self.store,
            self.router,
            self.agents,
            self.reporter,
            self.settings,
            ids=self.ids,
            wall=self.wall,
            random=lambda: 0.5,
            loop=self.loop,
            shares=self.holder,
            emit=lambda kind, fields: self.emitted.append((kind, fields)),
            hint_others=self.hinted.update,
            idle=self.idle.append,
            hooks=hooks,
            current=lambda queue, route: self.renamed.get(queue, queue),
            ended=self.cut_through.ended,
        )
        self.scheduler.set_shards(ALL)
        self.scheduler.start()

    def wall(self) -> float:
        return EPOCH + self.loop.now + self.ahead

    def close(self) -> None:
        self.run(self.scheduler.drain(self.loop.time()))
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.pass_time(0.01)
        asyncio.set_event_loop(None)
        self.loop.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def pass_time(self, seconds: float) -> None:
        self.run(asyncio.sleep(seconds))

    def message(
        self,
        *recipients: str,
        queue: str | None = None,
        route: Route | None = None,
        body: bytes = b"x" * 100,
        sender: str | None = "sender@s.example",
        expires: float = 432000.0,
        attempts: int = 0,
        age: float = 0.0,
    ) -> NewMessage:
        """Return a message with one delivery for each recipient's domain (queue "host:DOMAIN:25"), born ACTIVE where it is wanted."""
        domains: dict[str, list[Recipient]] = {}
        for text in recipients:
            address = Address.parse(text)
            domains.setdefault(address.domain, []).append(Recipient(address))
        deliveries = []
        for domain, members in domains.items():
            where = queue or f"host:{domain}:25"
            now = self.wall()
            state = DeliveryState.ROUTING if where.startswith("domain:") else DeliveryState.READY
            deliveries.append(
                NewDelivery(
                    where,
                    route or HostRoute(domain),
                    tuple(members),
                    now,
                    now - age + expires,
                    state,
                    attempts,
                    claim=self.scheduler.wants(where),
                )
            )
        reverse = Address.parse(sender) if sender else None
        return NewMessage(
            self.ids.next(), self.wall() - age, reverse, Transmission(), b"", MemoryBody(body), tuple(deliveries)
        )

    def accept(self, *recipients: str, **options: Any) -> NewMessage:
        """Accept a message as a session would, and let the scheduler know."""
        message = self.message(*recipients, **options)

        def done(error: SpoolError | None, deliveries: Sequence[Delivery]) -> None:
            assert error is None
            self.scheduler.accepted(message, deliveries)

        self.store.accept(message, done)
        return message

    def put(self, *recipients: str, **options: Any) -> NewMessage:
        """Put a message into the spool as another worker would: READY, and nobody told."""
        new = self.message(*recipients, **options)
        deliveries = tuple(
            NewDelivery(d.queue, d.route, d.recipients, d.due, d.expires, d.state, d.attempts) for d in new.deliveries
        )
        self.store._insert(
            NewMessage(new.id, new.received, new.reverse_path, new.transmission, new.prefix, new.body, deliveries)
        )
        return new

    def site(self, name: str) -> Site:
        return self.agents.site(f"host:{name}:25")

    def rows(self, state: DeliveryState | None = None) -> list[Delivery]:
        return [row for row in self.store.rows.values() if state is None or row.state is state]

    def kinds(self, prefix: str = "delivery.") -> list[str]:
        return [kind for kind, _ in self.emitted if kind.startswith(prefix)]

    def failures(self) -> list[dict[str, object]]:
        return [fields for kind, fields in self.emitted if kind == "scheduler.failed"]
