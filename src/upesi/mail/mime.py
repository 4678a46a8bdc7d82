"""A message as a tree of parts (RFC 2045, 2046), made of places in its octets: nothing is decoded before somebody asks.

`scan` (mime_scan) makes the tree in one pass. What is decoded comes in pieces, so that a large part is not in memory unless the caller
wants it there. Nothing raises but what the body itself raises; what is wrong with the message stands in `Mime.defects`.

Does not put message/partial together nor fetch message/external-body (MSG-15), and does not look into archives or HTML.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

from upesi.mail.body import READ_SIZE, Body, MemoryBody
from upesi.mail.charsets import decode
from upesi.mail.filenames import safe_name
from upesi.mail.headers import Headers
from upesi.mail.mime_defects import Defect
from upesi.mail.parameters import Parametric, parametric, without_comments
from upesi.mail.transfer import IDENTITIES, decoded, decoder_for
from upesi.mail.words import decode_words

__all__ = ["MAX_CONTENT", "Mime", "Part"]

# What one question brings into memory if the caller names no limit
MAX_CONTENT = 1024 * 1024

_SEALED = frozenset(
    (
        "multipart/signed",
        "multipart/encrypted",
        "application/pkcs7-mime",
        "application/x-pkcs7-mime",
        "application/pgp-encrypted",
        "application/pgp",
    )
)
_MESSAGES = frozenset(("message/rfc822", "message/global"))


class Part:
    """One part of a message, or the message itself (`path` is "" then, else "1", "1.2", ...: counted as IMAP's tools do).

    `delimiter` is where the line end in front of its delimiter stands (-1 where it has none), `start` where its header section begins,
    `content_start` what follows the empty line, `end` where its content ends: the line end in front of the next delimiter belongs to that.
    `parts` are those inside: of a multipart, or the message inside a message/rfc822.
    """

    __slots__ = (
        "_body",
        "_disposition",
        "_header",
        "_type",
        "boundary",
        "content_start",
        "delimiter",
        "depth",
        "end",
        "header_end",
        "parent",
        "parts",
        "path",
        "start",
    )

    def __init__(self, body: Body, parent: Part | None, path: str, start: int, header: Headers | None = None) -> None:
        self._body = body
        self.parent = parent
        self.path = path
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.delimiter = -1
        self.start = self.header_end = self.content_start = start
        self.end = body.size
        self.parts: list[Part] = []
        self.boundary: bytes | None = None
        self._header = header
        self._type: Parametric | None = None
        self._disposition: Parametric | None = None

    # what it is

    @property
    def headers(self) -> Headers:
        """Its header fields."""
        if self._header is None:
            self._header = Headers(self._body.read(self.start, self.header_end - self.start))
        return self._header

    @property
    def type(self) -> Parametric:
        """Its Content-Type as it is written, with its parameters; empty where there is none."""
        if self._type is None:
            self._type = parametric(self.headers.get("Content-Type") or "")
        return self._type

    @property
    def content_type(self) -> str:
        """Its type in lower case, as "text/plain": the default where none is given, or what is given is none (RFC 2045 section 5.2)."""
        written = self.type.value
        main, slash, sub = written.partition("/")
        if slash and main and sub and "/" not in sub and " " not in written:
            return written
        if not written and self.parent is not None and self.parent.content_type == "multipart/digest":
            return "message/rfc822"
        return "text/plain"

    @property
    def disposition(self) -> Parametric:
        """Its Content-Disposition: "attachment", "inline", or empty."""
        if self._disposition is None:
            self._disposition = parametric(self.headers.get("Content-Disposition") or "")
        return self._disposition

    @property
    def encoding(self) -> str:
        """Its Content-Transfer-Encoding in lower case; "7bit" where none is given."""
        written = without_comments(self.headers.get("Content-Transfer-Encoding") or "").strip().lower()
        return written.partition(";")[0].rstrip() or "7bit"

    @property
    def charset(self) -> str:
        """The charset parameter in lower case, empty where there is none."""
        return self.type.parameters.get("charset", "").lower()

    @property
    def written_name(self) -> str | None:
        """The file name as its sender spelt it: anything at all. For what is shown, logged or written take `filename`."""
        name = self.disposition.parameters.get("filename") or self.type.parameters.get("name")
        return decode_words(name) if name else None

    @property
    def filename(self) -> str | None:
        """The file name without path, control characters and the like, None where there is none."""
        name = self.written_name
        return None if name is None else safe_name(name)

    @property
    def is_multipart(self) -> bool:
        """Whether it consists of parts: a multipart whose boundary could be used."""
        return self.boundary is not None

    @property
    def is_message(self) -> bool:
        """Whether it is a message in a message."""
        return self.content_type in _MESSAGES

    @property
    def is_attachment(self) -> bool:
        """Whether it is content for itself: said to be, with a file name, or not text. Containers are none, messages in messages are."""
        if self.is_multipart or self.parent is None:
            return False
        if self.disposition.value == "attachment" or self.written_name is not None:
            return True
        return not self.content_type.startswith("text/")

    @property
    def is_sealed(self) -> bool:
        """Whether it, or what is around it, is signed or encrypted (RFC 1847, RFC 8551): changed, it would be worthless."""
        part: Part | None = self
        while part is not None:
            if part.content_type in _SEALED:
                return True
            part = part.parent
        return False

    # what is in it

    @property
    def size(self) -> int:
        """Octets of its content as it is encoded."""
        return self.end - self.content_start

    def raw(self) -> Iterator[bytes]:
        """Yield its content as it is encoded, in pieces."""
        return _pieces(self._body, self.content_start, self.end)

    def decoded(self) -> Iterator[bytes]:
        """Yield its content with the transfer encoding undone, in pieces: as it is where there is no such encoding."""
        decoder = None if self.is_multipart else decoder_for(self.encoding)
        return self.raw() if decoder is None else decoded(self.raw(), decoder)

    def content(self, limit: int = MAX_CONTENT) -> bytes:
        """Return the first `limit` octets of its content, decoded."""
        found: list[bytes] = []
        left = limit
        for piece in self.decoded():
            found.append(piece[:left])
            left -= len(piece)
            if left <= 0:
                break
        return b"".join(found)

    def text(self, limit: int = MAX_CONTENT) -> str:
        """Return as text what the first `limit` octets of its content, decoded, stand for; what stands for nothing becomes U+FFFD."""
        return decode(self.content(limit), self.charset)

    def digest(self, algorithm: str = "sha256") -> str:
        """Return the hash of its content, decoded, in hexadecimal."""
        made = hashlib.new(algorithm, usedforsecurity=False)
        for piece in self.decoded():
            made.update(piece)
        return made.hexdigest()

    def faults(self) -> frozenset[str]:
        """Return what is broken in its transfer encoding ("cut-off", "foreign-character", ...); reads all of it."""
        decoder = decoder_for(self.encoding)
        if decoder is None or self.encoding in IDENTITIES:
            return frozenset()
        for _ in decoded(self.raw(), decoder):
            pass
        return frozenset(decoder.faults)

    def unpacked(self) -> Body | None:
        """Return the message inside where it is a message/rfc822 in a transfer encoding, None elsewhere: its octets are no part of ours.

        RFC 2046 section 5.2.1 forbids it, and some programs open it. Scan it as a message of its own.
        """
        if not self.is_message or self.encoding in IDENTITIES or decoder_for(self.encoding) is None:
            return None
        return MemoryBody(b"".join(self.decoded()))

    def __repr__(self) -> str:
        return f"<Part {self.path or 'message'} {self.content_type} {self.size}>"


def _pieces(body: Body, start: int, end: int) -> Iterator[bytes]:
    if isinstance(body, MemoryBody):
        if start < end:
            yield body.data if end - start == body.size else body.data[start:end]
        return
    while start < end:
        piece = body.read(start, min(READ_SIZE, end - start))
        if not piece:
            return
        start += len(piece)
        yield piece


class Mime:
    """The tree of one message: `root` is the message, `parts` all of them in their order, `defects` what is wrong with it."""

    def __init__(self, root: Part, parts: tuple[Part, ...], defects: tuple[Defect, ...]) -> None:
        self.root = root
        self.parts = parts
        self.defects = defects

    @cached_property
    def ambiguous(self) -> tuple[Defect, ...]:
        """Those defects about which programs differ: what one takes for text, another may take for an attachment."""
        return tuple(defect for defect in self.defects if defect.ambiguous)

    def part(self, path: str) -> Part | None:
        """Return the part at `path`, None where there is none."""
        return next((part for part in self.parts if part.path == path), None)

    def attachments(self) -> Iterator[Part]:
        """Yield the parts that are attachments, messages in messages and their attachments too."""
        return (part for part in self.parts if part.is_attachment)

    def texts(self, subtype: str = "") -> Iterator[Part]:
        """Yield the parts that are shown as the message's own text: "plain", "html" or both; nothing inside messages in messages."""
        wanted = (f"text/{subtype}",) if subtype else ("text/plain", "text/html")
        return (part for part in self.parts if part.content_type in wanted and _is_shown(part))


def _is_shown(part: Part) -> bool:
    if part.is_multipart or part.is_attachment:
        return False
    around = part.parent
    while around is not None:
        if around.is_message and around.parent is not None:
            return False
        around = around.parent
    return True
