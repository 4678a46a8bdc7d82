"""The way into the queue as sessions see it: routes from the configuration, placement from router and scheduler,
durability from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence

import msgspec

from upesi.config.settings import DeliverySettings
from upesi.control.hints import Hints
from upesi.delivery.routes import RouteTable
from upesi.limits.memory import MemoryBudget
from upesi.mail.address import Address
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome
from upesi.mail.route import MxRoute, Route
from upesi.reports.dsn import DsnReporter
from upesi.runtime.cut_through import Crossing, CutThrough
from upesi.runtime.handover import ACCEPTED, Handover, Told, Word
from upesi.runtime.owners import Owners
from upesi.scheduler.engine import Scheduler
from upesi.scheduler.tasks import Emit
from upesi.scheduler.work import Router
from upesi.session.intake import BodyWriter, MemoryFull, Placement
from upesi.spool.bodies import BodyFolder
from upesi.spool.records import Delivery, DeliveryState, NewMessage
from upesi.spool.store import SpoolError, SpoolFull, Store

__all__ = ["SpoolIntake", "place"]


def place(router: Router, route: Route) -> tuple[str, DeliveryState]:
    """Return the queue of `route` and the state to begin in: ROUTING where only DNS can say which site it is."""
    site = router.site(route)
    if site is not None:
        return site, DeliveryState.READY
    assert isinstance(route, MxRoute)
    return f"domain:{route.key}", DeliveryState.ROUTING


class SpoolIntake:
    """Implements `session.intake.Intake` for one worker."""

    __slots__ = (
        "_bodies",
        "_budget",
        "_cut_through",
        "_emit",
        "_handover",
        "_hints",
        "_owners",
        "_reporter",
        "_router",
        "_routes",
        "_run",
        "_scheduler",
        "_store",
        "lifetime",
    )

    def __init__(
        self,
        store: Store,
        bodies: BodyFolder,
        scheduler: Scheduler,
        router: Router,
        routes: RouteTable,
        reporter: DsnReporter,
        owners: Owners,
        hints: Hints,
        handover: Handover,
        cut_through: CutThrough,
        settings: DeliverySettings,
        budget: MemoryBudget,
        run: Callable[[Coroutine[object, object, None]], None],
        emit: Emit,
    ) -> None:
        """`run` runs what nobody waits for."""
        self._budget = budget
        self._store = store
        self._bodies = bodies
        self._scheduler = scheduler
        self._router = router
        self._routes = routes
        self._reporter = reporter
        self._owners = owners
        self._hints = hints
        self._handover = handover
        self._cut_through = cut_through
        self._emit = emit
        self._run = run
        self.lifetime = float(settings.expire)

    def full(self) -> bool:
        """Whether new mail is answered 452 now."""
        return self._store.full() or self._budget.full

    def starved(self) -> bool:
        """Whether that is for want of memory, and not of disk."""
        return self._budget.full and not self._store.full()

    def body_writer(self) -> BodyWriter:
        """Return a writer for one message; raise MemoryFull where message data takes all the memory that it may."""
        if self._budget.spent:
            raise MemoryFull("message data of sessions takes all the memory that it may")
        return self._bodies.writer(self._budget)

    def default_route(self, address: Address) -> Route:
        """Return what the configuration says for this recipient."""
        return self._routes.route_for(address)

    def place(self, route: Route) -> Placement:
        """Return where a delivery by `route` waits, and whether it is tried from memory at once."""
        queue, state = place(self._router, route)
        return Placement(queue, state, self._scheduler.wants(queue))

    def accept(self, message: NewMessage, done: Callable[[SpoolError | None], None]) -> None:
        """Make `message` durable, then call `done`: by the worker that owns its queues, where that is another one, or ourselves."""
        owner = self._other_owner(message)
        if owner is None or not self._handover.give(owner, message, lambda word: self._told(word, message, done)):
            self._write(message, done)

    def _other_owner(self, message: NewMessage) -> str | None:
        """Return the worker that owns all of `message`; None where that is ourselves, nobody, or several, or where nothing is due yet."""
        if not message.events:
            # by its first event one knows whether it was written (`_look`)
            return None
        found: str | None = None
        for delivery in message.deliveries:
            if delivery.held or delivery.due > message.received or self._store.owns(delivery.queue):
                return None
            owner = self._owners.owner(delivery.queue)
            if owner is None or (found is not None and owner != found):
                return None
            found = owner
        return found

    def _told(self, word: Word, message: NewMessage, done: Callable[[SpoolError | None], None]) -> None:
        if word in ACCEPTED:
            done(None)
        elif word is Word.DECLINED:
            self._write(message, done)
        elif word is Word.LOST:
            self._run(self._look(message, done))
        else:
            done(SpoolFull("no room") if word is Word.FULL else SpoolError("the owner of the queue could not write"))

    async def _look(self, message: NewMessage, done: Callable[[SpoolError | None], None]) -> None:
        """Find out whether a worker that died had written `message`, and write it if not.

        It died with all its threads: what is not in the spool by then never will be.
        """
        try:
            kept = await self._store.kept(message.id)
        except SpoolError as error:
            done(error)
            return
        if kept:
            done(None)
        else:
            self._write(message, done)

    def keep(self, message: NewMessage, told: Told) -> None:
        """Take what another worker hands over: write what is ours with our own mail, and send it as if it had come to us."""
        owns, wants = self._store.owns, self._scheduler.wants
        for delivery in message.deliveries:
            if not owns(delivery.queue):
                told(Word.DECLINED)
                return
        if self.full():
            told(Word.DECLINED)
            return
        # whether it is sent at once was not for the other one to say
        deliveries = tuple([msgspec.structs.replace(each, claim=wants(each.queue)) for each in message.deliveries])
        ours = msgspec.structs.replace(message, deliveries=deliveries)

        self._put(ours, lambda word, error: told(word))

    def _write(self, message: NewMessage, done: Callable[[SpoolError | None], None]) -> None:
        self._put(message, lambda word, error: done(error))

    def _put(self, message: NewMessage, answer: Callable[[Word, SpoolError | None], None]) -> None:
        """Write `message`, then call `answer`, once, and hand it on.

        To our scheduler goes what was born ours, a hint to the owners of the rest.
        """
        crossings = self._cut_through

        def begun(born: Sequence[Delivery]) -> None:
            # one that somebody else sends, or that waits in the spool: nobody here would hear of its end
            if len(born) == len(message.deliveries):
                crossings.begin(message.id, born, lambda: answer(Word.TAKEN, None))
                self._scheduler.accepted(message, born)

        def committed(error: SpoolError | None, born: Sequence[Delivery]) -> None:
            crossing = crossings.end(message.id)
            if crossing is not None:
                self._crossed(message, crossing, error)
                if not crossing.answered:
                    answer(_word(error, Word.KEPT), error)
                return
            answer(_word(error, Word.KEPT if born else Word.WAITS), error)
            if error is None:
                self._hand_on(message, born)

        self._store.accept(message, committed, begun if crossings.enabled else None)

    def _crossed(self, message: NewMessage, crossing: Crossing, error: SpoolError | None) -> None:
        """Deal with a failed sync of what was sent already, or is about to be."""
        if error is None:
            return
        self._scheduler.withdraw(crossing.deliveries)
        if crossing.answered:
            # its receivers have it, and nobody else could say so
            self._emit("message.unrecorded", {"message": message.id.hex(), "error": str(error)})

    def _hand_on(self, message: NewMessage, born: Sequence[Delivery]) -> None:
        if born:
            self._scheduler.accepted(message, born)
        if len(born) != len(message.deliveries):
            for delivery in message.deliveries:
                self.hint(delivery.queue)

    def report(self, message: NewMessage, told: tuple[tuple[Recipient, Outcome], ...]) -> NewMessage | None:
        """Return the DSN for recipients that were refused after the data, or expanded."""
        return self._reporter.accepting(message, told)

    def hint(self, queue: str) -> None:
        """Say to whom it belongs, ourselves or another worker, that `queue` has something due."""
        if self._store.owns(queue):
            self._scheduler.hint((queue,))
        elif (owner := self._owners.owner(queue)) is not None:
            self._hints.send(owner, queue)


def _word(error: SpoolError | None, good: Word) -> Word:
    if error is None:
        return good
    return Word.FULL if isinstance(error, SpoolFull) else Word.FAILED
