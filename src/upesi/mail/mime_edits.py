"""Changes of parts as edits: removed, replaced, or with text added; every part that is not named stays octet for octet.

What is signed or encrypted is never touched (`Part.is_sealed`). Text is added in the part's own charset and transfer encoding where
these can hold it; where not, the part becomes UTF-8 in quoted-printable. Text in format=flowed stays that (RFC 3676).

Does not know who may change what: a DKIM signature breaks with any of this, and whether that is right is its caller's decision.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp

from upesi.mail.body import Body
from upesi.mail.charsets import codec_of
from upesi.mail.edits import Edits
from upesi.mail.headers import header_field
from upesi.mail.mime import Mime, Part
from upesi.mail.transfer import IDENTITIES, decoded, decoder_for

__all__ = ["MAX_EDITED", "PartEdits"]

# Text parts larger than this are left alone: they would be read into memory, and are data
MAX_EDITED = 1024 * 1024

_END = re.compile(rb"</body\s*>|</html\s*>", re.IGNORECASE)
_TAIL = 4096
# in `Edits.forms`, where no part begins: that the message was put into a multipart
_WRAPPED = -1
# charsets in which octets put behind others are not the characters put behind the others
_STATEFUL = frozenset(("utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be", "utf_7", "hz"))
_STUFFED = (" ", ">", "From ")
_LONGEST_LINE = 998
_BASE64_LINE = 57


class PartEdits:
    """Edits of the parts of one message."""

    __slots__ = ("_body", "_edits", "_mime")

    def __init__(self, body: Body, mime: Mime, edits: Edits) -> None:
        self._body = body
        self._mime = mime
        self._edits = edits

    def remove(self, part: Part) -> None:
        """Take a part out of its multipart; the last one leaves an empty text behind. Raise ValueError where it cannot be taken out."""
        _must_be_open(part)
        around = part.parent
        if around is None or part.delimiter < 0:
            raise ValueError("only parts of a multipart can be removed")
        edits = self._edits
        if any(other is not part and not edits.has(other.delimiter, other.end) for other in around.parts):
            edits.replace(part.delimiter, part.end, b"")
        else:
            # a part of nothing may share the line end of its delimiter with the next
            ended = self._body.read(part.start - 2, 2) == b"\r\n"
            edits.replace(part.start, part.end, (b"" if ended else b"\r\n") + b"Content-Type: text/plain\r\n\r\n")

    def replace(self, part: Part, content: bytes, content_type: str | None = None) -> None:
        """Give a part other content, in base64, and another type if one is named; its other fields stay. Raise ValueError.

        `content_type` is a whole value: "text/plain; charset=utf-8; name=removed.txt".
        """
        _must_be_open(part)
        if part.content_type.startswith(("multipart/", "message/")) and content_type is None:
            raise ValueError("content that is no parts needs a type of its own")
        self._set(part, "base64", content, {} if content_type is None else {"Content-Type": content_type})

    def add_text(self, plain: str, html: str, boundary: str) -> list[str]:
        """Put text at the end of the text that is shown, HTML at the end of the HTML that is shown; return the paths of the changed parts.

        Where no text is shown, a part is added, and where the message is not a multipart/mixed it becomes one, by `boundary`, which must
        not occur in it. Nothing is changed where all is signed or encrypted, or cannot be read ([] then).
        """
        changed: list[str] = []
        if self._add_to_first("plain", plain, changed) | self._add_to_first("html", html, changed):
            return changed
        root = self._mime.root
        if not any(part.is_sealed for part in self._mime.parts) and _is_whole(root):
            try:
                self._add_part(root, plain, boundary)
            except ValueError:
                # another plugin has replaced all of it
                return []
            changed.append("")
        return changed

    def _add_to_first(self, kind: str, addition: str, changed: list[str]) -> bool:
        """Add to the first text of a kind that can be changed; say whether there is text of that kind at all."""
        found = False
        for part in self._mime.texts(kind):
            found = True
            try:
                done = not part.is_sealed and self._add(part, addition, html=kind == "html")
            except ValueError:
                # a parameter of its type that fits on no line
                continue
            if done:
                changed.append(part.path)
                break
        return found

    # text

    def _add(self, part: Part, addition: str, *, html: bool) -> bool:
        """Add to one text part; say whether that was possible."""
        if part.size > MAX_EDITED or not _is_whole(part) or self._edits.covers(part.start, part.content_start):
            return False
        encoding, charset = self._edits.forms.get(part.start, (part.encoding, part.charset))
        decoder = decoder_for(encoding)
        if decoder is None or encoding.startswith(("x-", "uu")):
            return False
        now = self._edits.current(self._body, part.content_start, part.end)
        octets = b"".join(decoded((now,), decoder))
        if html:
            # every charset has these
            addition = addition.encode("ascii", "xmlcharrefreplace").decode()
        else:
            addition = _lines(addition, flowed=part.type.parameters.get("format", "").lower() == "flowed")
        made = _in_charset(octets, addition, charset)
        if made is None:
            return False
        octets, added, named = made
        place = _html_end(octets) if html else len(octets)
        gap = b"" if html or not octets or octets.endswith(b"\n") else b"\r\n"
        # what came in as ASCII may be sent to servers that take no other
        plain = added.isascii() or not (encoding == "7bit" or octets.isascii())
        if encoding in IDENTITIES and named == charset and plain and not _long(added):
            at = part.end if place == len(octets) else part.content_start + place
            if place == len(octets) or octets == self._body.read(part.content_start, part.size):
                self._edits.replace(at, at, gap + added)
                return True
        octets = octets[:place] + gap + added + octets[place:]
        fields = {}
        if named != charset:
            fields["Content-Type"] = _with_charset(part, named)
        self._set(part, "base64" if encoding == "base64" else "quoted-printable", octets, fields)
        self._edits.forms[part.start] = ("base64" if encoding == "base64" else "quoted-printable", named)
        return True

    def _add_part(self, root: Part, plain: str, boundary: str) -> None:
        text = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        text += _quoted(_lines(plain, flowed=False).encode())
        edits = self._edits
        if root.content_type == "multipart/mixed" and root.boundary is not None and root.parts:
            end = root.parts[-1].end
            edits.replace(end, end, b"\r\n--" + root.boundary + b"\r\n" + text)
            return
        wrapped = edits.forms.get(_WRAPPED)
        if wrapped is None:
            self._wrap(root, boundary)
            edits.forms[_WRAPPED] = (boundary, "")
        else:
            boundary = wrapped[0]
        line = b"\r\n--" + boundary.encode()
        closing = line + b"--\r\n"
        before = edits.withdraw(root.end).removesuffix(closing)
        edits.replace(root.end, root.end, before + line + b"\r\n" + text + closing)

    def _wrap(self, root: Part, boundary: str) -> None:
        """Make the message a multipart/mixed that begins with what it was: its content fields go with its content."""
        edits = self._edits
        moved: list[bytes] = []
        for name in dict.fromkeys(name.lower() for name, _ in root.headers.fields()):
            for _, (start, end) in root.headers.placed(name) if name.startswith("content-") else ():
                moved.append(edits.current(self._body, start, end))
                edits.replace(start, end, b"")
        # the content's own type stands with the content now, so this is put in and not in its place
        edits.put_below(header_field("Content-Type", f'multipart/mixed; boundary="{boundary}"'), root.headers.bottom)
        self._say_mime(root)
        start = root.content_start
        edits.replace(start, start, b"--" + boundary.encode() + b"\r\n" + b"".join(moved) + b"\r\n")

    def _say_mime(self, part: Part) -> None:
        if part.parent is None and not part.headers.count("MIME-Version"):
            self._field(part, b"MIME-Version: 1.0\r\n", "MIME-Version")

    # fields and content

    def _set(self, part: Part, encoding: str, octets: bytes, fields: dict[str, str]) -> None:
        """Replace a part's content, encoded, and the fields that say what it is."""
        if not _is_whole(part):
            raise ValueError("the part has no empty line between its fields and its content")
        made = {
            name: header_field(name, value, utf8=True)
            for name, value in {**fields, "Content-Transfer-Encoding": encoding}.items()
        }
        for name, field in made.items():
            self._field(part, field, name)
        self._say_mime(part)
        # what was added at its end is part of the octets by now
        self._edits.withdraw(part.end)
        self._edits.replace(part.content_start, part.end, _base64(octets) if encoding == "base64" else _quoted(octets))

    def _field(self, part: Part, field: bytes, name: str) -> None:
        placed = part.headers.placed(name)
        for _, (start, end) in placed[1:]:
            self._edits.replace(part.start + start, part.start + end, b"")
        if placed:
            start, end = placed[0][1]
            self._edits.replace(part.start + start, part.start + end, field)
            return
        edits, at, key = self._edits, part.start + part.headers.bottom, (part.start, name)
        before = edits.named.get(key)
        put_in = edits.withdraw(at)
        edits.replace(at, at, put_in + field if before is None else put_in.replace(before, field, 1))
        edits.named[key] = field


def _must_be_open(part: Part) -> None:
    if part.is_sealed:
        raise ValueError("what is signed or encrypted is not changed")


def _is_whole(part: Part) -> bool:
    """Whether an empty line stands between fields and content, so that both can be changed."""
    return part.content_start == part.header_end + 2


def _lines(text: str, *, flowed: bool) -> str:
    """Return text with the line ends of mail; in format=flowed with each line fixed and stuffed (RFC 3676 sections 4.2 and 4.4)."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")
    if flowed:
        lines = [line.rstrip(" ") if line != "-- " else line for line in lines]
        lines = [f" {line}" if line.startswith(_STUFFED) else line for line in lines]
    return "".join(f"{line}\r\n" for line in lines)


def _in_charset(octets: bytes, addition: str, charset: str) -> tuple[bytes, bytes, str] | None:
    """Return a part's octets and the addition in one charset, and its name; None where the octets cannot be read without loss."""
    codec = codec_of(charset or "us-ascii")
    if codec is None:
        return None
    if codec not in _STATEFUL:
        try:
            added = addition.encode("ascii" if not charset or charset == "us-ascii" else codec)
        except UnicodeEncodeError:
            pass
        else:
            return octets, added, charset
    try:
        # what says ASCII and is not is mostly UTF-8, and must not become something else
        text = octets.decode("utf-8" if codec == "cp1252" and charset in ("", "us-ascii") else codec)
    except UnicodeDecodeError:
        return None
    return text.encode(), addition.encode(), "utf-8"


def _with_charset(part: Part, charset: str) -> str:
    parameters = {**part.type.parameters, "charset": charset}
    written = "".join(f'; {name}="{_escaped(value)}"' for name, value in parameters.items() if value.isascii())
    return (part.type.value or "text/plain") + written


def _escaped(value: str) -> str:
    return "".join(character for character in value if character >= " ").replace("\\", "\\\\").replace('"', '\\"')


def _html_end(octets: bytes) -> int:
    """Return where the visible part of HTML ends; looked for in its last 4 kB."""
    tail = max(len(octets) - _TAIL, 0)
    match = _END.search(octets, tail)
    return len(octets) if match is None else match.start()


def _long(octets: bytes) -> bool:
    return any(len(line) > _LONGEST_LINE for line in octets.split(b"\r\n"))


def _base64(octets: bytes) -> bytes:
    lines = (octets[at : at + _BASE64_LINE] for at in range(0, len(octets), _BASE64_LINE))
    return b"".join(b2a_base64(line, newline=False) + b"\r\n" for line in lines)


def _quoted(octets: bytes) -> bytes:
    """Encode in quoted-printable; line ends stay line ends, a CR or LF alone is encoded."""
    lines = (b2a_qp(line, quotetabs=False, istext=False).replace(b"=\n", b"=\r\n") for line in octets.split(b"\r\n"))
    return b"\r\n".join(lines)
