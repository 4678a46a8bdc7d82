"""One DKIM-Signature field, read (RFC 6376 section 3.5, RFC 8463 section 3, RFC 8616 section 5).

Every fault of its own is found here, before DNS is asked: a stranger's bad field costs no question.
"""

from __future__ import annotations

import re
from types import MappingProxyType

import msgspec

from upesi.mail.address import AddressError, domain_from
from upesi.mailauth.canonical import Canonicalization
from upesi.mailauth.tags import MAX_TAG_LIST, TagError, base64_value, number_value, parse_tags, words

__all__ = [
    "MAX_SIGNED_NAMES",
    "BodyHash",
    "Signature",
    "SignatureFault",
    "algorithm_of",
    "field_names",
    "host_name",
    "read_signature",
    "read_tags",
    "require",
    "signature_of",
    "without_signature",
]

# Names in h=. Signers name some twenty, oversigned ones twice
MAX_SIGNED_NAMES = 500
# RFC 1035 section 2.3.4
_MAX_NAME = 253
_MAX_LABEL = 63
# RFC 6376 section 3.1: a selector is labels, as of a host name; underscores are met
_LABELS = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
# field-name (RFC 5322 section 2.2), and the colon between two of them
_FTEXT = bytes(range(33, 127))
_FORMS = MappingProxyType(
    {f"{header.value}/{body.value}": (header, body) for header in Canonicalization for body in Canonicalization}
    # without a second word the body is `simple` (RFC 6376 section 3.5)
    | {header.value: (header, Canonicalization.SIMPLE) for header in Canonicalization}
)
# the value of b=, with the blanks around it
_SIGNATURE_VALUE = re.compile(rb"((?:\A[^:]*:|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
# a fifth of the time that the enumeration takes
_CANONICALIZATIONS = {each.value: each for each in Canonicalization}


class BodyHash(msgspec.Struct, frozen=True, gc=False):
    """How a body is to be hashed, with SHA-256: `limit` is l=, None for the whole of it."""

    canonicalization: Canonicalization
    limit: int | None = None


class SignatureFault(Exception):
    """A signature that cannot count, whatever the keys say. `result` is RFC 8601's word; the message is safe to show."""

    def __init__(self, reason: str, result: str = "permerror") -> None:
        super().__init__(reason)
        self.result = result


class Signature(msgspec.Struct, frozen=True):
    """What a signature says of itself. `field` is where it stands; with nothing in b= that is the last thing that was hashed."""

    domain: str
    selector: str
    identity: str
    algorithm: str
    header: Canonicalization
    body: BodyHash
    names: tuple[bytes, ...]
    body_digest: bytes
    octets: bytes
    field: bytes
    made: int | None = None
    expires: int | None = None

    @property
    def unsigned(self) -> bytes:
        """The field with an empty b=."""
        return without_signature(self.field)

    @property
    def kind(self) -> str:
        """The type of key that it wants (k=)."""
        return self.algorithm.partition("-")[0]

    @property
    def key_name(self) -> str:
        """Where the key is (RFC 6376 section 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"


def read_tags(field: bytes) -> dict[str, str]:
    """Return the tags of a field; raise SignatureFault."""
    if len(field) > MAX_TAG_LIST:
        raise SignatureFault("signature field is too long")
    try:
        return parse_tags(field.partition(b":")[2].decode())
    except UnicodeDecodeError:
        raise SignatureFault("signature field is not text") from None
    except TagError as error:
        raise SignatureFault(f"signature: {error}") from None


def read_signature(field: bytes, tags: dict[str, str]) -> Signature:
    """Make a Signature of the tags of a DKIM-Signature field; raise SignatureFault."""
    if tags.get("v") != "1":
        raise SignatureFault("signature is of an unknown version")
    require(tags, "a", "b", "bh", "d", "h", "s")
    if "q" in tags and "dns/txt" not in words(tags["q"]):
        # RFC 6376 section 3.5: other ways to fetch a key are ignored, but one must be ours
        raise SignatureFault("key is not in DNS")
    names = field_names(tags["h"])
    if b"from" not in names:
        # section 6.1.1
        raise SignatureFault("From is not signed")
    domain = host_name(tags["d"], "d")
    return signature_of(field, tags, domain, _identity(tags.get("i"), domain), names)


def signature_of(
    field: bytes,
    tags: dict[str, str],
    domain: str,
    identity: str,
    names: tuple[bytes, ...],
    default: str = "simple/simple",
) -> Signature:
    """Read the tags that DKIM-Signature and ARC-Message-Signature share; raise SignatureFault. `default` stands for a missing c=."""
    header, body = canonicalizations(tags.get("c", default))
    try:
        made, expires = _times(tags)
        limit = number_value(tags["l"]) if "l" in tags else None
        return Signature(
            domain, host_name(tags["s"], "s"), identity, algorithm_of(tags["a"]), header, BodyHash(body, limit), names,
            base64_value(tags["bh"]), base64_value(tags["b"]), field, made, expires,
        )  # fmt: skip
    except TagError as error:
        raise SignatureFault(f"signature: {error}") from None


def require(tags: dict[str, str], *names: str) -> None:
    """Make sure that tags are there, and hold something; raise SignatureFault."""
    for name in names:
        if not tags.get(name):
            raise SignatureFault(f"signature has no {name}=")


def algorithm_of(text: str) -> str:
    """Return a= in lower case if it is one that counts; raise SignatureFault."""
    algorithm = text.lower()
    if algorithm == "rsa-sha1":
        # RFC 8301 section 3.1: permanently failed
        raise SignatureFault("rsa-sha1 does not count any more", "fail")
    if algorithm not in ("rsa-sha256", "ed25519-sha256"):
        raise SignatureFault("signature is of an unknown algorithm")
    return algorithm


def canonicalizations(text: str) -> tuple[Canonicalization, Canonicalization]:
    """Read c=; raise SignatureFault."""
    forms = _FORMS.get(text.lower())
    if forms is None:
        raise SignatureFault("signature is of an unknown canonicalization")
    return forms


def field_names(text: str) -> tuple[bytes, ...]:
    """Read h= as names in lower case; raise SignatureFault."""
    # blanks stand beside a colon only: any other is left, and no character of a name
    joined = " ".join(text.lower().split()).replace(": ", ":").replace(" :", ":").encode(errors="surrogatepass")
    if joined.translate(None, _FTEXT) or b"::" in joined or joined[:1] == b":" or joined[-1:] == b":":
        raise SignatureFault("list of signed fields is malformed")
    names = tuple(joined.split(b":"))
    if len(names) > MAX_SIGNED_NAMES:
        raise SignatureFault("list of signed fields is too long")
    return names


def host_name(text: str, tag: str) -> str:
    """Return a domain or selector as DNS is asked for it: U-labels as A-labels (RFC 8616); raise SignatureFault."""
    name = text.lower()
    if not name.isascii():
        try:
            name = domain_from(text)
        except AddressError:
            raise SignatureFault(f"{tag}= is no name") from None
    if len(name) > _MAX_NAME or _LABELS.fullmatch(name) is None:
        raise SignatureFault(f"{tag}= is no name")
    if len(name) > _MAX_LABEL and any(len(label) > _MAX_LABEL for label in name.split(".")):
        raise SignatureFault(f"{tag}= is no name")
    return name


def without_signature(field: bytes) -> bytes:
    """Return a field with the value of b= and the blanks around it taken out (RFC 6376 section 3.7)."""
    at = field.find(b"b=")
    while at >= 0:
        # the tag, and not the end of somebody's base64
        before = field[:at].rstrip(b" \t\r\n")
        if before.endswith(b";") or before.find(b":") == len(before) - 1:
            end = field.find(b";", at)
            return field[: at + 2] if end < 0 else field[: at + 2] + field[end:]
        at = field.find(b"b=", at + 2)
    # blanks between the name and its sign
    return _SIGNATURE_VALUE.sub(rb"\1", field, count=1)


def _identity(text: str | None, domain: str) -> str:
    """Return i=, which must be at d= or below; raise SignatureFault."""
    if not text:
        return f"@{domain}"
    # Quoted-printable of i= may hide blanks and semicolons in the local part, which nobody here reads
    local, at, host = text.rpartition("@")
    if not at:
        raise SignatureFault("i= is no identity")
    host = host_name(host, "i")
    if host != domain and not host.endswith(f".{domain}"):
        raise SignatureFault("i= is not at d=")
    return f"{local}@{host}"


def _times(tags: dict[str, str]) -> tuple[int | None, int | None]:
    made = number_value(tags["t"]) if "t" in tags else None
    expires = number_value(tags["x"]) if "x" in tags else None
    if made is not None and expires is not None and expires <= made:
        # section 3.5: x= must be greater than t=
        raise SignatureFault("signature ends before it was made")
    return made, expires
