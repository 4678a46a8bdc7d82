"""Taking back a batch that was committed but answered with an error, because its sync failed.

Best effort: a message that a worker was already given, ourselves or another, goes out although its client was told to try again: a
duplicate, never a loss.
An attempt whose end was in the batch stays ended (it did end); what was to be ours of what follows from it waits instead.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import cast

from upesi.database.sqlite import Database, Integers, Value
from upesi.mail.ids import MessageId
from upesi.spool.batch import Accept, Claim, Complete, Item
from upesi.spool.ledger import remove_ended
from upesi.spool.records import DeliveryState
from upesi.spool.rows import DeliveryRow
from upesi.spool.tally import Tally

__all__ = ["Undo", "undo"]

_ACTIVE = int(DeliveryState.ACTIVE)


class Undo:
    """What is to be taken back: messages whose clients were refused, deliveries ours that nobody was told of.

    `bodies` are files that no row names any more; they may go once that is durable.
    """

    __slots__ = ("bodies", "born", "messages")

    def __init__(self) -> None:
        self.messages: list[MessageId] = []
        self.born: list[int] = []
        self.bodies: list[MessageId] = []

    def note(self, items: Sequence[Item]) -> None:
        """Add what `items` put into the spool."""
        for item in items:
            if isinstance(item, Accept):
                self.messages.append(item.id)
                self.born += _active(item.deliveries)
            elif isinstance(item, Complete) and item.applied:
                # only what was born ours: what was born waiting may have been claimed since, by a commit that was told
                self.born += _active(item.remaining)
                for spawn in item.spawn:
                    self.born += _active(spawn.deliveries)
            elif isinstance(item, Claim) and item.result is not None:
                self.born += item.result


def _active(rows: Sequence[DeliveryRow]) -> list[int]:
    return [row.id for row in rows if row.state is DeliveryState.ACTIVE]


def undo(database: Database, what: Undo, epoch: int) -> None:
    """Take back `what` in one transaction; add to `what.bodies` those that go with it."""
    tally = Tally()
    gone: list[MessageId] = []
    untold = {(epoch, id) for id in what.born}
    with database.transaction():
        for message in what.messages:
            gone += _withdraw(database, message, untold, tally)
        rows = database.rows(
            "SELECT id, queue, waits, due FROM delivery WHERE id IN carray(?) AND state = 2 AND epoch = ?",
            Integers(what.born),
            epoch,
        )
        database.run(
            "UPDATE delivery SET state = waits, epoch = 0 WHERE id IN carray(?)",
            Integers([cast(int, row[0]) for row in rows]),
        )
        for _, queue, waits, due in rows:
            tally.add(cast(str, queue), _ACTIVE, cast(float, due), -1)
            tally.add(cast(str, queue), cast(int, waits), cast(float, due))
        tally.write(database)
    what.bodies += gone


def _withdraw(
    database: Database, message: MessageId, untold: Container[tuple[Value, Value]], tally: Tally
) -> list[MessageId]:
    rows = database.rows("SELECT id, queue, state, epoch, due, mrow, file FROM delivery WHERE message = ?", message)
    if not rows or any(state == _ACTIVE and (holder, id) not in untold for id, _, state, holder, _, _, _ in rows):
        return []
    database.run("DELETE FROM delivery WHERE message = ?", message)
    for _, queue, state, _, due, _, _ in rows:
        tally.add(cast(str, queue), cast(int, state), cast(float, due), -1)
    mrow = cast(int, rows[0][5])
    database.run("DELETE FROM event WHERE message = ?", message)
    return remove_ended(database, [mrow], [mrow] if rows[0][6] else [])
