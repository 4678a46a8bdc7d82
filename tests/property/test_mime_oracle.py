"""The tree of a message against another reader's: where ours sees no ambiguity, Python's `email` package sees the same parts.

Explained differences: Python splits a message/delivery-status into messages, and opens a message/external-body.
"""

from __future__ import annotations

import email
import importlib.util
import random
import re
from email.message import Message
from email.mime.application import MIMEApplication
from email.mime.base import MIMEBase
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from upesi.mail.body import MemoryBody
from upesi.mail.mime import Mime, Part
from upesi.mail.mime_scan import scan

Shape = tuple[str, list["Shape"]]

_UNLIKE = frozenset(("message/delivery-status", "message/external-body"))
_HEAD = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
_PIECES = (
    b"\r\n", b"--b\r\n", b"--b--\r\n", b"--c\r\n", b"--c--\r\n", b"\r\n\r\n", b"text\r\n", b"QUJD\r\n", b" ", b"\n", b"\r",
    b"--b\r\n\r\ntext\r\n", b"--c\r\nContent-Type: text/plain\r\n\r\n", b"--b \t\r\n", b"--b x\r\n", b"--d\r\n\r\n", b"--d--\r\n",
    b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n", b"--b\r\nContent-Type: multipart/digest; boundary=d\r\n\r\n",
    b"Content-Type: message/rfc822\r\n", b"Content-Type: text/html; charset=utf-8\r\n", b"Content-Transfer-Encoding: base64\r\n",
    b"Subject: x\r\n", b"--c--\r\n--b--\r\n",
)  # fmt: skip


def ours(part: Part) -> Shape:
    return part.content_type, [ours(inside) for inside in part.parts]


def theirs(message: Message) -> Shape:
    kind = message.get_content_type()
    if not message.is_multipart() or kind in _UNLIKE:
        return kind, []
    return kind, [theirs(inside) for inside in message.get_payload()]  # type: ignore[arg-type,union-attr]


def leaves(message: Message) -> list[Message]:
    """Return the parts without parts, in their order."""
    if not message.is_multipart() or message.get_content_type() in _UNLIKE:
        return [message]
    return [leaf for inside in message.get_payload() for leaf in leaves(inside)]  # type: ignore[arg-type,union-attr]


def same(data: bytes, *, content: bool = True) -> Mime:
    """Compare both readers' parts, their content and their file names."""
    found, other = scan(MemoryBody(data)), email.message_from_bytes(data)
    assert ours(found.root) == theirs(other), found.defects
    if content:
        for part, leaf in zip([p for p in found.parts if not p.parts], leaves(other), strict=True):
            if part.content_type in _UNLIKE or part.faults():
                continue
            assert part.content(10**7) == leaf.get_payload(decode=True)
            assert part.written_name == leaf.get_filename()
    return found


@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=14))
def test_what_is_not_ambiguous_is_what_python_reads(pieces: list[bytes]):
    """MSG-06, MSG-18: whatever is put together, a message without a defect has one reading."""
    data = _HEAD + b"".join(pieces)
    if not scan(MemoryBody(data)).defects:
        same(data)


def _made(choice: random.Random, depth: int) -> MIMEBase:
    """Return a message as the standard library writes them."""
    kind = choice.choice(("text", "html", "octets", "mixed", "alternative", "related", "digest", "message"))
    if depth > 3 or kind in ("text", "html", "octets"):
        text = "".join(choice.choice("aä€ \n-=.中") for _ in range(choice.randrange(200)))
        if kind == "octets":
            made = MIMEApplication(choice.randbytes(choice.randrange(300)))
            made.add_header(
                "Content-Disposition",
                "attachment",
                filename=choice.choice(("a.bin", "a b.bin", ("utf-8", "", "ä.bin"))),
            )
            return made
        return MIMEText(text, "html" if kind == "html" else "plain", choice.choice(("utf-8", "utf-16")))
    if kind == "message":
        return MIMEMessage(_made(choice, depth + 1))
    inside = [_made(choice, depth + 1) for _ in range(choice.randrange(1, 5))]
    if kind == "digest":
        inside = [MIMEMessage(part) for part in inside]
    return MIMEMultipart(kind, _subparts=inside)


def test_what_python_writes_is_read_without_a_defect():
    """Nested, encoded, with names of all kinds: every message, every part, every octet."""
    choice = random.Random(4)
    for _ in range(150):
        message = _made(choice, 0)
        message["From"] = "a@example.com"
        data = re.sub(rb"\r?\n", b"\r\n", message.as_bytes())
        found = same(data)
        assert not found.defects
        assert found.defects == scan(MemoryBody(data)).defects


def _real() -> list[Path]:
    """Return the messages that Python's own tests are made of, where they are installed: collected from mail that broke parsers."""
    spec = importlib.util.find_spec("test")
    folders = (
        [] if spec is None else [Path(each) / "test_email" / "data" for each in spec.submodule_search_locations or ()]
    )
    return [path for folder in folders for path in sorted(folder.glob("msg_*.txt"))]


def test_real_mail_is_read_as_python_reads_it():
    """Real mail that broke parsers: every message twice with one answer; differences are said as defects, and explained above."""
    for path in _real():
        data = re.sub(rb"\r\n|\r|\n", b"\r\n", path.read_bytes())
        found = scan(MemoryBody(data))
        assert found.defects == scan(MemoryBody(data)).defects
        for part in found.parts:
            part.text()
            part.digest()
            assert part.filename is None or "/" not in part.filename
        if not found.ambiguous:
            same(data, content=not found.defects)
    # without them, the messages above are all there is
    assert scan(MemoryBody(b"")).parts
