"""The part of a notice that programs read: fields of the message, then of each recipient (RFC 3464 section 2, RFC 6533 section 3).

Where the sender speaks SMTPUTF8, addresses stand in UTF-8 and the part is a message/global-delivery-status; else all is ASCII, and what
is not is written as a utf-8-addr-xtext.
"""

from __future__ import annotations

from email.utils import formatdate

from upesi.mail.address import Address
from upesi.mail.envelope import Recipient
from upesi.mail.outcome import Action, Outcome
from upesi.mail.reply import printable
from upesi.protocol.smtp.xtext import encode_unicode
from upesi.reports.case import Case, Kind
from upesi.reports.lines import block

__all__ = ["status_part"]


def status_part(case: Case, hostname: str) -> tuple[str, bytes]:
    """Return the media type and the octets of the second part."""
    blocks = [block(_message_fields(case, hostname))]
    blocks += [block(_recipient_fields(case, recipient, outcome)) for recipient, outcome in case.told]
    text = "\r\n".join(blocks)
    if case.international and not _ascii_addresses(case):
        # only an address is worth a type that few programs read; a receiver's umlauts are not
        return "message/global-delivery-status", text.encode()
    return "message/delivery-status", text.encode("ascii", "replace")


def _ascii_addresses(case: Case) -> bool:
    return all(recipient.address.is_ascii and (recipient.original or "").isascii() for recipient, _ in case.told)


def _message_fields(case: Case, hostname: str) -> list[tuple[str, str]]:
    transmission = case.message.transmission
    fields = []
    if transmission.envid is not None:
        # RFC 3461 section 6.3 (a): decoded, and only where there was one
        fields.append(("Original-Envelope-Id", transmission.envid))
    fields.append(("Reporting-MTA", f"dns; {hostname}"))
    fields.append(("Arrival-Date", formatdate(case.message.received)))
    if transmission.by is not None:
        # RFC 2852 section 5
        fields.append(("Deliver-By-Date", formatdate(transmission.by.at)))
    return fields


def _recipient_fields(case: Case, recipient: Recipient, outcome: Outcome) -> list[tuple[str, str]]:
    fields = []
    if recipient.original is not None:
        kind, _, value = recipient.original.partition(";")
        fields.append(("Original-Recipient", f"{kind}; {value if case.international else _ascii(value)}"))
    fields.append(("Final-Recipient", _final(recipient.address, international=case.international)))
    action = case.action(outcome)
    fields.append(("Action", action))
    fields.append(("Status", outcome.status or _STATUS[action]))
    if outcome.remote:
        # "mx.example [192.0.2.1]": the name is the field's value, the address its comment
        name, _, rest = outcome.remote.partition(" ")
        fields.append(("Remote-MTA", f"dns; {name}" + (f" ({rest})" if rest else "")))
    if outcome.code:
        fields.append(("Diagnostic-Code", f"smtp; {_diagnostic(outcome)}"))
    fields.append(("Last-Attempt-Date", formatdate(case.now)))
    if case.kind is Kind.DELAY and case.until is not None:
        fields.append(("Will-Retry-Until", formatdate(case.until)))
    return fields


_STATUS = {
    Action.FAILED: "5.0.0",
    Action.DELAYED: "4.0.0",
    Action.DELIVERED: "2.0.0",
    Action.RELAYED: "2.0.0",
    Action.EXPANDED: "2.0.0",
}


def _final(address: Address, *, international: bool) -> str:
    """Return an address with its type; one beyond ASCII has its own (RFC 6533 section 3)."""
    if address.is_ascii:
        return f"rfc822; {address}"
    return f"utf-8; {address if international else _ascii(str(address))}"


def _ascii(text: str) -> str:
    # what is printed as "?" must not become a way round: first printable, then encoded
    return text if text.isascii() else encode_unicode(printable(text))


def _diagnostic(outcome: Outcome) -> str:
    status = "" if outcome.text.startswith(outcome.status) else f"{outcome.status} "
    return f"{outcome.code} {status}{outcome.text}".rstrip()
