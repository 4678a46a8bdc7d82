"""SPF records: what a domain says about who sends its mail (RFC 7208 sections 4.5, 4.6.1, 5 and 6, and the grammar of section 12).

    record     = version terms *SP
    directive  = [ qualifier ] mechanism
    modifier   = redirect / explanation / unknown-modifier
    a          = "a" [ ":" domain-spec ] [ dual-cidr-length ]
    ip4        = "ip4" ":" ip4-network [ ip4-cidr-length ]

A mistake anywhere makes the whole record void (section 4.6), so all of it is read before any of it counts. What was read is kept, by
its text: the same few records of large providers come again and again.
"""

from __future__ import annotations

import enum
import re
from ipaddress import AddressValueError, IPv6Address

import msgspec

from upesi.mailauth.spf_macros import ESCAPES, Macro, MacroString, SpfSyntaxError, macro_string

__all__ = ["MAX_RECORD", "Mechanism", "SpfRecord", "SpfRecords", "SpfResult", "read_record", "selected"]

# Octets. RFC 7208 section 3.4 asks for 450; the longest in use ("flattened" lists of networks) have some 4,000
MAX_RECORD = 8192
# Octets of records that are kept read: some 1,500 of them. Nothing but "a a a" takes 70 times its length
MAX_KEPT = 256 * 1024


class SpfResult(enum.Enum):
    """What a check can say (RFC 7208 section 2.6)."""

    NONE = "none"
    NEUTRAL = "neutral"
    PASS = "pass"
    FAIL = "fail"
    SOFTFAIL = "softfail"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


class Mechanism(msgspec.Struct, frozen=True, gc=False):
    """One directive. `kind` is "all", "include", "a", "mx", "ptr", "ip4", "ip6" or "exists"; `text` is how it was written.

    A network is `network` under `mask4` or `mask6`; of "a" and "mx" the masks are those for the addresses that DNS gives.
    """

    result: SpfResult
    kind: str
    text: str
    target: MacroString | None = None
    network: int = 0
    mask4: int = 0
    mask6: int = 0


class SpfRecord(msgspec.Struct, frozen=True):
    """A record without mistakes."""

    mechanisms: tuple[Mechanism, ...]
    redirect: MacroString | None = None
    explanation: MacroString | None = None


_QUALIFIERS = {
    "+": SpfResult.PASS,
    "": SpfResult.PASS,
    "-": SpfResult.FAIL,
    "~": SpfResult.SOFTFAIL,
    "?": SpfResult.NEUTRAL,
}
_TERM = re.compile(r"([+\-?~]?)([A-Za-z][A-Za-z0-9\-_.]*)([!-~]*)")
# ip4-cidr-length = "/" ("0" / %x31-39 0*1DIGIT), ip6-cidr-length with two more digits
_WITH_CIDR = re.compile(r"(?::(.*?))?(?:/(0|[1-9]\d?))?(?://(0|[1-9]\d{0,2}))?")
_OCTET = r"(0|[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])"
_IP4 = re.compile(rf":{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/(0|[1-9]\d?))?")
_IP6 = re.compile(r":([0-9A-Fa-f:.]{2,45})(?:/(0|[1-9]\d{0,2}))?")
_TOP_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?")
_VERSION = "v=spf1"


def selected(texts: tuple[str, ...]) -> list[str]:
    """Return the SPF records among TXT records (section 4.5): a version that ends with the record, or at a blank."""
    end = len(_VERSION)
    return [text for text in texts if text[:end].lower() == _VERSION and text[end : end + 1] in ("", " ")]


def read_record(text: str) -> SpfRecord:
    """Read a record that was `selected`; raise SpfSyntaxError."""
    if len(text) > MAX_RECORD:
        raise SpfSyntaxError(f"the record is longer than {MAX_RECORD} octets")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, MacroString] = {}
    for term in text[len(_VERSION) :].split(" "):
        if not term:
            continue
        match = _TERM.fullmatch(term)
        if match is None:
            raise SpfSyntaxError(f"no term: {term[:40]!a}")
        qualifier, name, rest = match.groups()
        if rest[:1] != "=":
            mechanisms.append(_mechanism(_QUALIFIERS[qualifier], name.lower(), rest, term))
        elif qualifier:
            raise SpfSyntaxError(f"a modifier has no qualifier: {term[:40]}")
        else:
            _modifier(name.lower(), rest[1:], modifiers)
    return SpfRecord(tuple(mechanisms), modifiers.get("redirect"), modifiers.get("exp"))


def _modifier(name: str, value: str, modifiers: dict[str, MacroString]) -> None:
    if name not in ("redirect", "exp"):
        # unknown ones mean nothing, and must be macro strings all the same (section 6)
        macro_string(value, letters=True)
        return
    if name in modifiers:
        raise SpfSyntaxError(f"{name}= stands in the record twice")
    modifiers[name] = _domain_spec(value)


def _mechanism(result: SpfResult, kind: str, rest: str, text: str) -> Mechanism:
    if kind == "ip4":
        return _ip4(result, rest, text)
    if kind == "ip6":
        return _ip6(result, rest, text)
    if kind in ("a", "mx"):
        return _hosts(result, kind, rest, text)
    if kind == "all" and not rest:
        return Mechanism(result, kind, text)
    if kind == "ptr" and not rest:
        return Mechanism(result, kind, text)
    if kind in ("include", "exists", "ptr") and rest[:1] == ":":
        return Mechanism(result, kind, text, _domain_spec(rest[1:]))
    raise SpfSyntaxError(f"no mechanism: {text[:40]}")


def _hosts(result: SpfResult, kind: str, rest: str, text: str) -> Mechanism:
    match = _WITH_CIDR.fullmatch(rest)
    if match is None:
        raise SpfSyntaxError(f"no mechanism: {text[:40]}")
    domain, four, six = match.groups()
    target = None if domain is None else _domain_spec(domain)
    return Mechanism(result, kind, text, target, 0, _mask(four, 32, text), _mask(six, 128, text))


def _ip4(result: SpfResult, rest: str, text: str) -> Mechanism:
    match = _IP4.fullmatch(rest)
    if match is None:
        raise SpfSyntaxError(f"no IPv4 network: {text[:40]}")
    a, b, c, d, length = match.groups()
    mask = _mask(length, 32, text)
    return Mechanism(result, "ip4", text, None, (int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)) & mask, mask)


def _ip6(result: SpfResult, rest: str, text: str) -> Mechanism:
    match = _IP6.fullmatch(rest)
    try:
        if match is None:
            raise AddressValueError
        address = int(IPv6Address(match[1]))
    except AddressValueError:
        raise SpfSyntaxError(f"no IPv6 network: {text[:40]}") from None
    mask = _mask(match[2], 128, text)
    return Mechanism(result, "ip6", text, None, address & mask, 0, mask)


def _mask(length: str | None, bits: int, text: str) -> int:
    ones = bits if length is None else int(length)
    if ones > bits:
        raise SpfSyntaxError(f"no such prefix: {text[:40]}")
    return (1 << bits) - (1 << (bits - ones))


def _domain_spec(text: str) -> MacroString:
    """Read a domain-spec: it ends in a macro or a label that can be a top one, which no unbracketed address does (section 7.1)."""
    parts = macro_string(text)
    if parts and (type(parts[-1]) is Macro or parts[-1] in ESCAPES):
        return parts
    _, dot, top = text.removesuffix(".").rpartition(".")
    if not dot or not _TOP_LABEL.fullmatch(top) or top.isdigit():
        raise SpfSyntaxError(f"no domain: {text[:40]}")
    return parts


class SpfRecords:
    """Records that were read before, by their text; mistakes too. At MAX_KEPT all are forgotten: reading again costs microseconds."""

    __slots__ = ("_known", "_size")

    def __init__(self) -> None:
        self._known: dict[str, SpfRecord | str] = {}
        self._size = 0

    def read(self, text: str) -> SpfRecord:
        """Read a record; raise SpfSyntaxError."""
        known = self._known.get(text)
        if known is None:
            known = self._read(text)
        if type(known) is str:
            raise SpfSyntaxError(known)
        return known  # type: ignore[return-value]

    def _read(self, text: str) -> SpfRecord | str:
        found: SpfRecord | str
        try:
            found = read_record(text)
        except SpfSyntaxError as error:
            found = str(error)
        if len(text) <= MAX_RECORD:
            self._size += len(text) or 1
            if self._size > MAX_KEPT:
                self._known.clear()
                self._size = len(text)
            self._known[text] = found
        return found
