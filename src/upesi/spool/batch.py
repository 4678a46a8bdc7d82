"""What waits for the next commit: the items of a batch, encoded on the event loop where their mistakes belong to one caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from upesi.database.sqlite import Database, Value
from upesi.mail.body import Body
from upesi.mail.ids import MessageId
from upesi.spool.records import Completion, Delivery
from upesi.spool.rows import DeliveryRow
from upesi.spool.store import AcceptDone, Begun, CompleteDone, SpoolError
from upesi.spool.tally import Tally

__all__ = ["Accept", "Barrier", "Claim", "Complete", "Item", "Operation", "Release"]

Result = TypeVar("Result")


class Item:
    """Something to be done in the next transaction. `error` is set by the committer, then `finish` runs on the event loop."""

    __slots__ = ("error",)

    # whether somebody is told "it is durable": a batch without such items is not synced
    durable = True

    def __init__(self) -> None:
        self.error: SpoolError | None = None

    def finish(self) -> None:
        """Tell whoever asked."""


class Accept(Item):
    """One message with its deliveries and events, as rows."""

    __slots__ = ("begun", "deliveries", "done", "events", "file", "id", "lent", "row")

    def __init__(
        self,
        id: MessageId,
        row: tuple[Value, ...],
        file: Body | None,
        deliveries: list[DeliveryRow],
        events: list[tuple[Value, ...]],
        lent: tuple[float, int, int, str],
        done: AcceptDone | None,
        begun: Begun | None = None,
    ) -> None:
        self.error = None
        self.id = id
        self.row = row
        self.file = file
        self.deliveries = deliveries
        self.events = events
        self.lent = lent
        self.done = done
        self.begun = begun

    def born(self) -> list[Delivery]:
        """Return the deliveries that are ACTIVE under our epoch."""
        received, size = self.lent[0], self.lent[1]
        return [row.record(self.id, received, size) for row in self.deliveries if row.state == 2]

    def begin(self) -> None:
        """Call `begun`."""
        if self.begun is not None:
            self.begun(self.born())

    def finish(self) -> None:
        """Call `done`."""
        if self.done is not None:
            self.done(self.error, () if self.error is not None else self.born())


class Complete(Item):
    """The end of an attempt, with what remains and what follows."""

    __slots__ = ("applied", "born", "completion", "done", "events", "remaining", "spawn")

    def __init__(
        self,
        completion: Completion,
        remaining: list[DeliveryRow],
        spawn: list[Accept],
        events: list[tuple[Value, ...]],
        done: CompleteDone,
    ) -> None:
        self.error = None
        self.completion = completion
        self.remaining = remaining
        self.spawn = spawn
        self.events = events
        self.done = done
        self.applied = False
        self.born: list[Delivery] = []

    def finish(self) -> None:
        """Call `done`."""
        if self.error is not None:
            self.done(self.error, False, ())
        else:
            self.done(None, self.applied, self.born)


class Release(Item):
    """Deliveries that are given back. A crash gives them back as well, so nobody waits for it to be durable."""

    __slots__ = ("deliveries",)

    durable = False

    def __init__(self, deliveries: Sequence[int]) -> None:
        self.error = None
        self.deliveries = deliveries


class Operation(Item, Generic[Result]):
    """Any other change, made in the same transaction as its neighbours: a claim, a row put in quarantine."""

    __slots__ = ("act", "done", "result")

    durable = False

    def __init__(
        self, act: Callable[[Database, Tally], Result], done: Callable[[SpoolError | None, Result | None], None]
    ) -> None:
        self.error = None
        self.act = act
        self.done = done
        self.result: Result | None = None

    def finish(self) -> None:
        """Call `done`."""
        self.done(self.error, None if self.error is not None else self.result)


class Claim(Operation[set[int]]):
    """An operation that makes deliveries ours: its result are their ids, which go back if nobody can be told of them."""

    __slots__ = ()


class Barrier(Operation[None]):
    """Changes nothing: it is answered when all that was committed before it, by whomever, is durable."""

    __slots__ = ()

    durable = True
