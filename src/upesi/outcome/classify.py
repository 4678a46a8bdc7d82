"""What a reply means: temporary or permanent, and the class of its reason.

By the enhanced status first (RFC 3463, RFC 5248), then by the reply code (RFC 5321 section 4.2.3), then by the text (C54). A status or
code that many receivers use for everything (5.7.1, 550) says something only where the text says nothing. An unknown code counts by its
first digit (RFC 5321 section 4.3.2). Reactions to patterns of replies are not here.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from upesi.mail.outcome import Action, Outcome, OutcomeKind

__all__ = ["Stage", "classify", "kind_of", "outcome_of", "reason"]


class Stage(enum.StrEnum):
    """Which command a reply answers, where that changes its meaning."""

    GREETING = "greeting"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"


# RFC 3463 sections 3.2 to 3.8 and the registry of RFC 5248: subject.detail -> class
_BY_DETAIL: Final = {
    "1.1": "bad-mailbox",
    "1.2": "bad-domain",
    "1.3": "bad-mailbox",
    "1.4": "bad-mailbox",
    "1.6": "bad-mailbox",
    "1.7": "bad-sender",
    "1.8": "bad-sender",
    "1.10": "bad-domain",  # RFC 7505: null MX of the recipient
    "2.1": "inactive-mailbox",
    "2.2": "mailbox-full",
    "2.3": "too-large",
    "3.1": "system-full",
    "3.2": "system",
    "3.4": "too-large",
    "4.3": "routing",
    "4.4": "routing",
    "4.6": "loop",
    "4.7": "expired",
    "5.3": "too-many-recipients",
    "6.7": "content",
    "7.1": "policy",
    "7.20": "authentication",  # RFC 7372: no DKIM signature that passes, and its kin up to 7.26
    "7.21": "authentication",
    "7.22": "authentication",
    "7.23": "authentication",
    "7.24": "authentication",
    "7.25": "authentication",
    "7.26": "authentication",
    "7.27": "bad-sender",  # RFC 7505: null MX of the sender
    "7.28": "rate",
    "7.515": "authentication",  # Microsoft's own, 2025: SPF, DKIM and DMARC of the sending domain
}
# where the detail says nothing more: the subject (RFC 3463 section 3)
_BY_SUBJECT: Final = {
    "1": "bad-mailbox",
    "2": "mailbox",
    "3": "system",
    "4": "connection",
    "5": "protocol",
    "6": "content",
    "7": "policy",
}
# codes that mean one thing
_BY_CODE: Final = {
    500: "protocol",
    501: "protocol",
    502: "protocol",
    503: "protocol",
    504: "protocol",
    521: "no-mail",  # RFC 7504
    530: "authentication",
    535: "authentication",
    551: "bad-mailbox",
    552: "mailbox-full",
    555: "protocol",
    556: "no-mail",
}
# codes that are used for everything: what they mean where nothing else says more
_BY_VAGUE_CODE: Final = {
    421: "connection",
    450: "mailbox-busy",
    451: "system",
    452: "system-full",
    550: "bad-mailbox",
    553: "bad-mailbox",
}
# Texts of the large receivers, most telling first. They also override what is only a vague status (_VAGUE): "550 5.7.1 user unknown"
_BY_TEXT: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), name)
    for pattern, name in (
        (r"(rate|too (many|much|fast)|throttl|limit exceeded|try again later.*(volume|load))", "rate"),
        (r"gr[ae]y ?-?list", "greylisted"),
        (r"(quota|mailbox (is )?full|over ?quota|insufficient (disk|storage))", "mailbox-full"),
        (r"(user|mailbox|recipient|address|account).{0,30}(unknown|not found|does ?n.t exist|no such|disabled)", "bad-mailbox"),
        (r"(no such (user|mailbox|recipient)|unknown (user|recipient|mailbox)|invalid recipient)", "bad-mailbox"),
        (r"(spamhaus|barracuda|block ?list|black ?list|dnsbl|\brbl\b|reputation)", "reputation"),
        (r"(spam|junk|unsolicited|virus|malware|content rejected)", "content"),
        (r"(dmarc|dkim|\bspf\b|authenticat)", "authentication"),
        (r"(relay(ing)? (access )?denied|not permitted to relay)", "relaying"),
        (r"(message (size|too large)|too big|size limit)", "too-large"),
        (r"(loop|too many hops)", "loop"),
    )
)  # fmt: skip
# Statuses that say "other" or "policy" and leave the reason to the text
_VAGUE: Final = frozenset({"0.0", "1.0", "2.0", "3.0", "4.0", "5.0", "6.0", "7.0", "7.1"})


_CLASSES: Final = {OutcomeKind.DELIVERED: "2", OutcomeKind.DEFERRED: "4", OutcomeKind.FAILED: "5"}
# RFC 5321 section 4.5.3.1.10: old servers say 552 where they mean 452 "too many recipients"; both mean: the rest later (C13)
_TOO_MANY: Final = frozenset((452, 552))


def kind_of(code: int, stage: Stage | None = None) -> OutcomeKind:
    """Return what a reply code means for the message: by its first digit (RFC 5321 section 4.3.2).

    552 to RCPT counts as 452 (RFC 5321 section 4.5.3.1.10: "too many recipients" was 552 once). A code of no known class is a
    broken receiver, not a verdict on the message: put off. 3xx where an end was asked for is the same.
    """
    if code == 552 and stage is Stage.RCPT:
        return OutcomeKind.DEFERRED
    first = code // 100
    if first == 2:
        return OutcomeKind.DELIVERED
    return OutcomeKind.FAILED if first == 5 else OutcomeKind.DEFERRED


def classify(outcome: Outcome) -> tuple[OutcomeKind, str]:
    """Return the kind and the class of reason of `outcome`; "" for what was delivered."""
    if outcome.kind is OutcomeKind.DELIVERED:
        return outcome.kind, ""
    return outcome.kind, reason(outcome.code, outcome.status, outcome.text)


def reason(code: int, status: str, text: str) -> str:
    """Return the class of a 4xx or 5xx: by enhanced status, code, then text; "other" where none of them says anything."""
    detail = status[2:] if status[:1] in ("2", "4", "5") else ""
    subject = detail.partition(".")[0]
    by_status = _BY_DETAIL.get(detail) or _BY_SUBJECT.get(subject)
    if by_status is not None and detail not in _VAGUE:
        return by_status
    return _BY_CODE.get(code) or _by_text(text) or by_status or _BY_VAGUE_CODE.get(code) or "other"


def _by_text(text: str) -> str | None:
    return next((name for pattern, name in _BY_TEXT if pattern.search(text)), None)


def outcome_of(
    code: int, status: str, text: str, remote: str = "", stage: Stage | None = None, action: Action | None = None
) -> Outcome:
    """Return the outcome that a reply to the command of `stage` is; `status` is "" where the receiver gave none.

    `action` is what a sender is told who asked to hear of success.

    A status of another class than the kind (RFC 2034 section 4 forbids it) is replaced: the code decides. The code stays what
    was said, for logs and reports quote it.
    """
    kind = kind_of(code, stage)
    klass = _CLASSES[kind]
    if stage is Stage.RCPT and code in _TOO_MANY:
        # 4.5.3 tells the scheduler that these may follow soon; a detail that says otherwise (5.2.2, mailbox full) stays
        status = klass + status[1:] if status else "4.5.3"
    elif not status.startswith(klass):
        status = klass + ".0.0"
    return Outcome(kind, code, status, text, remote, action)
