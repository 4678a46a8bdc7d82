"""Changes of a message kept as edits over its octets, and the message that comes of them.

    edit = [start, end) of the message as it came in, and what stands there instead (nothing: it is removed; start = end: it is put in)

The octets themselves are never changed: what no edit names goes out as it came in, and the original stays readable for those who
look later. A large message is neither read into memory nor copied: the view asks the original for what lies between the edits.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from operator import attrgetter

import msgspec

from upesi.mail.body import READ_SIZE, Body, MemoryBody

__all__ = ["MAX_ADDED", "MAX_EDITS", "Edit", "EditedBody", "Edits"]

# Every field that the bounds on header sections let in may go, and there is room for parts; more is a plugin that loops
MAX_EDITS = 10_000

# header fields that plugins add to one message; more is a plugin that loops
MAX_ADDED = 200

_BLANKS = (b" ", b"\t")


class Edit(msgspec.Struct, frozen=True, order=True, gc=False):
    """`data` in place of the octets from `start` up to `end`."""

    start: int
    end: int
    data: bytes


_START = attrgetter("start")


class Edits:
    """The edits of one message. `top` is what stands above it: complete fields, the first one first."""

    __slots__ = ("_edits", "_view", "_viewed", "fields", "forms", "named", "top")

    def __init__(self) -> None:
        self.top: list[bytes] = []
        # transfer encoding and charset that parts have been given, by their beginning
        self.forms: dict[int, tuple[str, str]] = {}
        # fields that parts have been given, by the beginning of the part and their names
        self.named: dict[tuple[int, str], bytes] = {}
        # how many were put there, and below the others
        self.fields = 0
        # sorted; no two overlap
        self._edits: list[Edit] = []
        self._view: Body | None = None
        # what the view is of
        self._viewed: Body | None = None

    @property
    def changes(self) -> tuple[Edit, ...]:
        """What changes inside the message, in its order."""
        return tuple(self._edits)

    def __bool__(self) -> bool:
        return bool(self._edits)

    def has(self, start: int, end: int) -> bool:
        """Whether exactly these octets are replaced or removed already."""
        return self._at(start, end) is not None

    def _at(self, start: int, end: int) -> int | None:
        at = bisect_left(self._edits, start, key=_START)
        while at < len(self._edits) and self._edits[at].start == start:
            if self._edits[at].end == end:
                return at
            at += 1
        return None

    def replace(self, start: int, end: int, data: bytes) -> None:
        """Put `data` where `start` up to `end` is; raise ValueError where that is part of what has been replaced before.

        Edits inside the new one are forgotten; the same octets can be replaced again. Where nothing is replaced (`start == end`), what is
        put in comes behind what was put in before.
        """
        if start == end:
            return self._insert(start, data)
        edits = self._edits
        first = bisect_left(edits, start, key=_START)
        # what was put in just in front stays
        while first < len(edits) and edits[first].start == edits[first].end == start:
            first += 1
        last = first
        while last < len(edits) and edits[last].start < end:
            if edits[last].end > end:
                raise ValueError("this part of the message has been replaced with more around it")
            last += 1
        if first and edits[first - 1].end > start:
            raise ValueError("this part of the message has been replaced with more around it")
        self._room(last - first)
        edits[first:last] = [Edit(start, end, data)]
        self._view = None
        return None

    def _insert(self, at: int, data: bytes) -> None:
        edits = self._edits
        place = bisect_left(edits, at, key=_START)
        if place and edits[place - 1].end > at:
            raise ValueError("this part of the message has been replaced with more around it")
        if place < len(edits) and edits[place].start == edits[place].end == at:
            edits[place] = Edit(at, at, edits[place].data + data)
        else:
            self._room(0)
            insort(edits, Edit(at, at, data))
        self._view = None

    def covers(self, start: int, end: int) -> bool:
        """Whether these octets are part of what has been replaced or removed."""
        place = bisect_right(self._edits, start, key=_START)
        # the ones that begin there: what was put in, and then what is replaced
        return any(edit.end >= end and edit.end > start for edit in self._edits[max(place - 2, 0) : place])

    def withdraw(self, at: int) -> bytes:
        """Take back what was put in at one place, and return it."""
        place = bisect_left(self._edits, at, key=_START)
        if place < len(self._edits) and self._edits[place].start == self._edits[place].end == at:
            self._view = None
            return self._edits.pop(place).data
        return b""

    def _room(self, freed: int) -> None:
        if len(self._edits) - freed >= MAX_EDITS:
            raise ValueError(f"more than {MAX_EDITS} edits of one message")

    def current(self, body: Body, start: int, end: int) -> bytes:
        """Return what stands there now: the octets from `start` up to `end` with the edits that lie within."""
        within = [edit for edit in self._edits if start <= edit.start and edit.end <= end]
        shifted = [Edit(edit.start - start, edit.end - start, edit.data) for edit in within]
        return b"".join(EditedBody(MemoryBody(body.read(start, end - start)), b"", shifted).chunks())

    def put_on_top(self, field: bytes) -> None:
        """Put a complete field above the message, below those put there before."""
        self._count()
        self.top.append(field)
        self._view = None

    def put_below(self, field: bytes, bottom: int) -> None:
        """Put a complete field at `bottom` (`Headers.bottom`), below those put there before."""
        if not bottom:
            # there is no field to stand below, and perhaps a continuation, which must not continue this one
            return self.put_on_top(field)
        self._count()
        return self._insert(bottom, field)

    def _count(self) -> None:
        if self.fields >= MAX_ADDED:
            raise ValueError(f"more than {MAX_ADDED} fields were added to one message")
        self.fields += 1

    def message(self, body: Body) -> Body:
        """Return `body` with its edits, without what is on top."""
        return edited(body, b"", self._edits) if self._edits else body

    def head(self, body: Body) -> bytes:
        """Return what goes in front of the edited message: the fields on top, and an empty line where the message begins with a blank.

        A continuation in its first line would continue the last field of ours (RFC 5322 section 2.2.3).
        """
        # one octet of the view: the whole message need not be put together for it
        start = EditedBody(body, b"", self._edits).read(0, 1) if self._edits else body.read(0, 1)
        return b"".join(self.top) + (b"\r\n" if start in _BLANKS else b"")

    def view(self, body: Body) -> Body:
        """Return all of it as one body; the same one until something changes."""
        if self._view is None or self._viewed is not body:
            self._viewed = body
            self._view = edited(body, self.head(body), self._edits)
        return self._view


def edited(body: Body, head: bytes, edits: list[Edit]) -> Body:
    """Return `head` and `body` with `edits`, which are sorted: as octets where the body is in memory, else as a view."""
    if not head and not edits:
        return body
    view = EditedBody(body, head, edits)
    return MemoryBody(b"".join(view.chunks())) if isinstance(body, MemoryBody) else view


class EditedBody:
    """A body of pieces: octets of our own, and stretches of another body that is read when they are asked for."""

    __slots__ = ("_begins", "_pieces", "_source", "size")

    def __init__(self, source: Body, head: bytes, edits: list[Edit]) -> None:
        self._source = source
        # octets, or where they stand in the source
        self._pieces: list[bytes | tuple[int, int]] = []
        self._begins: list[int] = []
        self.size = 0
        self._add(head)
        position = 0
        for edit in edits:
            self._add((position, edit.start))
            self._add(edit.data)
            position = edit.end
        self._add((position, source.size))

    def _add(self, piece: bytes | tuple[int, int]) -> None:
        length = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
        if length > 0:
            self._pieces.append(piece)
            self._begins.append(self.size)
            self.size += length

    def read(self, start: int, length: int) -> bytes:
        """Return up to `length` octets from `start`; raise what the source raises."""
        found: list[bytes] = []
        end = min(start + length, self.size)
        at = bisect_right(self._begins, start) - 1
        while start < end and at >= 0:
            begin, piece = self._begins[at], self._pieces[at]
            if isinstance(piece, bytes):
                octets = piece[start - begin : end - begin]
            else:
                octets = self._source.read(
                    piece[0] + start - begin, min(piece[1] - piece[0] - (start - begin), end - start)
                )
                if not octets:
                    break
            found.append(octets)
            start += len(octets)
            if at + 1 < len(self._begins) and start >= self._begins[at + 1]:
                at += 1
        return b"".join(found)

    def chunks(self) -> Iterator[bytes]:
        """Yield all octets in order, in pieces of at most some READ_SIZE octets.

        Raise what the source raises, and OSError where it has become shorter: the spool takes that for a body that it cannot keep.
        """
        source = self._source
        if isinstance(source, MemoryBody):
            for piece in self._pieces:
                yield piece if isinstance(piece, bytes) else source.data[piece[0] : piece[1]]
            return
        for piece in self._pieces:
            if isinstance(piece, bytes):
                yield piece
                continue
            position, end = piece
            while position < end:
                octets = source.read(position, min(READ_SIZE, end - position))
                if not octets:
                    raise OSError("the body is shorter than it was")
                position += len(octets)
                yield octets
