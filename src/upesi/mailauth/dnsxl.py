"""Lists in DNS (DNSBL and DNSWL, RFC 5782): what to ask, what an answer means, and whether a list can be believed.

An answer counts only inside of 127.0.0.0/8 (section 2.1). A list that has gone, that a resolver answers for, or that refuses us speaks in
other addresses, or lists everything: on some days in history such lists refused all mail of all who asked them. So a list is tested with
the two entries that every list has (section 5), and one that lies is not believed until it passes (DNS-05).

Pure: nothing is asked here, and time comes as an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

import msgspec

from upesi.mail.answers import Answer, Status

__all__ = [
    "TEST_ADDRESSES", "TEST_NAMES", "CodePattern", "ListHealth", "ListZone", "code_patterns", "list_query", "said_by", "zone_text",
]  # fmt: skip

# section 5: the first must be listed, the second must not be. For lists of names likewise
TEST_ADDRESSES = ("127.0.0.2", "127.0.0.1")
TEST_NAMES = ("test", "invalid")

# RFC 1035 section 2.3.4
_MAX_NAME = 253
# characters of a list's own words that go into a reply: a URL and a number
MAX_TEXT = 200
_CODE = re.compile(r"127(?:\.\d{1,3}){3}")
_PART = re.compile(r"\*|\d{1,3}(?:-\d{1,3})?")
_UNPRINTABLE = re.compile(r"[^ -~]+")

# "127.0.0.2" as ranges of its four numbers, with what it means
CodePattern = tuple[tuple[range, range, range, range], str]


class ListZone(msgspec.Struct, frozen=True):
    """One list: which answers mean what (none given: every one is a listing), and which mean that it does not answer us."""

    name: str
    answers: tuple[CodePattern, ...]
    refusals: tuple[CodePattern, ...]

    def meaning(self, code: str) -> str | None:
        """Return what a code means, "" where nothing is said of it, None where it is no listing."""
        if not self.answers:
            return ""
        return _meaning(self.answers, code)

    def refuses(self, code: str) -> bool:
        """Whether a code says that the list does not answer us (a public resolver, too many questions)."""
        return _meaning(self.refusals, code) is not None


def code_patterns(answers: Mapping[str, str]) -> tuple[CodePattern, ...]:
    """Read codes as people write them: "127.0.0.2", "127.0.0.4-7", "127.0.*.3"; raise ValueError."""
    return tuple((_ranges(code), meaning) for code, meaning in answers.items())


def _ranges(code: str) -> tuple[range, range, range, range]:
    parts = code.split(".")
    if len(parts) != 4 or parts[0] != "127" or not all(map(_PART.fullmatch, parts)):
        raise ValueError(f'{code!r} is no answer of a list: write "127.0.0.2", "127.0.0.4-7" or "127.0.*.3"')
    first, second, third, fourth = (_range(part, code) for part in parts)
    return first, second, third, fourth


def _range(part: str, code: str) -> range:
    low, _, high = ("0-255" if part == "*" else part).partition("-")
    found = range(int(low), int(high or low) + 1)
    if not found or found[-1] > 255:
        raise ValueError(f"{code!r}: {part} is no number of an address")
    return found


def _meaning(patterns: Iterable[CodePattern], code: str) -> str | None:
    numbers = tuple(map(int, code.split(".")))
    for ranges, meaning in patterns:
        if all(number in allowed for number, allowed in zip(numbers, ranges, strict=True)):
            return meaning
    return None


def list_query(subject: str, zone: str) -> str | None:
    """Return the name to ask about an address (sections 2.1 and 2.4) or a domain (section 3.1), None where there can be none."""
    try:
        # "1.2.0.192.in-addr.arpa", "...8.b.d.0.1.0.0.2.ip6.arpa": the same order, another end
        reverse = ip_address(subject).reverse_pointer.rpartition(".")[0].rpartition(".")[0]
    except ValueError:
        reverse = subject
    name = f"{reverse}.{zone}"
    return name if reverse and len(name) <= _MAX_NAME else None


def said_by(zone: ListZone, answer: Answer) -> tuple[tuple[str, ...], str]:
    """Return the codes that are listings, and why the list is not to be believed ("" where it is)."""
    if answer.status is not Status.OK:
        return (), ""
    for code in answer.texts:
        if not _CODE.fullmatch(code):
            return (), f"it answers with {_UNPRINTABLE.sub('?', code)[:45]}, which is no answer of a list"
        if zone.refuses(code):
            return (), f"it refuses to answer us ({code})"
        if code == TEST_ADDRESSES[1]:
            return (), "it answers with 127.0.0.1, as a resolver does that makes answers up"
    return tuple(code for code in answer.texts if zone.meaning(code) is not None), ""


def zone_text(answer: Answer) -> str:
    """Return a list's own words in a form that can stand in a reply: one line of printable ASCII, at most MAX_TEXT characters."""
    if answer.status is not Status.OK or not answer.texts:
        return ""
    return " ".join(_UNPRINTABLE.sub(" ", answer.texts[0][: 4 * MAX_TEXT]).split())[:MAX_TEXT].rstrip()


class ListHealth:
    """Whether one list is believed, and when it is tested next. Each method that changes that returns what the operator should hear."""

    __slots__ = ("_interval", "_next", "_pause", "why")

    def __init__(self, interval: float, pause: float) -> None:
        """It is tested every `interval` seconds, and one that lied again after `pause`."""
        self._interval = interval
        self._pause = pause
        self._next = float("-inf")
        # why it is not believed, "" where it is
        self.why = ""

    def due(self, now: float) -> bool:
        """Whether it is to be tested."""
        return now >= self._next

    def suspect(self, why: str, now: float) -> bool:
        """Stop believing it; whether that is new."""
        new = not self.why
        self.why = why
        self._next = now + self._pause
        return new

    def tested(self, zone: ListZone, listed: Answer, unlisted: Answer, now: float) -> bool:
        """Take the answers to both test entries; whether it is believed, or not, anew. Where DNS is silent nothing changes."""
        if listed.status.trouble or unlisted.status.trouble:
            self._next = now + self._pause
            return False
        why = _fault(zone, listed, unlisted)
        if why:
            return self.suspect(why, now)
        self._next = now + self._interval
        changed = bool(self.why)
        self.why = ""
        return changed


def _fault(zone: ListZone, listed: Answer, unlisted: Answer) -> str:
    # a list may have a code of its own for the test, of which the operator need not know
    said = msgspec.structs.replace(zone, answers=())
    for answer in (listed, unlisted):
        _, why = said_by(said, answer)
        if why:
            return why
    if said_by(said, unlisted)[0]:
        return "it lists what no list has (127.0.0.1, or the name invalid)"
    if not said_by(said, listed)[0]:
        return "it does not list what every list has (127.0.0.2, or the name test)"
    return ""
