"""Deliveries under suspicion: ACTIVE in the hands of workers that hung or crashed, again and again.

A message whose handling never returns (a plugin that loops on it, a parser that eats all memory) would take one worker after another with
it, and nobody's mail would go out. Which of a dead worker's deliveries it was is not known. So each gets weight; from `ALONE` on it is
handed out one at a time, so that the next death names its one culprit; at `LIMIT` it is held, with the reason, until an operator
releases it. Everything else goes on meanwhile.

Weights are written when a dead worker's deliveries are taken over, never on the way of a message. An attempt that ends gives what
remains a new number, so it clears its delivery by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from upesi.database.sqlite import Database, Integers
from upesi.mail.ids import MessageId
from upesi.spool.records import SpoolEvent
from upesi.spool.rows import event_row, recipients_of
from upesi.spool.schema import EVENT

__all__ = ["ALONE", "CRASHED", "KILLED", "LIMIT", "MAX_HELD", "absolve", "accuse", "one_is_held"]

# it fell silent and was killed for it, or ended by a signal or an exit of its own
CRASHED = 2
# SIGKILL from outside: a person's, or the kernel's for want of memory. The message may be the reason, but seldom is
KILLED = 1

# two crashes
ALONE = 2 * CRASHED
# three crashes, or six kills
LIMIT = 3 * CRASHED

# Held for this at once. Where so many seem to be at fault, it is none of them (a plugin that blocks whatever it is asked): the others wait
# until it is mended, one at a time
MAX_HELD = 20

_REASON = "it was in the hands of several workers when they hung or crashed"


def accuse(database: Database, epoch: int, weight: int, now: float) -> tuple[list[int], list[SpoolEvent]]:
    """Add `weight` to all that the dead member `epoch` holds; return the numbers of what must be held now, and the events of that.

    Inside a transaction. The events have been written; the rows are the caller's to change.
    """
    # what has ended since is of no interest any more: the table is never larger than what dead workers held
    database.run("DELETE FROM suspect WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.id = suspect.delivery)")
    database.run(
        "INSERT INTO suspect(delivery, weight) SELECT id, ? FROM delivery WHERE state = 2 AND epoch = ? "
        "ON CONFLICT(delivery) DO UPDATE SET weight = weight + excluded.weight",
        weight, epoch,
    )  # fmt: skip
    held = database.number(
        "SELECT count(*) FROM suspect AS s JOIN delivery AS d ON d.id = s.delivery WHERE s.weight >= ? AND d.state = 3",
        LIMIT,
    )
    rows = database.rows(
        "SELECT d.id, d.message, d.queue, d.data FROM suspect AS s JOIN delivery AS d ON d.id = s.delivery "
        "WHERE s.weight >= ? AND d.state = 2 AND d.epoch = ? LIMIT ?",
        LIMIT, epoch, max(0, MAX_HELD - held),
    )  # fmt: skip
    events = []
    for number, message, queue, data in rows:
        to = [str(recipient.address) for recipient in recipients_of(cast(bytes, data))]
        fields: dict[str, str | int | float] = {
            "delivery": cast(int, number),
            "queue": cast(str, queue),
            "recipients": len(to),
            "to": " ".join(to),
            "reason": _REASON,
        }
        events.append(SpoolEvent(now, "delivery.held", MessageId(cast(bytes, message)), fields))
    database.insert(EVENT, [event_row(event) for event in events])
    return [cast(int, row[0]) for row in rows], events


def one_is_held(database: Database, epoch: int) -> bool:
    """Whether member `epoch` holds a delivery that must be handed out alone."""
    found = database.value(
        "SELECT 1 FROM suspect AS s JOIN delivery AS d ON d.id = s.delivery WHERE s.weight >= ? AND d.state = 2 AND d.epoch = ? LIMIT 1",
        ALONE, epoch,
    )  # fmt: skip
    return found is not None


def absolve(database: Database, ids: Sequence[int]) -> None:
    """Forget what is held against these deliveries: an operator has looked at them."""
    database.run("DELETE FROM suspect WHERE delivery IN carray(?)", Integers(ids))
