"""One connection as the scheduler sees it: the `Work` that an agent pulls from.

A connection is *coming* (started or woken: it will take soon), *busy* (it took something) or *idle* (it asked and got nothing). Messages
are bound to a connection only when it takes them, so a connection that hangs holds up what it has taken and nothing else.
"""

from __future__ import annotations

import enum
from typing import Protocol

from upesi.mail.errors import InvariantError
from upesi.mail.outcome import Outcome
from upesi.scheduler.charge import Charge
from upesi.scheduler.paths import Path
from upesi.scheduler.work import Attempt, Destination, Ending, Running

__all__ = ["Connection", "Office", "State"]


class State(enum.Enum):
    """What a connection does, as far as handing out work goes."""

    COMING = "coming"
    BUSY = "busy"
    IDLE = "idle"


class Office(Protocol):
    """What a connection calls: `dispatch.Dispatch`."""

    def next_charge(self, connection: Connection) -> Charge | None:
        """Return the next attempt for the connection's site."""
        ...

    def returned(self, connection: Connection, charge: Charge) -> None:
        """Take back an attempt of which nothing counted."""
        ...

    def finished(self, connection: Connection, charge: Charge, outcomes: tuple[Outcome, ...]) -> None:
        """Record an attempt."""
        ...

    def gone(self, connection: Connection, ending: Ending, outcome: Outcome | None) -> None:
        """Forget a connection."""
        ...


class Connection:
    """A `Work`."""

    __slots__ = (
        "_destination",
        "_office",
        "asked",
        "charges",
        "done",
        "ended_",
        "finished",
        "path",
        "room",
        "running",
        "started",
        "starved",
        "state",
        "stopping",
    )

    def __init__(self, office: Office, path: Path, destination: Destination, now: float) -> None:
        self._office = office
        self._destination = destination
        self.path = path
        self.started = now
        self.state = State.COMING
        self.charges: set[Charge] = set()
        self.finished = 0
        self.asked = False
        # its last question found nothing that could be taken: how it ends then says nothing about the site
        self.starved = False
        self.stopping = False
        self.ended_ = False
        self.running: Running | None = None
        # recipients that its server takes in one transaction, 0 where it did not say
        self.room = 0
        path.coming += 1

    @property
    def destination(self) -> Destination:
        """Where to."""
        return self._destination

    def take(self) -> Attempt | None:
        """Return the next message for this site; None where none may be sent now. Raise InvariantError after `ended`."""
        if self.ended_:
            raise InvariantError("a connection that ended asked for work")
        self.asked = True
        charge = None if self.stopping else self._office.next_charge(self)
        self.starved = charge is None
        if charge is None:
            self._become(State.IDLE)
            return None
        self.charges.add(charge)
        if self.state is not State.BUSY:
            self._become(State.BUSY)
        return charge

    def restrict(self, recipients: int) -> None:
        """Take no more recipients at once than this."""
        self.room = recipients

    def give_back(self, attempt: Attempt) -> None:
        """Return an attempt of which nothing counted; raise InvariantError for one that is not ours."""
        self._office.returned(self, self._own(attempt))

    def finish(self, attempt: Attempt, outcomes: tuple[Outcome, ...]) -> None:
        """Report how every recipient fared; raise InvariantError for an attempt that is not ours or a wrong number of outcomes."""
        if len(outcomes) != len(attempt.recipients):
            raise InvariantError(f"{len(outcomes)} outcomes for {len(attempt.recipients)} recipients")
        charge = self._own(attempt)
        self.finished += 1
        self._office.finished(self, charge, outcomes)

    def ended(self, ending: Ending, outcome: Outcome | None = None) -> None:
        """Say that the connection is gone. What it neither finished nor gave back is given back: sent twice rather than lost."""
        if self.ended_:
            raise InvariantError("a connection ended twice")
        self.ended_ = True
        for charge in tuple(self.charges):
            self.charges.discard(charge)
            self._office.returned(self, charge)
        self._leave()
        self._office.gone(self, ending, outcome)

    def wake(self) -> None:
        """Tell an idle connection that there is work."""
        self._become(State.COMING)
        if self.running is not None:
            self.running.wake()

    def stop(self) -> None:
        """Tell the connection to finish what it must and close; it takes nothing more."""
        if self.stopping:
            return
        self.stopping = True
        if self.running is not None:
            self.running.stop()

    def _own(self, attempt: Attempt) -> Charge:
        if not isinstance(attempt, Charge) or attempt not in self.charges:
            raise InvariantError("an attempt was reported that this connection does not have")
        self.charges.discard(attempt)
        return attempt

    def _become(self, state: State) -> None:
        if state is self.state:
            return
        self._leave()
        self.state = state
        if state is State.IDLE:
            self.path.idle.append(self)
        elif state is State.COMING:
            self.path.coming += 1

    def _leave(self) -> None:
        if self.state is State.COMING:
            self.path.coming -= 1
        elif self.state is State.IDLE:
            self.path.idle.remove(self)
        self.state = State.BUSY
