"""Mailbox addresses and the paths of MAIL and RCPT (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

    Path         = "<" [ A-d-l ":" ] Mailbox ">"
    Mailbox      = Local-part "@" ( Domain / address-literal )
    Local-part   = Dot-string / Quoted-string
    Dot-string   = Atom *("." Atom)
    QcontentSMTP = qtextSMTP / quoted-pairSMTP

A local part is kept as what it *means*: `"a"@x` and `a@x` are the same mailbox (section 4.1.2: "semantically
equivalent"), and it is quoted again, as little as possible, when it is written. Its case is kept. Domains are kept in lower case.
Encoded-words, percent hacks and bang paths are plain characters here.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import IPv4Address, IPv6Address

import msgspec

__all__ = [
    "MAX_DOMAIN",
    "MAX_LOCAL_PART",
    "MAX_PATH",
    "Address",
    "AddressError",
    "domain_from",
    "quote_local_part",
]

# RFC 5321 section 4.5.3.1.1 to .3, octets
MAX_LOCAL_PART = 64
MAX_DOMAIN = 255
MAX_PATH = 256
_MAX_LABEL = 63  # RFC 1035 section 2.3.4

_ATEXT = r"A-Za-z0-9!#$%&'*+/=?^_`{|}~\-"
_UTF8 = (
    "\u00a1-\u167f\u1681-\u1fff\u200d\u2010-\u2027"
    "\u2030-\u205e\u2070-\u2fff\u3001-\ud7ff\ue000-\ufdef\ufdf0-\uffef\U00010000-\U000effff"
)
_DOT_STRING = re.compile(rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*")
_DOT_STRING_UTF8 = re.compile(rf"[{_ATEXT}{_UTF8}]+(?:\.[{_ATEXT}{_UTF8}]+)*")
# qtextSMTP = %d32-33 / %d35-91 / %d93-126 ; quoted-pairSMTP = "\" %d32-126
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\[ -~])*)"')
_QUOTED_UTF8 = re.compile(rf'"((?:[ !#-\[\]-~{_UTF8}]|\\[ -~])*)"')
_LABELS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)*")
_LITERAL = re.compile(r"\[(?:(IPv6:)([0-9A-Fa-f:.]{2,45})|(\d{1,3}(?:\.\d{1,3}){3}))\]", re.IGNORECASE)
# A-d-l = At-domain *( "," At-domain ): must be accepted, should be ignored (RFC 5321 section 4.1.1.3, appendix C)
_SOURCE_ROUTE = re.compile(r"@[A-Za-z0-9.\-\[\]:]{1,255}(?:,@[A-Za-z0-9.\-\[\]:]{1,255})*:")
# Letters that IDNA 2003 turned into others and IDNA 2008 keeps (RFC 5894 section 7.2): the codec knows the old way only, and mail for
# straße.example would go to strasse.example, which is somebody else's
_KEPT = re.compile("[\u00df\u1e9e\u03c2]")
_OTHER_DOTS = re.compile("[\u3002\uff0e\uff61]")
_SENDABLE_DOMAIN = re.compile(r"[A-Za-z0-9.\-]*|\[[0-9A-Za-z:.]+\]").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# the shape of nearly every address; anything else takes the long way round
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?"
_SHAPE = rf"([{_ATEXT}]+(?:\.[{_ATEXT}]+)*)@({_LABEL}(?:\.{_LABEL})*)"
_PLAIN = re.compile(_SHAPE)
_PLAIN_LOCAL = _DOT_STRING.fullmatch
_PLAIN_PATH = re.compile(f"<{_SHAPE}>")


class AddressError(ValueError):
    """Text that is no address. The message names the part that is wrong and is safe to show."""


def quote_local_part(local: str) -> str:
    """Write a local part as a Dot-string where that is possible, else as a Quoted-string (RFC 5321 section 4.1.2)."""
    if _DOT_STRING_UTF8.fullmatch(local):
        return local
    return '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'


def domain_from(text: str) -> str:
    """Check and normalise a domain or address literal: lower case, U-labels kept as A-labels; raise AddressError.

    Address literals come back as `[192.0.2.1]` or `[IPv6:2001:db8::1]` in canonical form. A trailing dot, an
    underscore, an empty or over-long label and an all-numeric last label are refused (the last would be an
    unbracketed address).
    """
    if text.startswith("["):
        return _literal(text)
    if not text.isascii():
        text = _a_labels(text)
    if len(text) > MAX_DOMAIN:
        raise AddressError("domain is longer than 255 octets")
    if not _LABELS.fullmatch(text):
        raise AddressError("domain is not valid")
    labels = text.split(".")
    if any(len(label) > _MAX_LABEL for label in labels):
        raise AddressError("domain has a label longer than 63 octets")
    if labels[-1].isdigit():
        raise AddressError("an address literal must be in brackets")
    return text.lower()


def _a_labels(text: str) -> str:
    # The codec takes time quadratic in the length (CVE-2022-45061), lets unassigned and invisible characters pass, and reads three
    # other signs as dots: whoever splits at "." alone would see another domain
    if len(text) > MAX_DOMAIN or not text.isprintable() or _OTHER_DOTS.search(text):
        raise AddressError("domain is not a valid internationalized name")
    try:
        # the codec keeps a full-width @ or dot out: it maps U+FF20 to "@", which _LABELS then refuses
        if _KEPT.search(text) is None:
            return text.encode("idna").decode("ascii")
        return ".".join(
            _a_label(label) if _KEPT.search(label) else label.encode("idna").decode() for label in text.split(".")
        )
    except (UnicodeError, ValueError):
        raise AddressError("domain is not a valid internationalized name") from None


def _a_label(label: str) -> str:
    """Return the A-label of a label with a letter that is kept: in lower case and composed, as Punycode (RFC 5891 section 4)."""
    return "xn--" + unicodedata.normalize("NFC", label.lower()).encode("punycode").decode("ascii")


def _literal(text: str) -> str:
    match = _LITERAL.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        if match[1]:
            return f"[IPv6:{IPv6Address(match[2]).compressed}]"
        return f"[{IPv4Address(match[3])}]"
    except ValueError:
        raise AddressError("address literal is not valid") from None


class Address(msgspec.Struct, frozen=True, gc=False):
    """A mailbox: `local` unquoted with its case kept, `domain` in lower case (or a literal in brackets).

    `domain` is empty only for the bare `postmaster` of RCPT (RFC 5321 section 4.5.1).
    """

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str, *, utf8: bool = False) -> Address:
        """Read `text`, a Mailbox without angle brackets; raise AddressError.

        With `utf8`, characters beyond ASCII may stand in the local part and the domain (RFC 6531).
        """
        match = _PLAIN.fullmatch(text)
        if match is not None and len(match[1]) <= MAX_LOCAL_PART:
            local, domain = match[1], match[2]
        else:
            local, domain = _split(text, utf8)
        if len(text.encode() if utf8 else text) > MAX_PATH - 2:
            raise AddressError("path is longer than 256 octets")
        return cls(local, domain_from(domain))

    @classmethod
    def parse_path(cls, path: str, *, utf8: bool = False) -> Address | None:
        """Read a path in angle brackets: None for the null path `<>`; a source route is dropped; raise AddressError."""
        match = _PLAIN_PATH.fullmatch(path)
        if match is not None:
            local, domain = match.groups()
            # short enough that no bound can be passed but the local part's, and no unbracketed IPv4 address
            if len(local) <= MAX_LOCAL_PART and len(domain) <= _MAX_LABEL and not domain[-1].isdigit():
                return cls(local, domain.lower())
        if path == "<>":
            return None
        if len(path) > 2 * MAX_PATH:
            raise AddressError("path is longer than 256 octets")
        if not (path.startswith("<") and path.endswith(">")):
            raise AddressError("path must stand in angle brackets")
        inner = path[1:-1]
        if inner.startswith("@"):
            match = _SOURCE_ROUTE.match(inner)
            if match is None:
                raise AddressError("source route is not valid")
            inner = inner[match.end() :]
        return cls.parse(inner, utf8=utf8)

    @property
    def sendable(self) -> bool:
        """Whether this can stand in a command: an Address that was put together and not parsed might carry a parameter or a line end."""
        local = self.local
        # what is printable has no control characters, and costs a tenth
        return _SENDABLE_DOMAIN(self.domain) is not None and (local.isprintable() or _CONTROL.search(local) is None)

    @property
    def key(self) -> str:
        """The address in lower case, for comparing mailboxes whose case does not matter (our own)."""
        return f"{self.local}@{self.domain}".lower()

    @property
    def is_ascii(self) -> bool:
        """Whether the next hop needs no SMTPUTF8 for this address."""
        return self.local.isascii()

    def __str__(self) -> str:
        local = self.local
        if not _PLAIN_LOCAL(local):
            local = quote_local_part(local)
        return f"{local}@{self.domain}" if self.domain else local


def _split(text: str, utf8: bool) -> tuple[str, str]:
    """Return the unquoted local part and the raw domain of a mailbox that is not of the plain shape."""
    if not text.isascii() and not utf8:
        raise AddressError("characters beyond ASCII need SMTPUTF8")
    quoted = (_QUOTED_UTF8 if utf8 else _QUOTED).match(text)
    if quoted is not None:
        local, rest = re.sub(r"\\(.)", r"\1", quoted[1]), text[quoted.end() :]
        size = quoted.end()
    else:
        dotted = (_DOT_STRING_UTF8 if utf8 else _DOT_STRING).match(text)
        if dotted is None:
            raise AddressError("local part is not valid")
        local, rest = dotted[0], text[dotted.end() :]
        size = len(local.encode())
    if not rest.startswith("@"):
        raise AddressError("local part is not valid" if "@" in rest else "address has no domain")
    if size > MAX_LOCAL_PART:
        raise AddressError("local part is longer than 64 octets")
    if not local:
        raise AddressError("local part is empty")
    return local, rest[1:]
