"""What one notice is about: a message, some of its recipients, and what became of them."""

from __future__ import annotations

import enum

import msgspec

from upesi.mail.envelope import Notify, Recipient
from upesi.mail.outcome import Action, Outcome
from upesi.spool.records import StoredMessage

__all__ = ["Case", "Kind", "Told", "wanted"]

# recipients with what became of each
Told = tuple[tuple[Recipient, Outcome], ...]


class Kind(enum.Enum):
    """The three notices there are; each has the bit of NOTIFY that asks for it (RFC 3461 section 4.1)."""

    FAILURE = Notify.FAILURE
    DELAY = Notify.DELAY
    SUCCESS = Notify.SUCCESS


_ACTIONS = {Kind.FAILURE: Action.FAILED, Kind.DELAY: Action.DELAYED}


class Case(msgspec.Struct, frozen=True):
    """One notice. `until` is when the mail is given up, for notices of delay; times are wall-clock seconds."""

    kind: Kind
    message: StoredMessage
    told: Told
    now: float
    until: float | None = None

    @property
    def international(self) -> bool:
        """Whether UTF-8 may stand in addresses and headers of the notice: its reader speaks SMTPUTF8 (RFC 6533 section 4)."""
        to = self.message.reverse_path
        return self.message.transmission.smtputf8 or (to is not None and not to.is_ascii)

    def action(self, outcome: Outcome) -> Action:
        """Return what the notice says of a recipient."""
        return _ACTIONS.get(self.kind) or outcome.action or Action.RELAYED


def wanted(kind: Kind, told: Told) -> Told:
    """Return those of `told` whose sender wants such a notice.

    Without NOTIFY: of failure and delay, never of success (RFC 3461 sections 5.2.3, 5.2.5 and 5.2.6).
    """
    return tuple(
        (recipient, outcome)
        for recipient, outcome in told
        if (kind is not Kind.SUCCESS if recipient.notify is None else recipient.notify & kind.value)
    )
