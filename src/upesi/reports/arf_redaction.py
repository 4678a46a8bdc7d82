"""What a failure report says of a message's header without saying who wrote to whom about what (RFC 6590, RFC 9991 section 7).

Nothing is taken out of a header here: a new one is written, of what is known to be safe. Each field has a reader in a table that takes
domains, times, addresses of machines and signatures out of it; of local parts and of every field that has no reader (Subject, all that
programs have invented) a keyed digest is left: the same for the same text in reports to one domain, different in those to another, and
whoever has not the key cannot try texts. Display names, comments, parameters and copies of fields (`z=` of a signature) are not there.

The body is never seen here.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Callable
from email.utils import formatdate
from ipaddress import ip_address

from upesi.mail.address import Address
from upesi.mail.dates import moment_of
from upesi.mail.headers import Headers
from upesi.mail.parameters import without_comments

__all__ = ["MAX_REDACTED_ADDRESSES", "MAX_REDACTED_FIELDS", "Redactor"]

# fields of a report's third part, and addresses of one of them: honest mail has some forty, and lists of recipients are nobody's business
MAX_REDACTED_FIELDS = 150
MAX_REDACTED_ADDRESSES = 20

# characters of a field that are looked at, of a field's name, of a tag of a signature
_MAX_VALUE = 4096
_MAX_NAME = 76
_MAX_TAG = 900
# characters of base64 between two places where its line may be folded
_PIECE = 64
# octets of a digest that are shown: 16 characters, which no two of a million texts share
_DIGEST = 10

_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_\-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9_\-]+)+")
_SEPARATORS = re.compile(r"[\s()<>,;:]+")
_CLAUSE = re.compile(r"(?:\A|(?<=\s))(from|by|with)\s+([^\s;]{1,253})", re.IGNORECASE)
_LITERAL = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f:.]{2,45})\]", re.IGNORECASE)
_PROTOCOL = re.compile(r"[A-Z0-9]{3,12}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9+/=:._\-]*")
_MEDIA_TYPE = re.compile(
    r"(?:text|multipart|message|application|image|audio|video|font)/[A-Za-z0-9.+\-]{1,60}", re.IGNORECASE
)
# what else a field of one word may say
_WORDS = frozenset(
    (
        *("1.0", "7bit", "8bit", "binary", "base64", "quoted-printable"),
        *("bulk", "list", "junk", "no", "auto-generated", "auto-replied", "auto-notified"),
    )
)

# RFC 6376 section 3.5; not `z`, which copies fields, nor `i` of a signature, which is an address
_TAGS = frozenset(("v", "a", "c", "d", "s", "t", "x", "h", "l", "q", "bh", "b", "cv"))


class Redactor:
    """Redacts what reports to one policy domain say."""

    __slots__ = ("_key", "_readers")

    def __init__(self, key: bytes, domain: str) -> None:
        """`key` is secret, and known to nobody who reads a report; each `domain` has digests of its own."""
        self._key = hmac.digest(key, domain.encode(), "sha256")
        readers: dict[Callable[[str], str], str] = {
            self._addresses: "from sender reply-to to cc bcc return-path delivered-to x-original-to apparently-to errors-to resent-from"
            " resent-sender resent-to resent-cc resent-bcc disposition-notification-to message-id in-reply-to references resent-message-id",
            self._trace: "received",
            self._tags: "dkim-signature arc-message-signature arc-seal",
            self._date: "date resent-date",
            self._word: "mime-version content-type content-transfer-encoding auto-submitted precedence",
        }
        self._readers = {name: reader for reader, names in readers.items() for name in names.split()}

    def text(self, text: str) -> str:
        """Return what stands for any text."""
        digest = hmac.digest(self._key, text.encode(errors="replace"), "sha256")[:_DIGEST]
        return base64.b32encode(digest).decode().lower()

    def address(self, address: Address) -> str:
        """Return an address whose local part is a digest."""
        return f"{self.text(str(address))}@{address.domain}" if address.domain else self.text(str(address))

    def mailbox(self, text: str) -> str:
        """Return anything of a stranger's that may be an address: the domain behind the last "@" stays, if it is one."""
        local, at, domain = text.rpartition("@")
        if not at or not _HOST.fullmatch(domain):
            return self.text(text)
        domain = domain.lower()
        return f"{self.text(f'{local}@{domain}')}@{domain}" if local else f"@{domain}"

    def fields(self, header: bytes) -> list[tuple[str, str]]:
        """Return the fields of a header section, topmost first: all that is in them is ASCII and on one line."""
        found: list[tuple[str, str]] = []
        for name, value in Headers(header).fields():
            if len(found) == MAX_REDACTED_FIELDS:
                break
            if len(name) <= _MAX_NAME:
                value = value[:_MAX_VALUE]
                reader = self._readers.get(name.lower())
                found.append((name, (reader(value) if reader is not None else "") or self.text(value)))
        return found

    # what each kind of field says; "" where there is nothing in it that may be said

    def _addresses(self, value: str) -> str:
        tokens = [token for token in _SEPARATORS.split(value) if "@" in token]
        return ", ".join(f"<{self.mailbox(token)}>" for token in tokens[:MAX_REDACTED_ADDRESSES])

    def _trace(self, value: str) -> str:
        clauses, _, date = value.rpartition(";")
        # a comment may name who has logged in, but also has the address of the client
        said: dict[str, str] = {}
        # and so may one that never ends
        for match in _CLAUSE.finditer(without_comments(clauses).partition("(")[0]):
            shape = _PROTOCOL if match[1].lower() == "with" else _HOST
            if shape.fullmatch(match[2]):
                said.setdefault(match[1].lower(), match[2])
        client = _literal(clauses)
        parts = [f"from {said.get('from', 'unknown')}" + (f" ([{client}])" if client else "")]
        parts += [f"{word} {said[word]}" for word in ("by", "with") if word in said]
        moment = self._date(date)
        return " ".join(parts) + (f"; {moment}" if moment else "")

    def _tags(self, value: str) -> str:
        found: list[str] = []
        for tag in value.split(";"):
            name, _, said = tag.partition("=")
            name, said = name.strip(), "".join(said.split())
            if name == "i" and said:
                found.append(f"i={said if said.isdecimal() and len(said) < 4 else self.mailbox(said)}")
            elif name in _TAGS and len(said) <= _MAX_TAG and _TAG_VALUE.fullmatch(said):
                found.append(f"{name}={_foldable(name, said)}")
        return "; ".join(found)

    def _date(self, value: str) -> str:
        moment = moment_of(value)
        try:
            # in UTC: the zone tells where somebody lives
            return "" if moment is None else formatdate(moment)
        except (ValueError, OverflowError, OSError):
            return ""

    def _word(self, value: str) -> str:
        # parameters name files
        word = value.partition(";")[0].strip()
        return word if word.lower() in _WORDS or _MEDIA_TYPE.fullmatch(word) else ""


def _literal(text: str) -> str:
    match = _LITERAL.search(text)
    try:
        return str(ip_address(match[1])) if match is not None else ""
    except ValueError:
        return ""


def _foldable(name: str, value: str) -> str:
    """Return the value of a tag with blanks where it may have some, for lines of a bearable length."""
    if name in ("b", "bh"):
        return " ".join(value[at : at + _PIECE] for at in range(0, len(value), _PIECE))
    return value.replace(":", " : ") if name == "h" else value
