"""What a notice says to people: subject and text."""

from __future__ import annotations

from email.utils import formatdate

import msgspec

from upesi.mail.outcome import Action, Outcome
from upesi.mail.reply import printable
from upesi.reports.case import Case, Kind
from upesi.reports.lines import paragraph

__all__ = ["subject", "text_part"]

# Recipients named one by one for people; the fields name all
_NAMED = 50


class _Words(msgspec.Struct, frozen=True):
    subject: str
    opening: tuple[str, ...]


_WORDS = {
    Kind.FAILURE: _Words(
        "Undelivered mail returned to sender",
        (
            "Your message could not be delivered to the recipients below.",
            "It will not be tried again. The reasons are those that the",
            "receiving side gave, where it gave any.",
        ),
    ),
    Kind.DELAY: _Words(
        "Delayed mail (still being tried)",
        (
            "Your message has not been delivered to the recipients below yet.",
            "You need not send it again: it is tried on, and you will be told",
            "if it cannot be delivered in the end.",
        ),
    ),
    Kind.SUCCESS: _Words(
        "Mail delivery report",
        ("You asked to be told what becomes of your message.",),
    ),
}

_SUCCESS = {
    Action.DELIVERED: "delivered to the mailbox",
    Action.RELAYED: "handed on to a server that sends no such reports: you will hear no more, unless delivery fails there",
    Action.EXPANDED: "a name for several recipients: it has been sent on to them",
}


def subject(case: Case) -> str:
    """Return the Subject of a notice: words of ours only."""
    return _WORDS[case.kind].subject


def text_part(case: Case, hostname: str) -> str:
    """Return the first part."""
    lines = [f"This is the mail system at {hostname}.", "", *_WORDS[case.kind].opening, ""]
    if case.kind is Kind.DELAY and case.until is not None:
        lines += [f"It is tried until {formatdate(case.until)}.", ""]
    for recipient, outcome in case.told[:_NAMED]:
        lines.append(f"<{printable(str(recipient.address))}>:")
        lines += paragraph(_said(case, outcome), "    ")
        lines.append("")
    if len(case.told) > _NAMED:
        lines += [f"and {len(case.told) - _NAMED} more, listed in the next part.", ""]
    return "\r\n".join(lines)


def _said(case: Case, outcome: Outcome) -> str:
    if case.kind is Kind.SUCCESS:
        return _SUCCESS[case.action(outcome)]
    who = f" ({printable(outcome.remote)} said)" if outcome.remote else ""
    return printable(f"{outcome.code} {outcome.text}" if outcome.code else outcome.text) + who
