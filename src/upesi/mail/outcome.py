"""What came of a delivery attempt, per recipient: the value that travels from the agent to the spool, the log and the report."""

from __future__ import annotations

import enum

import msgspec

__all__ = ["Action", "Outcome", "OutcomeKind"]


class Action(enum.StrEnum):
    """What a notice says of a recipient (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class OutcomeKind(enum.StrEnum):
    """The three ends of an attempt. `expired` and `cancelled` deliveries end as FAILED with their own status."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"


class Outcome(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The outcome for one recipient.

    `code` is the remote reply code, 0 where the reason is ours; `status` an enhanced status ("4.4.1"), always set; `text` is sanitised;
    `remote` names who said it ("mx1.example.net [192.0.2.1]"), empty where the reason is ours.
    `tls` is how it was sent ("TLSv1.3 TLS_AES_256_GCM_SHA384 verified"), empty in clear and where nothing was sent.
    `action` is what a sender is told who asked to hear of success (RFC 3461 section 5.2): DELIVERED into a mailbox, RELAYED to a host
    that will not tell; None where the next hop will, and for what was not delivered.
    """

    kind: OutcomeKind
    code: int = 0
    status: str = ""
    text: str = ""
    remote: str = ""
    action: Action | None = None
    tls: str = ""
