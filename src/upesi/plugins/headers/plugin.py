"""Look at the header section and the structure of a message: what RFC 5322 wants, and what programs read differently."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from upesi.plugin import (
    Clock,
    Duration,
    Plugin,
    PluginSettings,
    Transaction,
    Verdict,
    defer,
    hook,
    moment_of,
    reject,
)

Action = Literal["off", "mark", "defer", "reject"]

# RFC 5322 section 3.6: there at most once
_SINGLE = (
    "Date", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Message-ID", "In-Reply-To", "References", "Subject",
)  # fmt: skip
_MESSAGE_ID = re.compile(r"\s*<[^<>\s\x00-\x1f]{1,500}@[^<>\s\x00-\x1f]{1,500}>\s*")
# lines of the header section that every reader reads in another way (MSG-02, MSG-18)
_LINES = frozenset(("odd-line", "blank-continuation", "control-in-header"))
_TOO_LONG = frozenset(("too-many-parts", "too-deep", "too-many-lines", "header-too-large", "too-many-parameters"))

_TEXTS = {
    "missing": "Message has no {what} field (RFC 5322 section 3.6)",
    "incomplete": "Message has no {what} field (RFC 5322 section 3.6)",
    "duplicate": "Message has several {what} fields (RFC 5322 section 3.6)",
    "bad_date": "Date of the message cannot be read (RFC 5322 section 3.3)",
    "old": "Message is too old",
    "future": "Date of the message is in the future",
    "bad_message_id": "Message-ID is none (RFC 5322 section 3.6.4)",
    "malformed": "Header section has lines that are no fields",
    "eight_bit": "Header section is not ASCII, and SMTPUTF8 was not asked for (RFC 6532)",
    "ambiguous": "Structure of the message can be read in several ways: {what}",
    "unscanned": "Structure of the message is beyond what is looked at: {what}",
    "loop": "Message is in a loop",
    "delivered": "Message was delivered to this recipient before",
    "direct": "Message comes from no mail server",
    "other_sender": "Author and sender of the message differ",
}
_STATUSES = {"loop": "5.4.6", "delivered": "5.4.6", "other_sender": "5.7.1", "direct": "5.7.1", "eight_bit": "5.6.7"}
MAX_SHOWN = 10

Fault = tuple[str, str]


class HeaderChecks(Plugin):
    """Check each message; the worst of what is found says what becomes of it."""

    class Settings(PluginSettings):
        """An action is "off", "mark" (only the result is left), "defer" or "reject"."""

        # RFC 5322 section 3.6 wants both. Without From nobody is the author, and large receivers refuse it too; without Date come
        # messages of machines, which somebody wants
        required: tuple[str, ...] = ("From",)
        wanted: tuple[str, ...] = ("Date",)
        missing: Action = "reject"
        incomplete: Action = "mark"
        # readers show one of them and checks look at the other: nobody sends these but to deceive, or by a broken program
        singular: tuple[str, ...] = _SINGLE
        duplicate: Action = "reject"
        bad_date: Action = "mark"
        # mail that waited for a month was lost somewhere; a clock that is two days fast is wrong
        age: Duration = Duration("30d")
        old: Action = "mark"
        ahead: Duration = Duration("2d")
        future: Action = "mark"
        bad_message_id: Action = "mark"
        malformed: Action = "mark"
        eight_bit: Action = "mark"
        # what one program takes for text and another for an attachment
        ambiguous: Action = "mark"
        # more parts, or deeper ones, than anybody looks at
        unscanned: Action = "mark"
        # times that a message may have come through this server
        own_hops: int = 10
        loop: Action = "reject"
        # Delivered-To names one of the recipients
        delivered: Action = "mark"
        # no Received field at all
        direct: Action = "mark"
        # the author's address is not the reverse-path: lists, newsletters and forwarded mail
        other_sender: Action = "off"
        # "all": the mail of our own people is checked too
        mail: Literal["strangers", "all"] = "strangers"

        def __post_init__(self) -> None:
            if self.own_hops < 1:
                raise ValueError("own_hops must be at least 1")

    def __init__(self, settings: Settings, clock: Clock, node: str) -> None:
        super().__init__(settings)
        self._settings = settings
        self._clock = clock
        self._actions: dict[str, Action] = {name: getattr(settings, name) for name in _TEXTS}
        # then nobody need look for parts
        self._unread = settings.malformed == settings.ambiguous == settings.unscanned == "off"
        self._by_us = re.compile(rf"\bby\s+{re.escape(node)}(?![\w.-])", re.IGNORECASE)

    @hook.message(after=["dkim", "spf", "arc", "dmarc"], before=["arc_seal", "dkim_sign"])
    def check(self, tx: Transaction) -> Verdict | None:
        """Look for all faults whose action is not "off", note them, and answer with the first that has the worst action."""
        session, actions = tx.session, self._actions
        if self._settings.mail == "strangers" and (session.relaying or session.identity is not None):
            tx.results["headers"] = ("skip", "one of ours")
            return None
        faults = [fault for fault in self._faults(tx) if actions[fault[0]] != "off"]
        if not faults:
            tx.results["headers"] = ("pass", "")
            return None
        told = ", ".join(f"{name}: {what}" if what else name for name, what in faults[:MAX_SHOWN])
        tx.results["headers"] = ("fail", told)
        for action in ("reject", "defer"):
            for fault in faults:
                if actions[fault[0]] == action:
                    return _verdict(action, *fault)
        return None

    def _faults(self, tx: Transaction) -> Iterator[Fault]:
        count, settings = tx.headers.count, self._settings
        date = tx.headers.get("Date")
        for name in settings.required:
            if not count(name):
                yield "missing", name
        for name in settings.wanted:
            if not count(name):
                yield "incomplete", name
        for name in settings.singular:
            if count(name) > 1:
                yield "duplicate", name
        if date is not None:
            yield from self._dates(date)
        yield from self._structure(tx)
        yield from self._ways(tx)

    def _dates(self, written: str) -> Iterator[Fault]:
        moment = moment_of(written)
        now = self._clock.now()
        if moment is None:
            yield "bad_date", ""
        elif moment < now - self._settings.age:
            yield "old", ""
        elif moment > now + self._settings.ahead:
            yield "future", ""

    def _structure(self, tx: Transaction) -> Iterator[Fault]:
        message_id = tx.headers.get("Message-ID")
        if message_id is not None and _MESSAGE_ID.fullmatch(message_id) is None:
            yield "bad_message_id", ""
        if not tx.transmission.smtputf8 and not tx.headers.section.isascii():
            yield "eight_bit", ""
        if self._unread:
            return
        for defect in tx.mime.ambiguous:
            if defect.kind in _TOO_LONG:
                yield "unscanned", str(defect)
            elif defect.kind in _LINES and not defect.path:
                yield "malformed", defect.kind
            else:
                yield "ambiguous", str(defect)

    def _ways(self, tx: Transaction) -> Iterator[Fault]:
        headers = tx.headers
        received = headers.all("Received")
        if not received:
            yield "direct", ""
        # one that cannot be a loop need not be read
        elif len(received) > self._settings.own_hops and self._own(received) > self._settings.own_hops:
            yield "loop", ""
        delivered = headers.all("Delivered-To")
        if delivered:
            before = {value.strip("<> ").lower() for value in delivered}
            if any(str(recipient.address).lower() in before for recipient in tx.recipients):
                yield "delivered", ""
        if self._actions["other_sender"] == "off" or tx.reverse_path is None:
            return
        if str(tx.reverse_path).lower() not in (headers.get("From") or "").lower():
            yield "other_sender", ""

    def _own(self, received: list[str]) -> int:
        return sum(1 for value in received if self._by_us.search(value))


def _verdict(action: str, name: str, what: str) -> Verdict:
    text = _TEXTS[name].format(what=what)
    status = _STATUSES.get(name, "5.6.0")
    if action == "defer":
        return defer(f"4{status[1:]}", text)
    return reject(status, text, code=554)
