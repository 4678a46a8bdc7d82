"""Which deliveries an operator means: a selector, as SQL."""

from __future__ import annotations

import msgspec

from upesi.database.sqlite import Database, Value
from upesi.mail.address import Address, AddressError
from upesi.mail.ids import message_id_from
from upesi.spool.records import DeliveryState
from upesi.spool.rows import recipients_of

__all__ = ["Selector", "define_functions", "where"]


class Selector(msgspec.Struct, frozen=True, kw_only=True):
    """All conditions together; one that is None says nothing. Ages are seconds since acceptance.

    `message` is the id in hexadecimal, `sender` an address or "<>", `state` one of "routing", "ready", "active", "held". A `domain` that
    begins with a dot is the domain and all below it.
    """

    message: str | None = None
    sender: str | None = None
    recipient: str | None = None
    domain: str | None = None
    queue: str | None = None
    state: str | None = None
    older_than: float | None = None
    younger_than: float | None = None
    pool: str | None = None
    tenant: str | None = None
    campaign: str | None = None


def where(selector: Selector, now: float) -> tuple[str, list[Value]]:
    """Return a condition on `delivery` and its values; raise ValueError for what cannot be meant."""
    conditions = [
        ("message = ?", None if selector.message is None else message_id_from(selector.message)),
        (
            "sender = ? COLLATE NOCASE",
            None if selector.sender is None else selector.sender.removeprefix("<").removesuffix(">"),
        ),
        ("queue = ?", selector.queue),
        ("state = ?", None if selector.state is None else int(_state(selector.state))),
        ("received <= ?", None if selector.older_than is None else now - selector.older_than),
        ("received >= ?", None if selector.younger_than is None else now - selector.younger_than),
        ("has_recipient(data, ?)", None if selector.recipient is None else _address(selector.recipient)),
        ("has_domain(data, ?)", None if selector.domain is None else selector.domain.lower()),
        ("has_label(data, 'pool', ?)", selector.pool),
        ("has_label(data, 'tenant', ?)", selector.tenant),
        ("has_label(data, 'campaign', ?)", selector.campaign),
    ]
    given = [(text, value) for text, value in conditions if value is not None]
    if not given:
        return "1", []
    # SQLite tries the conditions in this order for each row: those that read and decode a blob come last
    return " AND ".join(text for text, _ in given), [value for _, value in given]


def _state(name: str) -> DeliveryState:
    try:
        return DeliveryState[name.upper()]
    except KeyError:
        raise ValueError(f"{name!r} is not routing, ready, active or held") from None


def _address(text: str) -> str:
    try:
        return str(Address.parse(text, utf8=True)).lower()
    except AddressError as error:
        raise ValueError(f"{text!r} is not an address: {error}") from None


def define_functions(database: Database) -> None:
    """Make the functions known that look into a delivery's recipients."""
    database.define("has_recipient", 2, _has_recipient)
    database.define("has_domain", 2, _has_domain)
    database.define("has_label", 3, _has_label)


def _has_recipient(data: bytes, wanted: str) -> bool:
    return any(str(recipient.address).lower() == wanted for recipient in recipients_of(data))


def _has_domain(data: bytes, wanted: str) -> bool:
    if wanted.startswith("."):
        return any(f".{recipient.address.domain}".endswith(wanted) for recipient in recipients_of(data))
    return any(recipient.address.domain == wanted for recipient in recipients_of(data))


def _has_label(data: bytes, name: str, wanted: str) -> bool:
    return any(recipient.labels.given.get(name) == wanted for recipient in recipients_of(data))
