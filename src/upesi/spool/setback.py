"""Mail that was dated by a clock that was ahead, once the clock has been set back: without this it would wait until its day has come.

A machine that comes up with a wrong date takes mail, puts it off, and is corrected: what it wrote then is due in ten years. What was
dated so can be told from what is meant to wait (FUTURERELEASE, a plugin's delay): the message was received in the future, or an event
of its history was, or it is due behind its expiry and further off than anything waits. It is due by as much
sooner as the last of these was ahead, so that waits and holds stay as long as they were. What was received in the future begins its
life now; the expiry of what was received before that is right, and stays.

A walk over all that waits begins at the start of a worker, as soon as the clock has been set back, and some time after the last one:
rows that were in a worker's memory come back late. The oldest worker does it for all. An event is left with the message, so that it
is moved once. What was put off by less than `SLACK` is not looked for, and what was delivered while the clock was ahead keeps its
dates in the history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from upesi.database.sqlite import Database
from upesi.mail.ids import MessageId
from upesi.spool.records import RETURNED, SpoolEvent
from upesi.spool.rows import event_row
from upesi.spool.schema import EVENT
from upesi.spool.tally import Tally

__all__ = ["SLACK", "Setback"]

# Seconds: a clock that is disciplined moves by less, and a minute hurts nobody
SLACK = 60.0
# 2025-01-01: no clock that is right shows less to this program. What boots in 1970 is about to be set forward; to date the queue by it
# would make all of it too old then
_WRITTEN = 1_735_689_600.0
# Rows looked at in one step: a few milliseconds of reading, without a lock
_ROWS = 1000
# Steps of rest between two walks: ten minutes at one in a second
_REST = 600

# Seconds that nothing waits behind its expiry (`scheduler.leaps` lets some of it be tried for so long as it lives)
_LONGEST = 30 * 86_400.0

_LAST = "SELECT max(id) FROM (SELECT id FROM delivery WHERE id > ? ORDER BY id LIMIT ?)"
# a column that rotted away is for the sweep to find
_SOUND = "typeof(due) = 'real' AND typeof(expires) = 'real' AND typeof(received) = 'real' AND typeof(message) = 'blob'"
_LATE = f"state IN (0, 1, 3) AND (due > ?1 OR received > ?1) AND {_SOUND}"
_MESSAGES = f"SELECT DISTINCT message FROM delivery WHERE {_LATE} AND id > ?2 AND id <= ?3"
# the latest time at which something was written down of a message, since it was last moved
_EVENT = (
    "SELECT max(at) FROM event WHERE message = ?1 AND position > coalesce((SELECT max(position) FROM event WHERE message = ?1 "
    "AND kind = 'delivery.redated'), 0)"
)
_TIMES = f"SELECT id, queue, due, expires, received FROM delivery WHERE message = ?2 AND {_LATE}"


class Setback:
    """Walks over what waits, one `step` at a time, on the caller's thread and connection. `epoch` is the member whose walk this is."""

    __slots__ = ("_after", "_epoch", "_monotonic", "_notice", "_now", "_offset", "_rest")

    def __init__(
        self,
        epoch: int,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        notice: Callable[[str, str], None],
    ) -> None:
        """`now` is the wall clock, `monotonic` one that is never set; `notice` hears of what was moved."""
        self._epoch = epoch
        self._now = now
        self._monotonic = monotonic
        self._notice = notice
        self._after = 0
        self._rest = 0
        self._offset = now() - monotonic()

    def step(self, database: Database) -> None:
        """See whether the clock was set back, and look at the next few; raise DatabaseError."""
        offset = self._now() - self._monotonic()
        if offset < self._offset - SLACK:
            self._after = self._rest = 0
        self._offset = offset
        if self._now() < _WRITTEN:
            return
        if self._rest:
            self._rest -= 1
        elif database.value("SELECT min(epoch) FROM member") == self._epoch:
            self._walk(database)

    def _walk(self, database: Database) -> None:
        last = cast("int | None", database.value(_LAST, self._after, _ROWS))
        if last is None:
            self._after, self._rest = 0, _REST
            return
        now = self._now()
        found = database.rows(_MESSAGES, now + SLACK, self._after, last)
        messages = [MessageId(cast(bytes, id)) for (id,) in found if _ahead(database, cast(bytes, id), now)]
        if messages:
            moved = _move(database, messages, now)
            self._notice(
                "spool.redated",
                f"{moved} deliveries were dated by a clock that was ahead: moved back to where they belong",
            )
        self._after = last


def _ahead(database: Database, message: bytes, now: float) -> float:
    """Return by how many seconds the clock was ahead when the message was last dated; 0 where it was not."""
    at = database.value(_EVENT, message)
    written = at if isinstance(at, float) else 0.0
    ahead = 0.0
    for _, _, due, expires, received in database.rows(_TIMES, now + SLACK, message):
        dated = max(written, cast(float, received))
        if dated <= now + SLACK and max(now + _LONGEST, cast(float, expires)) < cast(float, due):
            dated = cast(float, due)
        ahead = max(ahead, dated - now)
    return ahead if ahead > SLACK else 0.0


def _move(database: Database, messages: list[MessageId], now: float) -> int:
    """Move the times of what waits of `messages`; return how many deliveries these are."""
    tally = Tally()
    limit = now + SLACK
    moved = 0
    with database.transaction():
        for message in messages:
            # again, now that nobody can change it
            ahead = _ahead(database, message, now)
            rows = database.rows(_TIMES, limit, message) if ahead else []
            for number, queue, due, expires, received in rows:
                # what was received in the future begins its life now: by how much it was tried there no clock can say, and whoever has set
                # the clock twice would else take years of it. What was received before has the right expiry, and RETURNED is none
                born = cast(float, received) - now if cast(float, received) > limit else 0.0
                lived = 0.0 if expires == RETURNED else born
                database.run(
                    "UPDATE delivery SET due = ?, expires = ?, received = ? WHERE id = ?",
                    cast(float, due) - ahead, cast(float, expires) - lived, cast(float, received) - born, number,
                )  # fmt: skip
                tally.correct(str(queue))
            if rows:
                moved += len(rows)
                database.insert(
                    EVENT, [event_row(SpoolEvent(now, "delivery.redated", message, {"seconds": round(ahead)}))]
                )
        tally.write(database)
    return moved
