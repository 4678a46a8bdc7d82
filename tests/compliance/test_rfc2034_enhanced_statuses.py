"""RFC 2034, 3463 and 5248: enhanced statuses. What a whole server says is in `tests/scenarios_net/test_replies_server.py`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import upesi
from upesi.mail.reply import Reply
from upesi.outcome.classify import reason
from upesi.protocol.smtp import refusals
from upesi.session import replies

# the registry that RFC 5248 opened: subject -> the last of its details; they have no gaps
REGISTERED = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 10, 7: 30}
STATUS = re.compile(r"[245]\.(\d{1,3})\.(\d{1,3})")


def _statuses() -> Iterator[tuple[str, str]]:
    """Yield every text in the program that is a status, and nothing else, with its place."""
    root = Path(upesi.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and STATUS.fullmatch(node.value):
                yield node.value, f"{path.relative_to(root)}:{node.lineno}"


def test_only_registered_statuses_are_said() -> None:
    """C54, RFC 5248 section 2: a status that is said must be one of the registry's, which others classify by."""
    found = list(_statuses())
    assert len(found) > 50
    for status, where in found:
        subject, detail = map(int, STATUS.fullmatch(status).groups())  # type: ignore[union-attr]
        assert detail <= REGISTERED.get(subject, -1), f"{where}: {status}"


FIXED = [
    (f"{module.__name__}.{name}", value)
    for module in (replies, refusals)
    for name, value in vars(module).items()
    if isinstance(value, Reply)
]


@pytest.mark.parametrize(("name", "reply"), FIXED, ids=[name for name, _ in FIXED])
def test_fixed_replies_have_a_status_of_their_class(name: str, reply: Reply) -> None:
    """C53, RFC 2034 section 4: 2xx, 4xx and 5xx carry a status of the class that their first digit names; 3xx carry none."""
    if 300 <= reply.code < 400:
        assert reply.status == ""
    else:
        assert reply.status[0] == str(reply.code)[0]
        assert all(line[4:].startswith(reply.status.encode() + b" ") for line in reply.wire.split(b"\r\n")[:-1])


@pytest.mark.parametrize(
    ("code", "status"),
    [(250, "5.0.0"), (550, "4.1.1"), (451, "2.0.0"), (250, "3.0.0"), (250, "2.0"), (250, "2.1000.0")],
)
def test_a_status_of_another_class_cannot_be_made(code: int, status: str) -> None:
    """C53, RFC 2034 section 4, RFC 3463 section 2: class 2, 4 or 5, as the code; up to three digits each."""
    with pytest.raises(ValueError):
        Reply.make(code, status, "x")


@pytest.mark.parametrize(
    ("code", "status", "text", "expected"),
    [
        # the status says more than the code and the text
        (550, "5.2.2", "no such user", "mailbox-full"),
        (421, "4.7.28", "connection", "rate"),
        (556, "5.1.10", "", "bad-domain"),
        # a vague status leaves it to the code, where that has one meaning
        (521, "5.0.0", "user unknown", "no-mail"),
        (555, "5.0.0", "", "protocol"),
        # then to the text, before what a code means that is used for everything
        (550, "5.7.1", "user unknown", "bad-mailbox"),
        (550, "", "blocked by spamhaus", "reputation"),
        (550, "", "", "bad-mailbox"),
        # large receivers about mail that nobody vouches for
        (550, "5.7.26", "This mail is unauthenticated", "authentication"),
        (
            550,
            "5.7.515",
            "Access denied, sending domain does not meet the required authentication level",
            "authentication",
        ),
    ],
)
def test_status_then_code_then_text(code: int, status: str, text: str, expected: str) -> None:
    """C54, C102: a reply is classified by its status, then its code, then its text."""
    assert reason(code, status, text) == expected
