"""Sign the reverse-paths of our own mail (BATV, prvs), and refuse notices about mail that we never sent."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

from upesi.plugin import (
    Address,
    Clock,
    Duration,
    FilePath,
    ListError,
    Plugin,
    PluginSettings,
    Transaction,
    TransactionRecipient,
    Verdict,
    domain_from,
    hook,
    read_list,
    reject,
)

_DAY = 86_400
# draft-levine-smtp-batv section 4.2: the day modulo 1000, three digits
_CYCLE = 1000
_NOT_SENT = reject("5.7.1", "This notice is about mail that was not sent from here")
_LEAST_SECRET = 16


class BounceTags(Plugin):
    """`prvs=KDDDSSSSSS=local@domain`: a key's number, the day on which it ends, six digits of a keyed hash."""

    class Settings(PluginSettings):
        """The keys are those of all servers that send or receive for these domains."""

        # whose senders are signed, and whose notices are looked at: our own
        domains: tuple[str, ...]
        # a file with "DIGIT SECRET" a line; the first signs, all are believed
        keys_file: FilePath
        # a tag is good for so long: longer than others try before they give up
        lifetime: Duration = Duration("7d")
        # a notice to an address without a tag: was sent before tags were, or elsewhere, or never
        untagged: Literal["mark", "reject"] = "mark"
        # a notice to an address with a tag that is wrong or too old
        invalid: Literal["mark", "reject"] = "reject"
        # recipients that take untagged notices all the same: local parts or addresses
        exempt: tuple[str, ...] = ("postmaster", "abuse")

        def __post_init__(self) -> None:
            for name in self.domains:
                domain_from(name)
            if not _DAY <= self.lifetime <= 300 * _DAY:
                raise ValueError("lifetime is 1d to 300d")

    def __init__(self, settings: Settings, clock: Clock) -> None:
        super().__init__(settings)
        self._clock = clock
        self._domains = frozenset(map(domain_from, settings.domains))
        self._keys = _keys(settings.keys_file)
        self._signer = next(iter(self._keys))
        self._days = int(settings.lifetime // _DAY)
        self._answers = {
            "untagged": _NOT_SENT if settings.untagged == "reject" else None,
            "invalid": _NOT_SENT if settings.invalid == "reject" else None,
        }
        self._exempt = frozenset(entry.lower() for entry in settings.exempt)

    @hook.message(after=["dkim_sign", "dmarc", "spf"])
    def sign(self, tx: Transaction) -> None:
        """Tag the sender of mail that a client of ours submits."""
        session, sender = tx.session, tx.reverse_path
        if sender is None or not (session.relaying or session.identity is not None):
            return
        if sender.domain not in self._domains or _tag(sender) is not None:
            return
        day = f"{(int(self._clock.now() // _DAY) + self._days) % _CYCLE:03d}"
        tagged = Address(f"prvs={self._signed(self._signer, day, sender)}={sender.local}", sender.domain)
        if tagged.sendable:
            tx.reverse_path = tagged
            tx.results["batv"] = ("pass", "signed")

    @hook.rcpt(before=["aliases", "recipients", "srs"])
    def check(self, tx: Transaction, recipient: TransactionRecipient) -> Verdict | None:
        """Take the tag from a recipient; refuse a notice to one that has none of ours."""
        address = recipient.address
        if address.domain not in self._domains:
            return None
        tag = _tag(address)
        if tag is not None:
            recipient.address = Address(tag[1], address.domain)
        if tx.reverse_path is not None:
            # a person may answer to any address that it saw
            return None
        if tag is not None and self._is_ours(tag[0], recipient.address):
            tx.results["batv"] = ("pass", "a notice about mail of ours")
            return None
        if self._is_exempt(recipient.address):
            tx.results["batv"] = ("skip", "exempt recipient")
            return None
        what = "untagged" if tag is None else "invalid"
        tx.results["batv"] = ("fail", what)
        return self._answers[what]

    def _is_ours(self, tag: str, address: Address) -> bool:
        number, day = tag[:1], tag[1:4]
        if number not in self._keys or not day.isascii() or not day.isdigit():
            return False
        # the day lies ahead, by the lifetime at most; a day more for a colleague whose clock is ahead
        if (int(day) - int(self._clock.now() // _DAY)) % _CYCLE > self._days + 1:
            return False
        return hmac.compare_digest(self._signed(number, day, address).encode(), tag.lower().encode())

    def _signed(self, number: str, day: str, address: Address) -> str:
        text = f"{number}{day}{address.local}@{address.domain}".lower()
        return f"{number}{day}{hmac.new(self._keys[number], text.encode(), hashlib.sha1).hexdigest()[:6]}"

    def _is_exempt(self, address: Address) -> bool:
        return address.local.lower() in self._exempt or address.key in self._exempt


def _tag(address: Address) -> tuple[str, str] | None:
    """Return tag and local part of a tagged address."""
    local = address.local
    if local[:5].lower() != "prvs=":
        return None
    tag, equals, rest = local[5:].partition("=")
    return (tag, rest) if equals and rest and len(tag) == 10 and tag.isalnum() and tag.isascii() else None


def _keys(path: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    try:
        for line, text in read_list(path):
            number, _, secret = text.partition(" ")
            secret = secret.strip()
            if len(number) != 1 or number not in "0123456789" or len(secret) < _LEAST_SECRET or number in keys:
                raise ValueError(
                    f"keys_file: {path}:{line}: must be a digit and a secret of {_LEAST_SECRET} characters or more"
                )
            keys[number] = secret.encode()
    except ListError as error:
        raise ValueError(f"keys_file: {error}") from None
    if not keys:
        raise ValueError(f"keys_file: {path}: has no key")
    return keys
