"""The seam between deciding and sending: what the scheduler hands to a delivery agent, and what it hears back.

`runtime` passes a `Router` and a `Deliverer` (both made in `delivery/`) to the scheduler; the scheduler passes a
`Work` to each connection it
starts. An agent *pulls* its next message, so that it can write MAIL of the next one behind the dot of this one, and so that limits
are decided in one place. Everything runs on one event loop; no call here blocks or awaits unless it says `async`.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from upesi.mail.envelope import Recipient
from upesi.mail.ids import MessageId
from upesi.mail.outcome import Outcome
from upesi.mail.route import HostRoute, LmtpRoute, MxRoute, Route
from upesi.mail.tls import OPPORTUNISTIC, TlsPolicy
from upesi.spool.records import NewMessage, StoredMessage

__all__ = [
    "Attempt",
    "Deliverer",
    "Destination",
    "Ending",
    "Host",
    "Reporter",
    "Router",
    "Running",
    "Unroutable",
    "Work",
]


class Host(msgspec.Struct, frozen=True, gc=False):
    """One next hop: the name to greet and verify, the port; `addresses` where they are known already, else the agent asks DNS.

    `preference` is the MX preference. `private` says that loopback and private addresses are allowed for it (configured or literal routes).
    `domain` is the next hop's, where the host was found by it; `tls` what is asked of TLS; `implicit` means TLS from the first octet;
    with a `user`, AUTH is made with the password in `password_file`.
    """

    name: str
    port: int = 25
    preference: int = 0
    addresses: tuple[str, ...] = ()
    private: bool = False
    domain: str = ""
    tls: TlsPolicy = OPPORTUNISTIC
    implicit: bool = False
    user: str = ""
    password_file: str = ""


class Destination(msgspec.Struct, frozen=True):
    """Where one queue's mail goes now. `site` is the queue key: equal sites share connections and limits.

    `hosts` are in the order to be tried: by preference, equals already shuffled. Local routes (Maildir, discard) have none.
    """

    site: str
    route: Route
    hosts: tuple[Host, ...] = ()

    @property
    def requiretls(self) -> bool:
        """Whether its mail came with REQUIRETLS."""
        return isinstance(self.route, MxRoute | HostRoute | LmtpRoute) and self.route.requiretls


class Unroutable(Exception):
    """Routing failed; `outcome` says for how long (DEFERRED for DNS trouble, FAILED for null MX, no such domain, a loop to ourselves)."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome


class Router(Protocol):
    """Turns routes into destinations."""

    def site(self, route: Route) -> str | None:
        """Return the queue key of `route` at once if it is known without asking (fixed routes, cached MX sets), else None."""
        ...

    async def resolve(self, route: Route) -> Destination:
        """Return the destination of `route`; raise Unroutable."""
        ...


class Attempt(msgspec.Struct, eq=False):
    """One message on its way to one site: one or more deliveries of it, in one transaction.

    `recipients` are in order; the agent answers with as many outcomes, in the same order, exactly once (`Work.finish`).
    """

    message: StoredMessage
    recipients: tuple[Recipient, ...]
    number: int  # 1 for the first try
    deliveries: tuple[int, ...] = ()


class Ending(enum.Enum):
    """Why a connection ended."""

    CLOSED = "closed"  # used up, idle too long, told to stop, or the other side hung up between messages
    UNREACHABLE = "unreachable"  # no host of the site could be spoken to: nothing can be sent there now


class Work(Protocol):
    """What one connection to a site does next. The scheduler makes one for each connection."""

    @property
    def destination(self) -> Destination:
        """Where to."""
        ...

    def take(self) -> Attempt | None:
        """Return the next message for this site, now charged to this connection; None where none may be sent now."""
        ...

    def restrict(self, recipients: int) -> None:
        """Say how many recipients the server takes in one transaction: what `take` returns from now on has no more."""
        ...

    def give_back(self, attempt: Attempt) -> None:
        """Return an attempt of which nothing counted (look-ahead refused, kept connection found dead): no attempt is counted."""
        ...

    def finish(self, attempt: Attempt, outcomes: tuple[Outcome, ...]) -> None:
        """Report how every recipient of `attempt` fared. Exactly once for each attempt taken and not given back."""
        ...

    def ended(self, ending: Ending, outcome: Outcome | None = None) -> None:
        """Say that the connection is gone (last call). For UNREACHABLE, `outcome` is why; waiting mail for the site is put off with it."""
        ...


class Running(Protocol):
    """A connection that an agent runs; the scheduler's handle on it."""

    def wake(self) -> None:
        """Say that there may be work again: an idle kept connection calls `Work.take`."""
        ...

    def stop(self) -> None:
        """Finish what is past its final dot, give back the rest, close, call `Work.ended`. Idle ones close at once."""
        ...


class Deliverer(Protocol):
    """Starts connections."""

    def start(self, work: Work) -> Running:
        """Start delivering `work.destination`'s mail over one connection; returns at once."""
        ...


class Reporter(Protocol):
    """Writes notices to senders (`reports/`); given to the scheduler by `runtime`.

    Each returns the `NewMessage` of a DSN, or None where none may be sent (null reverse-path, RFC 3461 section 4.1: NOTIFY).
    """

    def failed(
        self, message: StoredMessage, recipients: tuple[tuple[Recipient, Outcome], ...], id: MessageId, now: float
    ) -> NewMessage | None:
        """Tell of recipients that failed for good."""
        ...

    def delayed(
        self,
        message: StoredMessage,
        recipients: tuple[tuple[Recipient, Outcome], ...],
        id: MessageId,
        now: float,
        until: float,
    ) -> NewMessage | None:
        """Tell of recipients that wait for long, and are tried `until` then."""
        ...

    def succeeded(
        self, message: StoredMessage, recipients: tuple[tuple[Recipient, Outcome], ...], id: MessageId, now: float
    ) -> NewMessage | None:
        """Tell of recipients that were delivered, or handed to a host that will not tell."""
        ...
