"""Where the parts of a message begin and end (RFC 2046 section 5.1): one pass over its lines, without recursion.

    delimiter       := CRLF "--" boundary transport-padding CRLF
    close-delimiter := CRLF "--" boundary "--" transport-padding

One reading, the same every time (MSG-18): a line ends with CRLF; a delimiter is a whole line; the outermost multipart that knows it
takes it, and whatever is open inside ends there; a part's fields end with the first empty line. What other programs read
differently leaves a defect (mime_defects). A compiled expression finds the lines that begin with "--", a dictionary says whose they
are: the time is linear whatever the boundaries are, and everything that is counted has a bound:

    parts 1,000, depth 50, lines that begin with "--" 300,000, fields of a part 64 kB, defects 100

Behind a bound, the rest belongs to what is open, and the defect says so. A large body is read in pieces.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from upesi.mail.body import READ_SIZE, Body, MemoryBody
from upesi.mail.filenames import safe_name
from upesi.mail.headers import MAX_HEADER, Headers
from upesi.mail.mime import Mime, Part
from upesi.mail.mime_defects import Defect
from upesi.mail.transfer import IDENTITIES, decoder_for
from upesi.mail.words import decode_words

__all__ = ["MAX_DEFECTS", "MAX_DEPTH", "MAX_LINES", "MAX_PARTS", "MAX_PART_HEADER", "scan"]

# Honest mail has some ten levels (a bounce of a forwarded list digest); mail programs stop somewhere between 20 and 100
MAX_DEPTH = 50
# A newsletter with a hundred pictures has a hundred and ten; a digest some hundreds
MAX_PARTS = 1_000
# Lines that begin with "--" cost a look-up each: all of 25 MB of them would be five million, a long patch has some thousands
MAX_LINES = 300_000
MAX_PART_HEADER = 64 * 1024
MAX_DEFECTS = 100

# RFC 2046 section 5.1.1 allows 70 characters; a line has at most 998
_LONGEST_BOUNDARY = 70
_LONGEST_LINE = 998
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]*[0-9A-Za-z'()+_,./:=?-]")

# "--" at the beginning of a line, and the rest of that line
_LINE = re.compile(rb"\r\n--([^\r\n]{0,1004})(?=\r\n|\Z)")
# begun with a literal, which is searched for ten times as fast as an alternative
_BARE_LF, _BARE_CR = re.compile(rb"\n--([^\r\n]{0,1004})"), re.compile(rb"\r--([^\r\n]{0,1004})")
# what a window has in common with the next: a whole line that is cut at its end is seen there again
_OVERLAP = 1100

# In a header section with a line end in front of it
_ODD_LINE = re.compile(rb"\r\n(?![!-9;-~]+[ \t]*:|[ \t]|\Z)")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_BLANK_CONTINUATION = re.compile(rb"\r\n[ \t]+\r\n")
_FIELDS_IN_PREAMBLE = re.compile(rb"(?:\A|\n)content-(?:type|disposition|transfer-encoding)[ \t]*:", re.IGNORECASE)
_PREAMBLE = 4096
_SINGLE = ("Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "MIME-Version")


def scan(body: Body, header: Headers | None = None) -> Mime:
    """Return the tree of a message; raise only what reading `body` raises. `header` are its fields, if somebody has looked at them."""
    return _Scan(body, header).run()


class _Scan:
    __slots__ = ("_body", "_defects", "_ended", "_open", "_parts", "_seen", "_stack", "_starts", "_unread")

    def __init__(self, body: Body, header: Headers | None) -> None:
        self._body = body
        self._defects: dict[Defect, None] = {}
        root = Part(body, None, "", 0, header)
        self._parts = [root]
        # from the message down to the part that is open
        self._stack = [root]
        # the part whose fields have not been read: a delimiter may come before their end
        self._unread: Part | None = root
        # multiparts that are open, and those that have had their last delimiter, by their boundary
        self._open: dict[bytes, Part] = {}
        self._ended: dict[bytes, Part] = {}
        # the boundaries of all that is open, sorted, for lines that begin with one
        self._starts: list[bytes] = []
        self._seen: set[bytes] = set()
        self._find_content(root)

    def run(self) -> Mime:
        body = self._body
        self._read_fields(body.size)
        if self._open or self._unread is not None:
            self._lines()
        self._read_fields(body.size + 2)
        for part in self._open.values():
            self._note("missing-end" if part.parts else "no-delimiter", part)
        if self._seen:
            self._bare_line_ends()
        if len(self._parts) > 1 and not self._parts[0].headers.count("MIME-Version"):
            self._note("no-mime-version", self._parts[0])
        return Mime(self._parts[0], tuple(self._parts), tuple(self._defects))

    def _note(self, kind: str, part: Part) -> None:
        if len(self._defects) < MAX_DEFECTS:
            self._defects[Defect(kind, part.path)] = None

    def _lines(self) -> None:
        """Walk over the lines that may be delimiters."""
        owners, ended = self._open, self._ended
        left = MAX_LINES
        for at, line in _candidates(self._body, max(self._stack[-1].content_start - 2, 0)):
            unread = self._unread
            if unread is not None and at >= unread.content_start - 2:
                self._read_fields(at)
            left -= 1
            if left < 0:
                self._note("too-many-lines", self._stack[-1])
                return
            key = line.rstrip(b" \t")
            owner = owners.get(key)
            if owner is not None:
                if not self._begin(owner, at, at + 6 + len(line)):
                    return
            elif key[-2:] == b"--" and (owner := owners.get(key[:-2])) is not None:
                self._end(owner, at)
            elif self._starts and self._goes_on(key):
                self._note("odd-delimiter", self._stack[-1])
            elif ended and (key in ended or key.removesuffix(b"--") in ended):
                self._note("part-after-end", ended.get(key) or ended[key.removesuffix(b"--")])

    def _begin(self, owner: Part, at: int, start: int) -> bool:
        """Begin the next part of `owner` behind the delimiter at `at`; say whether there may be more."""
        self._close_below(owner, at)
        if not owner.parts:
            self._look_at_preamble(owner, at)
        if len(self._parts) >= MAX_PARTS:
            self._note("too-many-parts", owner)
            return False
        path = f"{owner.path}.{len(owner.parts) + 1}" if owner.path else str(len(owner.parts) + 1)
        part = Part(self._body, owner, path, min(start, self._body.size))
        part.delimiter = at
        self._push(part)
        return True

    def _push(self, part: Part) -> None:
        assert part.parent is not None
        part.parent.parts.append(part)
        part.end = part.parent.end
        self._parts.append(part)
        self._stack.append(part)
        self._find_content(part)
        self._unread = part

    def _end(self, owner: Part, at: int) -> None:
        """End `owner`, whose last delimiter is at `at`: what follows up to the next one around it is its epilogue."""
        self._close_below(owner, at)
        if not owner.parts:
            self._note("no-delimiter", owner)
        boundary = owner.boundary
        assert boundary is not None
        del self._open[boundary]
        self._ended[boundary] = owner
        self._compare()

    def _close_below(self, owner: Part, at: int) -> None:
        """End all that is open inside `owner`."""
        stack = self._stack
        if self._unread is not None:
            # the delimiter stands where its fields should be
            self._cut(self._unread, at)
        changed = False
        while stack[-1] is not owner:
            part = stack.pop()
            part.end = at
            # right behind a delimiter, the next one shares its line end: nothing is between
            part.start = min(part.start, at)
            part.content_start = min(part.content_start, at)
            part.header_end = min(part.header_end, at)
            boundary = part.boundary
            if boundary is not None:
                if self._open.get(boundary) is part:
                    self._note("missing-end" if part.parts else "no-delimiter", part)
                    del self._open[boundary]
                    changed = True
                elif self._ended.get(boundary) is part:
                    del self._ended[boundary]
        if changed:
            self._compare()

    def _cut(self, part: Part, at: int) -> None:
        self._unread = None
        part.end = part.header_end = part.content_start = at
        self._note("cut-header" if part.start < at else "double-delimiter", part)
        part.start = min(part.start, at)
        self._judge(part)

    def _compare(self) -> None:
        self._starts = sorted(self._open)

    def _goes_on(self, line: bytes) -> bool:
        """Whether a line begins with a delimiter. Where no boundary begins with another, which is a defect, its neighbour tells."""
        place = bisect_right(self._starts, line)
        return place > 0 and line.startswith(self._starts[place - 1])

    # fields

    def _find_content(self, part: Part) -> None:
        """Find the end of a part's fields, as far as is looked."""
        most = MAX_PART_HEADER if part.parent is not None else MAX_HEADER
        start = part.start
        end = min(start + most, self._body.size)
        size = min(most, 4096)
        section = self._body.read(start, size)
        if section.startswith(b"\r\n"):
            part.header_end, part.content_start = start, start + 2
            return
        if section[:1] in (b" ", b"\t") or (part.parent is not None and section and _FIELD.match(section) is None):
            # As in `headers`: a continuation of nothing is no field, and so the content begins. Text right behind a delimiter likewise:
            # readers show it. In a message, a line that is no field hides none of those below it
            part.header_end = part.content_start = start
            return
        found = section.find(b"\r\n\r\n")
        if found < 0 and start + size < end:
            found = self._body.read(start, most).find(b"\r\n\r\n")
        if found < 0:
            part.header_end = part.content_start = end
            return
        part.header_end, part.content_start = start + found + 2, start + found + 4

    def _read_fields(self, at: int) -> None:
        """Read the fields of the part that is open, and of messages that begin in it, up to `at`."""
        while self._unread is not None and at >= self._unread.content_start - 2:
            part, self._unread = self._unread, None
            if part.start == part.content_start < self._body.size:
                self._note("double-delimiter" if at < part.start else "odd-line", part)
            elif part.start < part.header_end == part.content_start:
                # no empty line was found: the message ends before it, as one without a body may, or there is more than is looked at
                if part.header_end < self._body.size:
                    self._note("header-too-large", part)
                elif part.parent is not None:
                    self._note("cut-header", part)
            kind = part.content_type
            self._judge(part)
            if kind.startswith("multipart/"):
                self._open_multipart(part)
            elif part.is_message and part.encoding in IDENTITIES and part.content_start < part.end:
                self._open_message(part)

    def _open_message(self, part: Part) -> None:
        if part.depth >= MAX_DEPTH:
            self._note("too-deep", part)
        elif len(self._parts) >= MAX_PARTS:
            self._note("too-many-parts", part)
        else:
            # a message in a message has the same path, as its parts are counted on from it (RFC 3501 section 6.4.5)
            self._push(Part(self._body, part, f"{part.path}.0" if part.path else "0", part.content_start))

    def _open_multipart(self, part: Part) -> None:
        boundary = self._boundary(part)
        if boundary is None:
            return
        if part.depth >= MAX_DEPTH:
            self._note("too-deep", part)
            return
        if boundary in self._open:
            self._note("boundary-reused", part)
            return
        if any(boundary.startswith(other) or other.startswith(boundary) for other in self._open):
            self._note("boundary-prefix", part)
        part.boundary = boundary
        self._ended.pop(boundary, None)
        self._open[boundary] = part
        self._seen.add(boundary)
        self._compare()

    def _boundary(self, part: Part) -> bytes | None:
        written = part.type.parameters.get("boundary")
        if "extended-boundary" in part.type.faults:
            self._note("extended-boundary", part)
        if written is None:
            self._note("no-boundary", part)
            return None
        # blanks at its end are padding in a delimiter
        octets = written.rstrip(" \t").encode("utf-8", "replace")
        if len(octets) > _LONGEST_BOUNDARY or _BOUNDARY.fullmatch(written) is None:
            self._note("bad-boundary", part)
        return octets if octets and len(octets) <= _LONGEST_LINE else None

    def _judge(self, part: Part) -> None:
        """Note what is wrong with a part's fields."""
        headers = part.headers
        section = headers.section
        if _ODD_LINE.search(section) is not None:
            self._note("odd-line", part)
        if _BLANK_CONTINUATION.search(section) is not None:
            self._note("blank-continuation", part)
        if _has_control(section):
            self._note("control-in-header", part)
        if any(headers.count(name) > 1 for name in _SINGLE):
            self._note("duplicate-field", part)
        self._judge_values(part, headers)

    def _judge_values(self, part: Part, headers: Headers) -> None:
        for fault in sorted(part.type.faults | part.disposition.faults):
            if fault != "extended-boundary":
                self._note(fault, part)
        kind = part.content_type
        if headers.get("Content-Type") is not None and kind != part.type.value:
            self._note("bad-content-type", part)
        encoding = part.encoding
        if decoder_for(encoding) is None:
            self._note("bad-encoding", part)
        elif encoding not in IDENTITIES:
            if kind.startswith("multipart/"):
                self._note("encoded-multipart", part)
            elif part.is_message:
                self._note("encoded-message", part)
        if kind in ("message/partial", "message/external-body"):
            self._note(kind.removeprefix("message/"), part)
        self._judge_names(part)

    def _judge_names(self, part: Part) -> None:
        name = part.written_name
        if name is None:
            return
        other = part.type.parameters.get("name")
        if other and decode_words(other) != name:
            self._note("two-names", part)
        if safe_name(name) != name:
            self._note("unsafe-name", part)

    def _look_at_preamble(self, owner: Part, at: int) -> None:
        preamble = self._body.read(owner.content_start, min(max(at - owner.content_start, 0), _PREAMBLE))
        if _FIELDS_IN_PREAMBLE.search(preamble) is not None:
            self._note("fields-in-preamble", owner)

    def _bare_line_ends(self) -> None:
        """Look for delimiters behind a CR or LF that is no line end; nearly all mail has none of these."""
        left = MAX_LINES
        for _, window, _ in _windows(self._body, 0):
            ends = window.count(b"\r\n")
            if window.count(b"\n") == ends == window.count(b"\r"):
                continue
            for expression in (_BARE_LF, _BARE_CR):
                for match in expression.finditer(window):
                    left -= 1
                    if left < 0:
                        return
                    whole = expression is _BARE_LF and window[match.start() - 1 : match.start()] == b"\r"
                    if not whole and self._knows(match[1].rstrip(b" \t")):
                        self._note("bare-line-end", self._parts[0])
                        return

    def _knows(self, line: bytes) -> bool:
        return line in self._seen or line.removesuffix(b"--") in self._seen


def _has_control(section: bytes) -> bool:
    """Whether there is a NUL, or a CR or LF that is no line end: counted, which takes a tenth of the time of an expression."""
    ends = section.count(b"\r\n")
    return section.count(b"\n") != ends or section.count(b"\r") != ends or b"\0" in section


def _windows(body: Body, start: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield stretches of a body that overlap: where each begins, its octets, whether it is the last."""
    if isinstance(body, MemoryBody):
        yield 0, body.data, True
        return
    while True:
        window = body.read(start, READ_SIZE)
        last = start + len(window) >= body.size or len(window) <= _OVERLAP
        yield start, window, last
        if last:
            return
        start += len(window) - _OVERLAP


def _candidates(body: Body, start: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that begin with "--": where the line end in front of each stands, and what follows the "--"."""
    if isinstance(body, MemoryBody):
        for match in _LINE.finditer(body.data, start):
            yield match.start(), match[1]
        return
    done = -1
    for base, window, last in _windows(body, start):
        for match in _LINE.finditer(window):
            at = base + match.start()
            if at <= done or (match.end() + 2 > len(window) and not last):
                continue
            done = at
            yield at, match[1]
