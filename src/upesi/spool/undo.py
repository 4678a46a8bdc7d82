"""Taking back a batch that was committed but answered with an error, because its sync failed.

Best effort: a message that another worker already holds goes out although its client was told to try again: a duplicate, never a loss.
An attempt whose end was in the batch stays ended (it did end); what was to be ours of what follows from it waits instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from upesi.database.sqlite import Database, Integers
from upesi.mail.ids import MessageId
from upesi.spool.batch import Accept, Claim, Complete, Item
from upesi.spool.ledger import remove_ended
from upesi.spool.records import DeliveryState
from upesi.spool.tally import Tally

__all__ = ["Undo", "undo"]

_ACTIVE = int(DeliveryState.ACTIVE)


class Undo:
    """What is to be taken back: messages whose clients were refused, deliveries ours that nobody was told of."""

    __slots__ = ("born", "messages")

    def __init__(self) -> None:
        self.messages: list[MessageId] = []
        self.born: list[int] = []

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take back."""
        return not self.messages and not self.born

    def note(self, items: Sequence[Item]) -> None:
        """Add what `items` put into the spool."""
        for item in items:
            if isinstance(item, Accept):
                self.messages.append(item.id)
            elif isinstance(item, Complete) and item.applied:
                # only what was born ours: what was born waiting may have been claimed since, by a commit that was told
                rows = [*item.remaining, *(row for spawn in item.spawn for row in spawn.deliveries)]
                self.born += [row.id for row in rows if row.state is DeliveryState.ACTIVE]
            elif isinstance(item, Claim) and item.result is not None:
                self.born += item.result


def undo(database: Database, what: Undo, epoch: int) -> list[MessageId]:
    """Take back `what` in one transaction; return the messages whose bodies may be removed once that is durable."""
    tally = Tally()
    gone: list[MessageId] = []
    with database.transaction():
        for message in what.messages:
            gone += _withdraw(database, message, epoch, tally)
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
    return gone


def _withdraw(database: Database, message: MessageId, epoch: int, tally: Tally) -> list[MessageId]:
    rows = database.rows("SELECT id, queue, state, epoch, due, mrow, file FROM delivery WHERE message = ?", message)
    if not rows or any(state == _ACTIVE and holder != epoch for _, _, state, holder, _, _, _ in rows):
        return []
    database.run("DELETE FROM delivery WHERE message = ?", message)
    for _, queue, state, _, due, _, _ in rows:
        tally.add(cast(str, queue), cast(int, state), cast(float, due), -1)
    mrow = cast(int, rows[0][5])
    database.run("DELETE FROM event WHERE message = ?", message)
    return remove_ended(database, [mrow], [mrow] if rows[0][6] else [])
