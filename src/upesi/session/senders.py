"""What an authenticated user may send as: the reverse-path, and the From and Sender fields (RFC 6409 section 6.1, RFC 4954 section 5).

Whoever has stolen one password must not be able to speak for the whole domain. The addresses of an account come with it from its source;
a file of the operator's adds to them. Comparing does not mind case, and `anna+list@` is anna's (RFC 5233).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from upesi.config.settings import SenderRule
from upesi.mail.address import Address, AddressError, domain_from
from upesi.mail.headers import Headers
from upesi.mail.originators import originators
from upesi.mail.reply import Reply
from upesi.protocol.smtp.xtext import decode_xtext
from upesi.sasl.credentials import Identity

if TYPE_CHECKING:
    from upesi.session.engine import SessionEngine

__all__ = ["SenderRules", "author_refusal", "sender_entries", "sender_refusal", "submitter"]

# RFC 4954 section 6, RFC 6409 section 4.3
_AUTHENTICATE = Reply.make(530, "5.7.0", "Authentication required")
_NOT_YOURS = Reply.make(553, "5.7.1", "You may not send as this address")
_NOT_YOUR_FIELD = Reply.make(553, "5.7.1", "You may not send as the address in the From or Sender field")
_UNREADABLE = Reply.make(553, "5.7.1", "The From or Sender field cannot be read")
# one of these must name the account, where there are any; in none of the others may stand anybody else
_FIELDS = ("From", "Sender")
_RESENT_FIELDS = ("Resent-From", "Resent-Sender")


def sender_refusal(engine: SessionEngine, reverse_path: Address | None) -> Reply | None:
    """Return why this client may not begin a transaction with `reverse_path`, None where it may."""
    session, context = engine.session, engine.context
    if session.identity is None:
        return _AUTHENTICATE if engine.must_log_in else None
    account = _account(engine)
    return None if context.senders is None else context.senders.refuse_path(account, reverse_path)


def author_refusal(engine: SessionEngine, headers: Headers) -> Reply | None:
    """Return why the client that authenticated may not send a message with these headers, None where it may."""
    senders = engine.context.senders
    return None if senders is None else senders.refuse_header(_account(engine), headers)


def submitter(engine: SessionEngine, parameters: Iterable[tuple[str, str | None]]) -> str | None:
    """Return who submitted the message first, by the AUTH parameter of MAIL; "" where that is not known, None where nothing is said.

    RFC 4954 section 5: only a client that is trusted is believed; what others say is as good as `<>`, and so is what is no address.
    """
    value = next((value for keyword, value in parameters if keyword == "AUTH"), None)
    if value is None:
        return None
    session = engine.session
    if session.identity is None and not session.relaying:
        return ""
    try:
        address = Address.parse_path(f"<{decode_xtext(value).removeprefix('<').removesuffix('>')}>")
    except (AddressError, ValueError):
        return ""
    return "" if address is None else str(address)


def _account(engine: SessionEngine) -> Identity:
    state = engine.auth
    return state.account if state is not None and state.account is not None else Identity(engine.session.identity or "")


class SenderRules:
    """The rules of one server; `further` are addresses and domains ("@example.org") by account, in lower case."""

    __slots__ = ("_check_header", "_further", "_rule")

    def __init__(
        self, rule: SenderRule, *, check_header: bool = True, further: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self._rule = rule
        self._check_header = check_header
        self._further = {name.lower(): tuple(map(_comparable, own)) for name, own in (further or {}).items()}

    def refuse_path(self, account: Identity, reverse_path: Address | None) -> Reply | None:
        """Return the refusal of a reverse-path; the null one, of notices that mail programs send, is nobody's and everybody's."""
        if self._rule is SenderRule.ANY or reverse_path is None or self._owns(account, reverse_path):
            return None
        return _NOT_YOURS

    def refuse_header(self, account: Identity, headers: Headers) -> Reply | None:
        """Return the refusal of a message by its From, Sender and Resent- fields, all of them: readers differ in which they show."""
        if self._rule is SenderRule.ANY or not self._check_header:
            return None
        try:
            named = _addresses(headers, _FIELDS)
            resent = _addresses(headers, _RESENT_FIELDS)
        except ValueError:
            return _UNREADABLE
        if not all(self._owns(account, address) for address in (*named, *resent)):
            return _NOT_YOUR_FIELD
        # `From: "boss@example.org":;` (RFC 6854) names nobody and shows whom it likes. No field at all shows nobody
        return _NOT_YOUR_FIELD if not named and any(map(headers.count, _FIELDS)) else None

    def _owns(self, account: Identity, address: Address) -> bool:
        own = self._own(account)
        domain = f"@{address.domain}"
        if domain in own:
            return True
        if self._rule is SenderRule.OWN_DOMAINS:
            return any(entry.endswith(domain) for entry in own)
        local, plus, _ = address.local.partition("+")
        return address.key in own or bool(plus and local and f"{local}{domain}".lower() in own)

    def _own(self, account: Identity) -> set[str]:
        entries = {_comparable(entry) for entry in account.addresses}
        entries.update(self._further.get(account.name.lower(), ()))
        # an account that is called by its address
        if "@" in account.name:
            entries.add(_comparable(account.name))
        return entries


def _addresses(headers: Headers, names: Iterable[str]) -> list[Address]:
    """Return the addresses in all fields of these names; raise ValueError where one cannot be read."""
    return [address for name in names for value in headers.all(name) for address in originators(value)]


def _comparable(entry: str) -> str:
    """Return an address or "@domain" as `Address.key` writes it; what is neither stays, and equals nothing."""
    if entry.isascii():
        return entry.lower()
    local, at, domain = entry.rpartition("@")
    try:
        return f"{local}{at}{domain_from(domain)}".lower()
    except AddressError:
        return entry.lower()


def sender_entries(lines: Iterable[tuple[int, str]]) -> dict[str, tuple[str, ...]]:
    """Read lines "account: address @domain ..."; raise ValueError naming the line."""
    further: dict[str, tuple[str, ...]] = {}
    for number, line in lines:
        name, colon, rest = line.rpartition(": ")
        words = rest.lower().split()
        if not colon or not name.strip() or not words:
            raise ValueError(f"line {number}: not of the form ACCOUNT: ADDRESS @DOMAIN ...")
        for word in words:
            if "@" not in word or word.endswith("@"):
                raise ValueError(f"line {number}: {word!r} is neither an address nor a domain such as @example.org")
        name = name.strip().lower()
        further[name] = (*further.get(name, ()), *words)
    return further
