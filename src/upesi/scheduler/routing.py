"""Deliveries whose site is not known yet (queue "domain:..."): one question per domain, a bounded number at once.

The answer is a site. If its shard is ours and it takes more, the entry goes there at once, and its row stays where it is until its
outcome is recorded; else the row moves to the site's queue, READY, for its owner to claim. Neither counts as an attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from upesi.mail.errors import InvariantError
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import MxRoute, Route
from upesi.scheduler.memory import Entry
from upesi.scheduler.tasks import Emit, Tasks
from upesi.scheduler.work import Router, Unroutable

__all__ = ["ROUTING", "Routing", "queue_of"]

# The queue of a delivery in state ROUTING is this and its domain (spool.records.NewDelivery)
ROUTING = "domain:"
# Questions under way at once; DNS coalesces and bounds its own, this bounds our tasks
_QUESTIONS = 64

_LOCAL = Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "local error in routing")


def queue_of(router: Router) -> Callable[[Route], str]:
    """Return a function that names the queue of a route: its site's, or its domain's where the site is not known yet."""

    def queue(route: Route) -> str:
        site = router.site(route)
        if site is not None:
            return site
        if isinstance(route, MxRoute):
            return ROUTING + route.key
        raise InvariantError("a route that needs no DNS has no site")

    return queue


class Routing:
    """Finds the site of entries, then calls `arrived(entry, site)` or `failed(entries, queue, outcome)`."""

    def __init__(
        self,
        router: Router,
        tasks: Tasks,
        emit: Emit,
        arrived: Callable[[Entry, str], None],
        failed: Callable[[list[Entry], str, Outcome], None],
    ) -> None:
        self._router = router
        self._tasks = tasks
        self._emit = emit
        self._arrived = arrived
        self._failed = failed
        # by queue; a queue stays here while its question is under way
        self._waiting: dict[str, list[Entry]] = {}
        self._order: deque[str] = deque()
        self._askers = 0

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._waiting.values())

    def waiting(self, queue: str) -> int:
        """Return how many entries of `queue` wait for an answer."""
        return len(self._waiting.get(queue, ()))

    def route(self, entry: Entry) -> None:
        """Find where `entry` goes: at once if the router knows, else when it has asked."""
        delivery = entry.delivery
        site = self._router.site(delivery.route)
        if site is not None:
            self._arrived(entry, site)
            return
        queue = delivery.queue
        entries = self._waiting.get(queue)
        if entries is not None:
            entries.append(entry)
            return
        self._waiting[queue] = [entry]
        self._order.append(queue)
        if self._askers < _QUESTIONS:
            self._askers += 1
            self._tasks.run(self._ask())

    def withdraw(self, leaves: Callable[[Entry], bool]) -> list[Entry]:
        """Take out the entries for which `leaves` is true; a question under way goes on for the others."""
        taken: list[Entry] = []
        for queue, entries in self._waiting.items():
            taken += [entry for entry in entries if leaves(entry)]
            self._waiting[queue] = [entry for entry in entries if not leaves(entry)]
        return taken

    async def _ask(self) -> None:
        """Ask until nobody waits: a task serves many domains."""
        try:
            while self._order:
                await self._resolve(self._order.popleft())
        finally:
            self._askers -= 1

    async def _resolve(self, queue: str) -> None:
        entries = self._waiting[queue]
        if not entries:
            del self._waiting[queue]
            return
        outcome = _LOCAL
        site: str | None = None
        try:
            site = (await self._router.resolve(entries[0].delivery.route)).site
        except Unroutable as error:
            outcome = error.outcome
        except Exception as error:  # a router's bug puts mail off, it does not strand it
            self._emit("scheduler.failed", {"error": type(error).__name__, "queue": queue})
        entries = self._waiting.pop(queue)
        if site is None:
            self._failed(entries, queue, outcome)
            return
        for entry in entries:
            self._arrived(entry, site)
