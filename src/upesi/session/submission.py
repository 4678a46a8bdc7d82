"""What a submission server does to a message that a relay must not: it completes the header section (RFC 6409 section 8).

    orig-date and from are required, message-id should be there (RFC 5322 section 3.6); sender, where from has several mailboxes

What is missing is added on top; nothing that is there is changed. Who may send as whom is `senders`' business, and how much `users`'.
"""

from __future__ import annotations

from upesi.hooks.session import Transaction
from upesi.mail.originators import originators
from upesi.mail.reply import Reply
from upesi.session.engine import SessionEngine

__all__ = ["complete_header"]

_MANY_FROM = Reply.make(554, "5.6.0", "Message has more than one From field")
_NO_FROM = Reply.make(554, "5.6.0", "Message has no From field")


def complete_header(engine: SessionEngine, tx: Transaction) -> Reply | None:
    """Add the fields that every message must have and this one has not; return the reply where nobody could know what to add."""
    headers, sender = tx.headers, tx.reverse_path
    count = headers.count("From")
    if count > 1:
        # readers differ in which they show, and checks in which they check
        return _MANY_FROM
    if not count and sender is None:
        return _NO_FROM
    if not headers.count("Date"):
        tx.add_header("Date", engine.context.dates.text(engine.context.now()))
    if not count:
        tx.add_header("From", str(sender))
    elif sender is not None and not headers.count("Sender") and _several(headers.get("From") or ""):
        tx.add_header("Sender", str(sender))
    if not headers.count("Message-ID"):
        tx.add_header("Message-ID", f"<{tx.id.hex()}@{engine.context.hostname}>")
    return None


def _several(value: str) -> bool:
    """Whether a From field has several mailboxes; one that cannot be read is left to whoever checks it."""
    try:
        return len(originators(value)) > 1
    except ValueError:
        return False
