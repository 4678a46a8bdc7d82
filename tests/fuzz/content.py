"""What is fuzzed of messages: the MIME tree, what is in its parts, decoded header fields, and edits."""

from __future__ import annotations

from upesi.mail.body import MemoryBody
from upesi.mail.edits import Edits
from upesi.mail.headers import Headers
from upesi.mail.mime import Mime, Part
from upesi.mail.mime_defects import KINDS
from upesi.mail.mime_edits import PartEdits
from upesi.mail.mime_scan import MAX_DEFECTS, MAX_DEPTH, MAX_PARTS, scan
from upesi.mail.parameters import parametric
from upesi.mail.words import decode_words

__all__ = ["Filed", "changed_once", "mime", "mime_edits", "scanned", "words"]


class Filed:
    """A body that is read in pieces, as from a file."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def chunks(self):  # type: ignore[no-untyped-def]
        yield self._data


# what a message of 64 kB with four changes does not reach
MAX_SIZE = 10_000_000


def _place(part: Part) -> tuple[object, ...]:
    return part.path, part.delimiter, part.start, part.header_end, part.content_start, part.end, part.content_type


def _sound(found: Mime, size: int) -> None:
    assert len(found.parts) <= MAX_PARTS
    assert len(found.defects) <= MAX_DEFECTS
    assert {defect.kind for defect in found.defects} <= set(KINDS)
    for part in found.parts:
        assert part.depth <= MAX_DEPTH + 1
        assert 0 <= part.start <= part.header_end <= part.content_start <= max(part.end, part.content_start) <= size
        for one, other in zip(part.parts, part.parts[1:], strict=False):
            assert one.end <= other.delimiter < other.start
        for inside in part.parts:
            assert part.content_start <= inside.start <= inside.end <= part.end


def mime(data: bytes) -> None:
    """A message has one tree, in memory and in pieces; parts lie within each other and in order; all of them can be read."""
    found = scan(MemoryBody(data))
    again = scan(Filed(data))
    assert [_place(part) for part in found.parts] == [_place(part) for part in again.parts]
    assert found.defects == again.defects
    _sound(found, len(data))
    for part, other in zip(found.parts[:50], again.parts, strict=False):
        content = part.content()
        assert content == other.content()
        assert isinstance(part.text(1000), str)
        assert part.digest() == other.digest()
        assert isinstance(part.faults(), frozenset)
        name = part.filename
        assert name is None or (name.isprintable() and "/" not in name and len(name) <= 255) or not name.isascii()


def mime_edits(data: bytes) -> None:
    """Text is added, parts are removed and replaced; what comes of it is a message, and the original is what it was."""
    found = scan(MemoryBody(data))
    for part in (found.root, *found.parts[-3:]):
        _sound(scan(MemoryBody(_changed(data, found, part))), MAX_SIZE)


def _changed(data: bytes, found: Mime, part: Part) -> bytes:
    body = MemoryBody(data)
    edits = Edits()
    changes = PartEdits(body, found, edits)
    for change in (changes.remove, lambda part: changes.replace(part, b"x\r\n", "text/plain")):
        try:
            change(part)
        except ValueError:
            continue
    changes.add_text("f\u00fc\u00df", "<p>", "boundary")
    changes.add_text("again", "<p>", "boundary")
    view = edits.view(body)
    octets = b"".join(view.chunks())
    assert view.size == len(octets)
    assert body.data == data
    return octets


def scanned(data: bytes) -> None:
    """The tree alone: what is timed."""
    scan(MemoryBody(data))


def changed_once(data: bytes) -> None:
    """One change alone: what is timed."""
    found = scan(MemoryBody(data))
    _changed(data, found, found.parts[-1])


def words(data: bytes) -> None:
    """Encoded words and parameters become text without control characters; nothing raises, and long is not slow."""
    for text in (data.decode("latin-1"), data.decode(errors="replace")):
        shown = decode_words(text)
        assert "\r" not in shown
        assert "\0" not in shown
        found = parametric(text)
        assert found.faults <= set(KINDS)
        assert len(found.parameters) <= 100
    subject = Headers(b"Subject: " + data.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n\r\n").decoded("Subject")
    assert subject is not None
