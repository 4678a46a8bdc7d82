"""The way into the queue as sessions see it: routes from the configuration, placement from router and scheduler,
durability from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from upesi.config.settings import DeliverySettings
from upesi.control.hints import Hints
from upesi.delivery.routes import RouteTable
from upesi.limits.memory import MemoryBudget
from upesi.mail.address import Address
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Outcome
from upesi.mail.route import MxRoute, Route
from upesi.reports.dsn import DsnReporter
from upesi.runtime.owners import Owners
from upesi.scheduler.engine import Scheduler
from upesi.scheduler.work import Router
from upesi.session.intake import BodyWriter, MemoryFull, Placement
from upesi.spool.bodies import BodyFolder
from upesi.spool.records import Delivery, DeliveryState, NewMessage
from upesi.spool.store import SpoolError, Store

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
        "_hints",
        "_owners",
        "_reporter",
        "_router",
        "_routes",
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
        settings: DeliverySettings,
        budget: MemoryBudget,
    ) -> None:
        self._budget = budget
        self._store = store
        self._bodies = bodies
        self._scheduler = scheduler
        self._router = router
        self._routes = routes
        self._reporter = reporter
        self._owners = owners
        self._hints = hints
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
        """Make `message` durable, then call `done`, then hand it on: to our scheduler what was born ours, a hint
        to the owners of the rest.
        """

        def committed(error: SpoolError | None, born: Sequence[Delivery]) -> None:
            done(error)
            if error is not None:
                return
            if born:
                self._scheduler.accepted(message, born)
            if len(born) != len(message.deliveries):
                self._hint(message)

        self._store.accept(message, committed)

    def report(self, message: NewMessage, told: tuple[tuple[Recipient, Outcome], ...]) -> NewMessage | None:
        """Return the DSN for recipients that were refused after the data, or expanded."""
        return self._reporter.accepting(message, told)

    def _hint(self, message: NewMessage) -> None:
        for delivery in message.deliveries:
            self.hint(delivery.queue)

    def hint(self, queue: str) -> None:
        """Say to whom it belongs, ourselves or another worker, that `queue` has something due."""
        if self._store.owns(queue):
            self._scheduler.hint((queue,))
        elif (owner := self._owners.owner(queue)) is not None:
            self._hints.send(owner, queue)
